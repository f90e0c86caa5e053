"""A data set of your own: label maps become COCO files, then prepare, train, tune and evaluate.

    python examples/own_data_set.py --out own

The images are drawn here, bright discs on a grey ground, so that the example needs no download: put your own images
and label maps in the place of `draw`. The layout is that of Glioma C6, which any data set may have.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from datasets import load_dataset
from PIL import Image

from glioma_hf import Instances, instances_of, load_segmenter, overlap_ap, prepare, train, tune

BRIEF = {"tile": None, "epochs": 1, "batch": 4, "accumulation": 1}
SIZE = (192, 256)  # height, width
SPLITS = {"train": 2, "valid": 1, "test": 1}  # images in each


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--recipe", help="quick, paper or a JSON file; a brief one without it")
    given = parser.parse_args()
    out: Path = given.out

    rng = np.random.default_rng(0)
    for split, images in SPLITS.items():
        write_split(out / "mine" / split, split, [draw(rng) for _ in range(images)])
    prepared = prepare(out / "mine", out / "data")
    for part in prepared.splits:
        print(f"{part.name}: {part.images} images, {part.objects['cell']} cells")

    recipe = given.recipe
    if recipe is None:
        recipe = out / "brief.json"
        recipe.write_text(json.dumps(BRIEF))
    train(out / "data", images=[1, 2], out=out / "adapter", recipe=recipe)
    # `train` has chosen thresholds already; `tune` does it anew, say after more validation images were added.
    _, ap50 = tune(out / "data", adapter=out / "adapter")
    print(f"AP50 {ap50:.3f} on the validation images, on which the thresholds were chosen")

    segmenter = load_segmenter(out / "adapter")
    test = load_dataset(str(out / "data"), "spec", split="test")
    scores = overlap_ap((segmenter.segment(np.asarray(row["image"])), instances_of(row)) for row in test)
    print("on the test images, which nothing was chosen on:")
    print(scores)
    scores.to_frame().to_csv(out / "scores.csv")


def draw(rng: np.random.Generator) -> tuple[np.ndarray, Instances]:
    """An image, uint8 (H, W), with its cells: discs that may overlap."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = rng.normal(110, 4, SIZE)
    masks = []
    for _ in range(8):
        row, column, radius = rng.uniform(25, SIZE[0] - 25), rng.uniform(25, SIZE[1] - 25), rng.uniform(14, 22)
        mask = (y - row) ** 2 + (x - column) ** 2 < radius**2
        picture[mask] += 45
        masks.append(mask)
    return picture.clip(0, 255).astype(np.uint8), Instances.from_masks(masks)


def write_split(folder: Path, name: str, images: list[tuple[np.ndarray, Instances]]) -> None:
    """The images of a split and its COCO file, `anno_NAME.json`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    coco: dict[str, list] = {"categories": [{"id": 1, "name": "Cell"}], "images": [], "annotations": []}
    for number, (picture, cells) in enumerate(images, start=1):
        file = f"{name}_{number:03}.tif"
        Image.fromarray(picture).save(folder / "images" / file)
        coco["images"].append({"id": number, "file_name": file, "width": SIZE[1], "height": SIZE[0]})
        # Of label maps: Instances.from_label_map(labels). Ids are to be different in the whole file.
        for annotation in cells.to_coco(number, category_ids=[1]):
            coco["annotations"].append({**annotation, "id": len(coco["annotations"]) + 1})
    (folder / f"anno_{name}.json").write_text(json.dumps(coco))


if __name__ == "__main__":
    main()
