"""The benchmark's score of overlapping instances (paper, section 4 and appendix A)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.matching import BORDER, THRESHOLDS, Counts, count

Mode = Literal["overlapping", "flattened"]
Scores = dict[str, float | int]


def overlap_ap(
    pairs: Iterable[tuple[Instances, Instances]],
    thresholds: Sequence[float] = THRESHOLDS,
    mode: Mode = "overlapping",
    border: int = BORDER,
) -> Scores:
    """Scores of (predictions, references) of each image of a split, counts pooled over the images.

    Args:
        pairs: one (predictions, references) per image; they are read once, one at a time.
        thresholds: IoUs at which a pair counts as a match, equality included.
        mode: "overlapping" scores the masks as they are (Table 2), "flattened" first gives each
            contested pixel to the earlier object, on both sides (Table 4).
        border: objects with a pixel in the outer frame of this width are left out of both sides.

    Returns: for each threshold t (in percent) `ap<t>`, and `tp`, `fp`, `fn`, `precision`, `recall`, `f1`
    at the first; those of further thresholds carry it too (`f1_75`). `images`, `predictions` and
    `references` say how much was scored. All ratios lie in 0 ... 1; 0 where nothing is there to count.

        >>> cell = Instances.from_polygons([[[4, 4, 12, 4, 12, 12, 4, 12]]], (20, 20))
        >>> overlap_ap([(cell, cell)])["ap50"]
        1.0
    """
    thresholds = check_thresholds(thresholds)
    if mode not in ("overlapping", "flattened"):
        raise InputError(f"the mode {mode!r} isn't known; it is 'overlapping' or 'flattened'")
    pooled = {t: Counts() for t in thresholds}
    images = predicted = wanted = 0
    for predictions, references in pairs:
        predictions, references = prepare(predictions, mode, border), prepare(references, mode, border)
        iou = predictions.iou(references)
        for t in thresholds:
            pooled[t] += count(iou, t)
        images, predicted, wanted = images + 1, predicted + len(predictions), wanted + len(references)
    scores: Scores = {}
    for position, (t, counts) in enumerate(pooled.items()):
        suffix = "" if position == 0 else f"_{percent(t)}"
        scores[f"ap{percent(t)}"] = counts.ap
        for name in ("tp", "fp", "fn", "precision", "recall", "f1"):
            scores[name + suffix] = getattr(counts, name)
    return scores | {"images": images, "predictions": predicted, "references": wanted}


def prepare(instances: Instances, mode: Mode = "overlapping", border: int = BORDER) -> Instances:
    """What of one side is scored: flattened where asked, without empty masks and objects at the border."""
    if mode == "flattened":
        instances = instances.flatten()
    kept = instances.areas > 0
    if border > 0:
        kept &= ~instances.touching_border(border)
    return instances.select(kept)


def check_thresholds(thresholds: Sequence[float]) -> list[float]:
    """The thresholds as distinct floats in (0, 1]; raises `InputError` otherwise."""
    values = [float(t) for t in np.atleast_1d(np.asarray(thresholds, float))]
    if not values or any(not 0 < t <= 1 for t in values) or len(set(values)) != len(values):
        raise InputError(f"IoU thresholds are distinct numbers above 0 and up to 1, not {list(thresholds)}")
    return values


def percent(threshold: float) -> str:
    """0.5 -> '50', 0.55 -> '55', 0.925 -> '92.5': the suffix of a score's name."""
    return f"{100 * threshold:.4g}"
