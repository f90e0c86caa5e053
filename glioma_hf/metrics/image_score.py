"""The statistics of one image: all that the scores of a split are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.matching import BORDER, THRESHOLDS, Counts, match

Mode = Literal["overlapping", "flattened"]
BorderRule = Literal["exclude", "ignore"]


@dataclass(frozen=True)
class ScoringOptions:
    """What is scored and how.

    Attributes:
        thresholds: IoUs at which a pair counts as a match, equality included.
        mode: "overlapping" scores masks as they are (the paper's Table 2), "flattened" first gives each
            contested pixel to the earlier object, on both sides (Table 4).
        border: width in pixels of the frame whose objects are left out.
        border_rule: "exclude" leaves them out of each side on its own, as the paper does, so that the
            partner of one that was left out is an error; "ignore" (ours) lets them take that partner
            along: it then counts on neither side.
        smallest_area: objects of fewer pixels are left out of both sides.
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    mode: Mode = "overlapping"
    border: int = BORDER
    border_rule: BorderRule = "exclude"
    smallest_area: int = 1

    def __post_init__(self) -> None:
        values = [float(t) for t in np.atleast_1d(np.asarray(self.thresholds, float))]
        if not values or any(not 0 < t <= 1 for t in values) or len(set(values)) != len(values):
            raise InputError(f"IoU thresholds are distinct numbers above 0 and up to 1, not {list(self.thresholds)}")
        object.__setattr__(self, "thresholds", tuple(values))
        for name, kind in (("mode", Mode), ("border_rule", BorderRule)):
            if getattr(self, name) not in get_args(kind):
                known = " or ".join(repr(v) for v in get_args(kind))
                raise InputError(f"the {name.replace('_', ' ')} {getattr(self, name)!r} isn't known; it is {known}")


@dataclass(frozen=True)
class ImageScore:
    """One image: counts and the summed IoU of its matches per threshold, and how much was scored."""

    counts: tuple[Counts, ...]
    iou_sums: tuple[float, ...]
    predictions: int
    references: int


def score_image(predictions: Instances, references: Instances, options: ScoringOptions) -> ImageScore:
    """Match one image at every threshold. Raises `InputError` where the sides' sizes differ."""
    sides = [flattened(side, options) for side in (predictions, references)]
    if options.border_rule == "exclude" or options.border <= 0:
        predictions, references = (side.select(is_scored(side, options)) for side in sides)
        iou = predictions.iou(references)
        matches = [match(iou, t) for t in options.thresholds]
        left = [(0, 0)] * len(matches)
    else:
        inner = [is_scored(side, options) for side in sides]
        everything = sides[0].iou(sides[1])
        iou = everything[np.ix_(inner[0], inner[1])]
        matches = [match(iou, t) for t in options.thresholds]
        left = [_taken_along(everything, inner, pair, t) for pair, t in zip(matches, options.thresholds, strict=True)]
    p, r = iou.shape
    counts = tuple(
        Counts(len(rows), p - len(rows) - a, r - len(rows) - b) for (rows, _), (a, b) in zip(matches, left, strict=True)
    )
    return ImageScore(counts, tuple(float(iou[rows, columns].sum()) for rows, columns in matches), p, r)


def flattened(instances: Instances, options: ScoringOptions) -> Instances:
    """The instances in the mode in which they are scored."""
    return instances.flatten() if options.mode == "flattened" else instances


def is_scored(instances: Instances, options: ScoringOptions) -> np.ndarray:
    """Which objects count: large enough and off the border. bool (N,)."""
    kept = instances.areas >= options.smallest_area if options.smallest_area > 1 else instances.boxes[:, 2] > 0
    if options.border > 0:
        kept &= ~instances.touching_border(options.border)
    return kept


def scored_objects(instances: Instances, options: ScoringOptions | None = None) -> Instances:
    """What of one side is scored: flattened where asked, without small objects and those at the border."""
    options = options or ScoringOptions()
    instances = flattened(instances, options)
    return instances.select(is_scored(instances, options))


def _taken_along(
    iou: np.ndarray, inner: Sequence[np.ndarray], pair: tuple[np.ndarray, np.ndarray], threshold: float
) -> tuple[int, int]:
    """How many unmatched predictions and references match an object that was left out."""
    taken = []
    for side, matrix in enumerate((iou, iou.T)):
        mine = np.flatnonzero(inner[side])
        free = np.setdiff1d(mine, mine[pair[side]], assume_unique=True)
        outer = np.flatnonzero(~inner[1 - side])
        taken.append(len(match(matrix[np.ix_(free, outer)], threshold)[0]))
    return taken[0], taken[1]
