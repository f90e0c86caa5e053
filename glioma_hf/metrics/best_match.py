"""mDice, mIoU and mHD: each reference against its best prediction, one prediction for any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from glioma_hf.instances import Instances
from glioma_hf.metrics.overlaps import DENSE, overlaps


@dataclass(frozen=True)
class BestMatch:
    """Sums over references, pooled over images: best Dice, best IoU, least Hausdorff distance."""

    dice: float = 0.0
    iou: float = 0.0
    hausdorff: float = 0.0
    references: int = 0

    def __add__(self, other: BestMatch) -> BestMatch:
        return BestMatch(
            self.dice + other.dice,
            self.iou + other.iou,
            self.hausdorff + other.hausdorff,
            self.references + other.references,
        )

    @property
    def mdice(self) -> float:
        """Mean over references of the best Dice; 0 where there is no reference."""
        return self.dice / max(self.references, 1)

    @property
    def miou(self) -> float:
        """Mean over references of the best IoU; 0 where there is no reference."""
        return self.iou / max(self.references, 1)

    @property
    def mhd(self) -> float:
        """Mean over references of the least Hausdorff distance, in pixels; 0 where it wasn't measured."""
        return self.hausdorff / max(self.references, 1)


def best_match(predictions: Instances, references: Instances, hausdorff: bool = False) -> BestMatch:
    """One image's sums (cell segmentation benchmark report, section 4.3).

    Dice = 2 IoU / (1 + IoU) rises with IoU, so one maximum serves both. In an image without predictions
    the Hausdorff distance is the image's diagonal, the largest there can be.
    """
    if not len(references):
        return BestMatch()
    iou = overlaps(predictions, references).best_of_columns()
    distance = float(sum(_least_hausdorff(predictions, references))) if hausdorff else 0.0
    return BestMatch(float((2 * iou / (1 + iou)).sum()), float(iou.sum()), distance, len(references))


def _least_hausdorff(predictions: Instances, references: Instances) -> list[float]:
    """For each reference the least Hausdorff distance to any prediction, in pixels.

    Two masks are at least as far apart as the corresponding sides of their boxes; predictions are tried
    in that order and left once the bound passes the best.
    """
    corners = [np.column_stack([b[:, :2], b[:, :2] + b[:, 2:]]) for b in (predictions.boxes, references.boxes)]
    points: dict[int, np.ndarray] = {}
    masks = list(predictions.box_masks())
    nearest = _nearest_boxes(*corners)
    least = []
    for (mask, corner), candidates in zip(references.box_masks(), nearest, strict=True):
        best = float(np.hypot(*references.size))
        here = np.argwhere(mask) + corner
        for position, bound in candidates:
            if bound >= best:
                break
            if position not in points:
                points[position] = np.argwhere(masks[position][0]) + masks[position][1]
            best = min(best, hausdorff_distance(here, points[position]))
        least.append(best)
    return least


def _nearest_boxes(predictions: np.ndarray, references: np.ndarray) -> Iterator[Iterator[tuple[int, float]]]:
    """For each reference the predictions and how far their corners are at least, by rising distance; (N, 4), (M, 4)."""
    if len(predictions) * len(references) <= DENSE:
        for own in references:
            bounds = np.abs(predictions - own).max(1) if len(predictions) else np.zeros(0)
            order = np.argsort(bounds)
            yield zip(order.tolist(), bounds[order].tolist(), strict=True)
        return
    from scipy.spatial import cKDTree

    tree = cKDTree(predictions)
    for own in references:
        yield _rising(tree, own, len(predictions))


def _rising(tree: Any, own: np.ndarray, n: int) -> Iterator[tuple[int, float]]:
    """All of a tree's points by rising distance from `own`, more of them only as they are asked for."""
    told, many = 0, 8
    while told < n:
        bounds, order = tree.query(own, min(many, n), p=np.inf)
        yield from zip(np.atleast_1d(order)[told:].tolist(), np.atleast_1d(bounds)[told:].tolist(), strict=True)
        told, many = min(many, n), many * 8


def hausdorff_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Greatest distance from a point of one set to the nearest of the other; points (N, 2) and (M, 2)."""
    from scipy.spatial import cKDTree  # seldom needed, and it costs a tenth of a second

    return float(max(cKDTree(b).query(a)[0].max(), cKDTree(a).query(b)[0].max()))
