"""How sure a pooled score is: bootstrap over images, from their counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

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
    drawn = _drawn(len(images), seed)
    return [_middle(_pooled(drawn, at_threshold)) for at_threshold in zip(*images, strict=True)]


def mean_ap_interval(runs: Sequence[Sequence[Counts]], seed: int = 0) -> Interval:
    """The 95 % interval of the mean over runs (say, seeds of training) of the pooled AP at one threshold.

    Args:
        runs: per run the counts of each image, all of the same images.
        seed: of the drawing, which is that of `ap_intervals`.

    (0, 0) where there are no images.

    >>> mean_ap_interval([[Counts(3, 1, 0)] * 4, [Counts(1, 1, 2)] * 4])
    (0.5, 0.5)
    """
    return _middle(_resampled(runs, seed)) if runs and runs[0] else (0.0, 0.0)


def paired_interval(
    first: Sequence[Sequence[Counts]], second: Sequence[Sequence[Counts]], seed: int = 0
) -> tuple[float, Interval]:
    """By how much the first model's AP is higher than the second's, and the 95 % interval of that.

    Both are scored on the same images, which are drawn for both at once: what makes an image hard for both isn't
    counted as chance. Where the interval leaves out 0, the difference exceeds it.

    Args:
        first, second: of each model per run the counts of each image, at one threshold, the images in one order.
        seed: of the drawing.

    >>> paired_interval([[Counts(3, 1, 0)] * 4], [[Counts(1, 1, 2)] * 4])
    (0.5, (0.5, 0.5))
    """
    if not first or not second or not first[0]:
        return 0.0, (0.0, 0.0)
    means = [float(np.mean([sum(run, Counts()).ap for run in runs])) for runs in (first, second)]
    return means[0] - means[1], _middle(_resampled(first, seed) - _resampled(second, seed))


def resampled_ap(hits: np.ndarray, everything: np.ndarray, seed: int = 0) -> np.ndarray:
    """The pooled AP of each of the bootstrap's draws: float64 (RESAMPLES,), the same draws for all of as many images.

    For who compares many models with one another: what is drawn is done once for each of them.

    Args:
        hits: true positives of each image, or block of images.
        everything: those, false positives and false negatives.
        seed: of the drawing, which is that of `ap_intervals`.
    """
    return _shares(_drawn(len(hits), seed) @ np.stack([hits, everything], 1))


def is_chance(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether 0 lies in the 95 % interval of the difference of two models, of what `resampled_ap` gives of each."""
    differences = first - second
    tail = int(0.025 * (len(differences) - 1))  # that lie wholly outside; the limit is between the last and the next
    fewest = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    if fewest != tail + 1:  # which counting settles, without sorting
        return bool(fewest > tail)
    low, high = _middle(differences)
    return low <= 0 <= high


def _resampled(runs: Sequence[Sequence[Counts]], seed: int) -> np.ndarray:
    drawn = _drawn(len(runs[0]), seed)
    means: np.ndarray = np.mean([_pooled(drawn, run) for run in runs], axis=0)
    return means


@lru_cache(maxsize=8)
def _drawn(images: int, seed: int) -> np.ndarray:
    """How often each image comes in each resample: int64 (RESAMPLES, images), not to be written to."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), RESAMPLES)
    drawn.flags.writeable = False
    return drawn


def _pooled(drawn: np.ndarray, counts: Sequence[Counts]) -> np.ndarray:
    return _shares(drawn @ np.array([[c.tp, c.tp + c.fp + c.fn] for c in counts]))


def _shares(pooled: np.ndarray) -> np.ndarray:
    """Hits in shares of everything, of (RESAMPLES, 2)."""
    hits, everything = pooled.T
    return np.divide(hits, everything, out=np.zeros(RESAMPLES), where=everything > 0)


def _middle(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
