"""mDice, mIoU and mHD: each reference against its best prediction, one prediction for any number of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioma_hf.instances import Instances


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
    iou = predictions.iou(references).max(0, initial=0.0)
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
    least = []
    for (mask, corner), own in zip(references.box_masks(), corners[1], strict=True):
        best = float(np.hypot(*references.size))
        here = np.argwhere(mask) + corner
        bounds = np.abs(corners[0] - own).max(1) if len(masks) else np.zeros(0)
        for position in np.argsort(bounds):
            if bounds[position] >= best:
                break
            if position not in points:
                points[position] = np.argwhere(masks[position][0]) + masks[position][1]
            best = min(best, hausdorff_distance(here, points[position]))
        least.append(best)
    return least


def hausdorff_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Greatest distance from a point of one set to the nearest of the other; points (N, 2) and (M, 2)."""
    from scipy.spatial import cKDTree  # seldom needed, and it costs a tenth of a second

    return float(max(cKDTree(b).query(a)[0].max(), cKDTree(a).query(b)[0].max()))
