"""Which prediction meets which reference: optimal one-to-one matching at an IoU threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives, of one image or pooled over many."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 where nothing was predicted."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 where there is no reference."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN), the paper's average precision; equals F1 / (2 - F1)."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)


def match(iou: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest set of pairs with IoU >= threshold, among such sets one of greatest summed IoU.

    Args:
        iou: float, shape (predictions, references).
        threshold: above 0, up to 1; equality counts, as in Cellpose and the NeurIPS script.

    Returns: positions of the matched predictions and of their references, two int arrays of one length.

    Assigning by IoU first and thresholding afterwards would lose matches:

        >>> rows, columns = match(np.array([[0.9, 0.6], [0.6, 0.4]]), 0.5)
        >>> list(zip(rows.tolist(), columns.tolist()))
        [(0, 1), (1, 0)]
    """
    passing = iou >= threshold
    rows, columns = np.flatnonzero(passing.any(1)), np.flatnonzero(passing.any(0))
    if not len(rows):
        return rows, columns
    if len(rows) == len(columns) == passing.sum():  # no object has a choice
        return rows, passing[rows].argmax(1)
    near = iou[np.ix_(rows, columns)]
    # One more match always outweighs any gain in IoU: the IoUs together stay below one.
    worth = np.where(near >= threshold, 1 + near / (2 * min(near.shape)), 0)
    r, c = linear_sum_assignment(worth, maximize=True)
    good = near[r, c] >= threshold
    return rows[r[good]], columns[c[good]]


def count(iou: np.ndarray, threshold: float) -> Counts:
    """TP, FP and FN of one image from its IoU matrix (predictions, references)."""
    tp = len(match(iou, threshold)[0])
    return Counts(tp, iou.shape[0] - tp, iou.shape[1] - tp)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
