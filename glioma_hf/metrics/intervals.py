"""How sure a pooled score is: bootstrap over images, from their counts alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glioma_hf.metrics.matching import Counts

Interval = tuple[float, float]
RESAMPLES = 2000


def ap_intervals(images: Sequence[Sequence[Counts]], seed: int = 0) -> list[Interval]:
    """The 95 % interval of the pooled AP at each threshold.

    Args:
        images: per image its counts at each threshold.
        seed: of the drawing.

    Percentile bootstrap: images are drawn again with replacement, counts pooled each time. The same images
    are drawn for all thresholds. An empty list where there are no images.
    """
    if not images:
        return []
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), RESAMPLES)
    intervals = []
    for at_threshold in zip(*images, strict=True):
        hits, everything = (drawn @ np.array([[c.tp, c.tp + c.fp + c.fn] for c in at_threshold])).T
        pooled = np.divide(hits, everything, out=np.zeros(RESAMPLES), where=everything > 0)
        low, high = np.percentile(pooled, [2.5, 97.5])
        intervals.append((float(low), float(high)))
    return intervals
