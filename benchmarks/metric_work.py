"""The metric benchmark's work: full-size images of overlapping cells, from T98G outlines by a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SIZE = (1944, 2592)
REFERENCES = 185
CATEGORY = [{"id": 1, "name": "Cell", "supercategory": "cell"}]


def outlines(t98g: Path) -> list[np.ndarray]:
    """Hand-drawn outlines (points, 2) of the train and validation images."""
    found = []
    for split in ("train", "valid"):
        coco = json.loads((t98g / "dataset" / "spec" / split / f"anno_{split}.json").read_text())
        found += [np.reshape(p, (-1, 2)) for a in coco["annotations"] for p in a["segmentation"] if len(p) >= 60]
    return found


def make_work(t98g: Path, images: int, seed: int = 0) -> tuple[dict, list[dict]]:
    """A COCO file and COCO results: cells placed at random, and noisy copies of most of them with scores.

    Results differ from references by a shift, noise along the outline, misses (one in eight) and
    inventions, so that each threshold sees another number of matches.
    """
    rng = np.random.default_rng(seed)
    shapes = outlines(t98g)
    truth = {"images": [], "annotations": [], "categories": CATEGORY}
    results = []
    for image_id in range(1, images + 1):
        truth["images"].append({"id": image_id, "file_name": f"{image_id}.tif", "height": SIZE[0], "width": SIZE[1]})
        for _ in range(REFERENCES):
            cell = placed(rng, shapes)
            truth["annotations"].append(row(cell, image_id, id=len(truth["annotations"]) + 1, iscrowd=0))
            if rng.random() < 0.875:
                noisy = cell + rng.normal(0, 1.5, 2) + rng.normal(0, rng.uniform(0, 2.5), cell.shape)
                results.append(row(noisy, image_id, score=float(rng.random())))
        for _ in range(REFERENCES // 10):
            results.append(row(placed(rng, shapes), image_id, score=float(rng.random())))
    return truth, results


def placed(rng: np.random.Generator, shapes: list[np.ndarray]) -> np.ndarray:
    """One outline moved to a random place inside the image."""
    cell = shapes[rng.integers(len(shapes))]
    cell = cell - cell.min(0)
    return cell + rng.uniform(3, np.array(SIZE[::-1]) - cell.max(0) - 3)


def row(points: np.ndarray, image_id: int, **extra) -> dict:
    """A COCO annotation or result of one polygon."""
    x, y = points.min(0)
    w, h = np.ptp(points, axis=0)
    return {
        "image_id": image_id,
        "category_id": 1,
        "segmentation": [points.round(2).ravel().tolist()],
        "bbox": [float(x), float(y), float(w), float(h)],
        "area": float(w * h),
        **extra,
    }
