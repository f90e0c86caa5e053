"""Which prediction meets which reference: optimal one-to-one matching at an IoU threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioma_hf.metrics.overlaps import DENSE, Overlaps


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


def match(iou: np.ndarray | Overlaps, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest set of pairs with IoU >= threshold, among such sets one of greatest summed IoU.

    Args:
        iou: float, shape (predictions, references), or the pairs that overlap.
        threshold: above 0, up to 1; equality counts, as in Cellpose and the NeurIPS script.

    Returns: positions of the matched predictions and of their references, two int arrays of one length, by rising
    prediction.

    Assigning by IoU first and thresholding afterwards would lose matches:

        >>> rows, columns = match(np.array([[0.9, 0.6], [0.6, 0.4]]), 0.5)
        >>> list(zip(rows.tolist(), columns.tolist()))
        [(0, 1), (1, 0)]
    """
    if isinstance(iou, Overlaps):
        passing = iou.iou >= threshold
        rows, columns, values = iou.rows[passing], iou.columns[passing], iou.iou[passing]
    else:
        rows, columns = np.nonzero(iou >= threshold)
        values = iou[rows, columns]
    left, right = np.flatnonzero(np.bincount(rows)), np.flatnonzero(np.bincount(columns))
    if len(left) == len(right) == len(rows):  # no object has a choice
        return rows, columns
    if len(left) * len(right) <= DENSE:
        return _assigned(rows, columns, values, left, right)
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    found = [(rows[alone], columns[alone])]
    rows, columns, values = rows[~alone], columns[~alone], values[~alone]
    for p in _components(rows, columns, iou.shape):
        found.append(_assigned(rows[p], columns[p], values[p], np.unique(rows[p]), np.unique(columns[p])))
    rows, columns = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    order = np.argsort(rows)
    return rows[order], columns[order]


def _assigned(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best assignment of the pairs (rows, columns); `left` and `right` are their objects, each once."""
    from scipy.optimize import linear_sum_assignment  # a third of a second, which many who import this needn't wait

    # One more match always outweighs any gain in IoU: the IoUs together stay below one.
    worth = 1 + values / (2 * min(len(left), len(right)))
    r, c = np.searchsorted(left, rows), np.searchsorted(right, columns)
    if len(left) * len(right) > DENSE:
        return _assigned_sparsely(r, c, worth, left, right)
    near = np.zeros((len(left), len(right)))
    near[r, c] = worth
    r, c = linear_sum_assignment(near, maximize=True)
    good = near[r, c] > 0
    return left[r[good]], right[c[good]]


def _assigned_sparsely(
    r: np.ndarray, c: np.ndarray, worth: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same without a matrix: every object on the left may also stay alone, which is worth less than any pair."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n, m = len(left), len(right)
    own = np.arange(n)
    pairs = csr_matrix((np.r_[1 + worth, np.ones(n)], (np.r_[r, own], np.r_[c, m + own])), shape=(n, m + n))
    rows, columns = min_weight_full_bipartite_matching(pairs, maximize=True)
    matched = columns < m
    return left[rows[matched]], right[columns[matched]]


def _components(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Positions of the pairs, by groups of objects that hang together."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n = sum(shape)
    graph = csr_matrix((np.ones(len(rows), bool), (rows, columns + shape[0])), shape=(n, n))
    label = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def count(iou: np.ndarray | Overlaps, threshold: float) -> Counts:
    """TP, FP and FN of one image from its IoU matrix (predictions, references) or its overlaps."""
    tp = len(match(iou, threshold)[0])
    return Counts(tp, iou.shape[0] - tp, iou.shape[1] - tp)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
