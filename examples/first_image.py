"""From an archive to outlines: prepare it, teach the small SAM on one image, segment another one, draw it.

    python examples/first_image.py --out first

Without `--archive` an archive of synthetic images is drawn. The default recipe is a brief one, to see the way; for a
model to use give `--recipe quick` (some minutes on a CPU).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from datasets import load_dataset

from glioma_hf import instances_of, load_segmenter, overlay, predict, prepare, shape_table, synthesize, train

# What a recipe leaves out is as in CellSeg1; "tile": null is the size of the model's own input.
BRIEF = {"tile": None, "epochs": 1, "batch": 4, "accumulation": 1}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--archive", type=Path, help="zip or folder in the Glioma C6 layout")
    parser.add_argument("--image", type=int, default=1, help="number of the training image, from 1")
    parser.add_argument("--recipe", help="quick, paper or a JSON file; a brief one without it")
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)

    archive = given.archive
    if archive is None:
        archive = out / "archive.zip"
        synthesize(archive, seed=1)
    prepare(archive, out / "data")

    recipe = given.recipe
    if recipe is None:
        recipe = out / "brief.json"
        recipe.write_text(json.dumps(BRIEF))
    scores = train(out / "data", images=[given.image], out=out / "adapter", recipe=recipe)
    print(f"taught on {scores.training_images[0]}; AP50 {scores.validation_ap50:.3f} on the validation images")

    # One test image, as a user would have it: a file.
    row = load_dataset(str(out / "data"), "spec", split="test")[0]
    pixels = np.asarray(row["image"])
    image = out / row["file_name"]
    row["image"].save(image)
    predict(image, out / "cells", out / "adapter")
    print(f"outlines, shapes, label map and ImageJ regions of {image.name} are in {out / 'cells'}")

    # The same in Python, beside the hand-drawn outlines.
    cells = load_segmenter(out / "adapter").segment(pixels)
    overlay(pixels, cells, references=instances_of(row)).save(out / "overlay.png")
    shapes = shape_table(cells)
    print(f"{len(cells)} cells, median area {shapes['area'].median():.0f} pixels; see {out / 'overlay.png'}")


if __name__ == "__main__":
    main()
