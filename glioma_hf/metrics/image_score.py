"""One image matched and counted: all that the scores of a split are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glioma_hf.instances import Instances
from glioma_hf.metrics.matching import Counts, match
from glioma_hf.metrics.scoring_options import ScoringOptions


@dataclass(frozen=True)
class ImageScore:
    """One image: counts and the summed IoU of its matches per threshold, and how much was scored."""

    counts: tuple[Counts, ...]
    iou_sums: tuple[float, ...]
    predictions: int
    references: int


@dataclass(frozen=True, eq=False)
class MatchedImage:
    """One image's scored objects and which of them meet.

    Attributes:
        predictions, references: what of each side is scored, see `scored_objects`.
        iou: float (predictions, references).
        matches: per threshold the positions of the matched predictions and of their references.
        score: the counts that follow.
    """

    predictions: Instances
    references: Instances
    iou: np.ndarray
    matches: tuple[tuple[np.ndarray, np.ndarray], ...]
    score: ImageScore


def match_image(predictions: Instances, references: Instances, options: ScoringOptions) -> MatchedImage:
    """Match one image at every threshold. Raises `InputError` where the sides' sizes differ."""
    sides = [flattened(side, options) for side in (predictions, references)]
    inner = [is_scored(side, options) for side in sides]
    predictions, references = (side.select(kept) for side, kept in zip(sides, inner, strict=True))
    if options.border_rule == "exclude" or options.border <= 0:
        iou = predictions.iou(references)
        matches = [match(iou, t) for t in options.thresholds]
        excused = [(0, 0)] * len(matches)
    else:
        everything = sides[0].iou(sides[1])
        iou = everything[np.ix_(inner[0], inner[1])]
        matches = [match(iou, t) for t in options.thresholds]
        excused = [_excused(everything, inner, pair, t) for pair, t in zip(matches, options.thresholds, strict=True)]
    n, m = iou.shape
    counts = tuple(
        Counts(len(rows), n - len(rows) - a, m - len(rows) - b)
        for (rows, _), (a, b) in zip(matches, excused, strict=True)
    )
    sums = tuple(float(iou[rows, columns].sum()) for rows, columns in matches)
    return MatchedImage(predictions, references, iou, tuple(matches), ImageScore(counts, sums, n, m))


def flattened(instances: Instances, options: ScoringOptions) -> Instances:
    """The instances in the mode in which they are scored."""
    return instances.flatten() if options.mode == "flattened" else instances


def is_scored(instances: Instances, options: ScoringOptions) -> np.ndarray:
    """Which objects count: large enough and off the border. bool (N,)."""
    kept = instances.areas >= options.min_area if options.min_area > 1 else instances.boxes[:, 2] > 0
    if options.border > 0:
        kept &= ~instances.touching_border(options.border)
    return kept


def scored_objects(instances: Instances, options: ScoringOptions | None = None) -> Instances:
    """What of one side is scored: flattened where the mode says so, without small objects and those at the border."""
    options = options or ScoringOptions()
    instances = flattened(instances, options)
    return instances.select(is_scored(instances, options))


def _excused(
    iou: np.ndarray, inner: Sequence[np.ndarray], pair: tuple[np.ndarray, np.ndarray], threshold: float
) -> tuple[int, int]:
    """How many unmatched predictions and references match an object that was left out."""
    excused = []
    for side, matrix in enumerate((iou, iou.T)):
        mine = np.flatnonzero(inner[side])
        free = np.setdiff1d(mine, mine[pair[side]], assume_unique=True)
        outer = np.flatnonzero(~inner[1 - side])
        excused.append(len(match(matrix[np.ix_(free, outer)], threshold)[0]))
    return excused[0], excused[1]
