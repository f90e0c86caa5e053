"""One image matched and counted: all that the scores of a split are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glioma_hf.instances import Instances
from glioma_hf.metrics.matching import Counts, match
from glioma_hf.metrics.overlaps import Overlaps, overlaps
from glioma_hf.metrics.scoring_options import ScoringOptions


@dataclass(frozen=True)
class ImageScore:
    """One image: counts and the summed IoU of its matches per threshold, and how much was scored."""

    counts: tuple[Counts, ...]
    iou_sums: tuple[float, ...]
    predictions: int
    references: int


@dataclass(frozen=True, eq=False)
class Ignored:
    """Which scored objects count on neither side at one threshold, since a crowd region of the other side holds them.

    Attributes:
        predictions: bool (N,); references: bool (M,).
    """

    predictions: np.ndarray
    references: np.ndarray


@dataclass(frozen=True, eq=False)
class MatchedImage:
    """One image's scored objects and which of them meet.

    Attributes:
        predictions, references: what of each side is scored, see `scored_objects`.
        overlaps: the pairs of them that share a pixel.
        matches: per threshold the positions of the matched predictions and of their references.
        score: the counts that follow.
        ignored: per threshold what a crowd region excuses; None where neither side has any.
        crowds: of the references, see `Instances.crowd`; None where neither side has any.
    """

    predictions: Instances
    references: Instances
    overlaps: Overlaps
    matches: tuple[tuple[np.ndarray, np.ndarray], ...]
    score: ImageScore
    ignored: tuple[Ignored, ...] | None
    crowds: Instances | None


def match_image(predictions: Instances, references: Instances, options: ScoringOptions) -> MatchedImage:
    """Match one image at every threshold. Raises `InputError` where the sides' sizes differ.

    Crowd regions (see `Instances.crowd`) are no objects, on neither side: an object of the other side that meets no
    partner and that lies in one, by at least the threshold of its own pixels, isn't counted, as in pycocotools.
    """
    crowds = None
    if predictions.crowd.any() or references.crowd.any():
        crowds = [side.select(side.crowd) for side in (predictions, references)]
        predictions, references = (side.select(~side.crowd) for side in (predictions, references))
    sides = [flattened(side, options) for side in (predictions, references)]
    inner = [is_scored(side, options) for side in sides]
    predictions, references = (side.select(kept) for side, kept in zip(sides, inner, strict=True))
    if options.border_rule == "exclude" or options.border <= 0:
        near = overlaps(predictions, references)
        matches = [match(near, t) for t in options.thresholds]
        excused = [(0, 0)] * len(matches)
    else:
        everything = overlaps(sides[0], sides[1])
        near = everything.among(inner[0], inner[1])
        matches = [match(near, t) for t in options.thresholds]
        excused = [_excused(everything, inner, pair, t) for pair, t in zip(matches, options.thresholds, strict=True)]
    ignored = None
    if crowds is not None:
        ignored = _ignored((predictions, references), crowds, matches, options.thresholds)
        if options.border_rule == "exclude" or options.border <= 0:
            excused = [(int(i.predictions.sum()), int(i.references.sum())) for i in ignored]
        else:
            excused = [
                _excused(everything, inner, pair, t, (i.predictions, i.references))
                for pair, t, i in zip(matches, options.thresholds, ignored, strict=True)
            ]
    n, m = near.shape
    counts = tuple(
        Counts(len(rows), n - len(rows) - a, m - len(rows) - b)
        for (rows, _), (a, b) in zip(matches, excused, strict=True)
    )
    sums = tuple(float(near.at(rows, columns).sum()) for rows, columns in matches)
    score = ImageScore(counts, sums, n, m)
    return MatchedImage(predictions, references, near, tuple(matches), score, ignored, crowds[1] if crowds else None)


def flattened(instances: Instances, options: ScoringOptions) -> Instances:
    """The instances in the mode in which they are scored."""
    if options.mode != "flattened":
        return instances
    return instances.flatten(options.priority if instances.scores is None else "first")


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
    everything: Overlaps,
    inner: Sequence[np.ndarray],
    pair: tuple[np.ndarray, np.ndarray],
    threshold: float,
    ignored: Sequence[np.ndarray] | None = None,
) -> tuple[int, int]:
    """How many unmatched predictions and references match an object that was left out, or are ignored anyway."""
    excused = []
    for side, pairs in enumerate((everything, everything.turned)):
        mine = np.flatnonzero(inner[side])
        free = np.ones(len(mine), bool)
        free[pair[side]] = False
        already = 0
        if ignored is not None:
            free &= ~ignored[side]
            already = int(ignored[side].sum())
        outer = np.flatnonzero(~inner[1 - side])
        excused.append(already + len(match(pairs.among(mine[free], outer), threshold)[0]))
    return excused[0], excused[1]


def _ignored(
    sides: Sequence[Instances],
    crowds: Sequence[Instances],
    matches: Sequence[tuple[np.ndarray, np.ndarray]],
    thresholds: Sequence[float],
) -> tuple[Ignored, ...]:
    """Per threshold the unmatched objects that a crowd region of the other side holds."""
    held = [overlaps(side, other, of_first=True) for side, other in zip(sides, crowds[::-1], strict=True)]
    most = [pairs.turned.best_of_columns() for pairs in held]
    found = []
    for pair, threshold in zip(matches, thresholds, strict=True):
        masks = [share >= threshold for share in most]
        for mask, matched in zip(masks, pair, strict=True):
            mask[matched] = False
        found.append(Ignored(*masks))
    return tuple(found)
