"""Two models on the same test images: a table with intervals, AP curves, and how far they agree.

    python examples/score_two_models.py --out scored
    python examples/score_two_models.py --out scored --data DATA --first embedded --second ADAPTER

Without `--data` a few synthetic images are drawn. A model is `embedded`, a folder that `train` wrote, or a name on the
Hub; without `--second` it is the first one with masks that hardly overlap, as CellSeg1 has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from datasets import load_dataset

from glioma_hf import agreement, instances_of, load_segmenter, overlap_ap, prepare, synthesize


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--data", type=Path, help="folder made by prepare, with a split spec/test")
    parser.add_argument("--first", default="embedded", help="a model")
    parser.add_argument("--second", help="another one")
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    data = given.data
    if data is None:
        data = out / "data"
        synthesize(out / "archive.zip", seed=2)
        prepare(out / "archive.zip", data)

    first = load_segmenter(given.first)
    second = load_segmenter(given.second) if given.second else first.with_settings(mask_nms_iou=0.05)
    rows = load_dataset(str(data), "spec", split="test")
    references = [instances_of(row) for row in rows]
    predictions = {
        name: [segmenter.segment(np.asarray(row["image"])) for row in rows]
        for name, segmenter in (("first", first), ("second", second))
    }

    axes = None
    for name, cells in predictions.items():
        scores = overlap_ap(zip(cells, references, strict=True), extras=["curve", "interval"])
        low, high = scores.at(0.5).interval
        print(f"{name}: AP50 {scores.ap50:.3f}, 95 % interval {low:.3f} to {high:.3f} over {scores.images} images")
        print(scores.to_frame().round(3), end="\n\n")
        axes = scores.plot(out / "ap_curves.png", axes=axes, label=name)

    matrix = agreement({"annotation": references, **predictions})
    print("AP50 of each against each:")
    print(matrix.to_frame().round(3))
    matrix.plot(path=out / "agreement.png")
    print(f"pictures are in {out}")


if __name__ == "__main__":
    main()
