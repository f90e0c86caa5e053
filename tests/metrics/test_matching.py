from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from glioma_hf.metrics.matching import Counts, count, match

ious = hnp.arrays(
    float, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=st.sampled_from([0, 0.3, 0.5, 0.6, 0.75, 1])
)


def brute_force(iou: np.ndarray, threshold: float) -> tuple[int, float]:
    """Most pairs, and among those the greatest sum of IoU, over all assignments."""
    if iou.shape[0] > iou.shape[1]:
        iou = iou.T
    best = (0, 0.0)
    for columns in permutations(range(iou.shape[1]), iou.shape[0]):
        values = [iou[r, c] for r, c in enumerate(columns) if iou[r, c] >= threshold]
        best = max(best, (len(values), float(sum(values))))
    return best


@given(ious, st.sampled_from([0.3, 0.5, 0.75, 0.9]))
def test_match_is_the_best_of_all_assignments(iou, threshold):
    rows, columns = match(iou, threshold)
    pairs, total = brute_force(iou, threshold)
    assert len(rows) == len(set(rows)) == len(set(columns)) == pairs
    assert iou[rows, columns].sum() == pytest.approx(total)
    assert (iou[rows, columns] >= threshold).all()


@given(st.integers(0, 2**32 - 1))
def test_large_matrices_agree_with_hopcroft_karp(seed):
    rng = np.random.default_rng(seed)
    iou = np.where(rng.random((60, 70)) < 0.05, rng.random((60, 70)), 0)
    expected = (maximum_bipartite_matching(csr_matrix(iou >= 0.5), perm_type="column") >= 0).sum()
    assert len(match(iou, 0.5)[0]) == expected


def test_greedy_would_fall_short():
    iou = np.array([[0.9, 0.6], [0.6, 0.4]])
    assert count(iou, 0.5) == Counts(2, 0, 0)


def test_equal_iou_and_threshold_is_a_match():
    assert count(np.array([[0.5]]), 0.5).tp == 1
    assert count(np.array([[np.nextafter(0.5, 0)]]), 0.5).tp == 0


def test_duplicates_count_once():
    assert count(np.array([[1.0], [1.0], [0.9]]), 0.5) == Counts(1, 2, 0)


def test_empty_sides():
    assert count(np.zeros((0, 3)), 0.5) == Counts(0, 0, 3)
    assert count(np.zeros((4, 0)), 0.5) == Counts(0, 4, 0)
    assert count(np.zeros((0, 0)), 0.5).ap == 0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_scores_by_hand(tp, fp, fn):
    counts = Counts(tp, fp, fn)
    if tp:
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        assert counts.precision == precision
        assert counts.recall == recall
        assert counts.f1 == pytest.approx(2 * precision * recall / (precision + recall))
        assert counts.ap == pytest.approx(counts.f1 / (2 - counts.f1))
    else:
        assert counts.precision == counts.recall == counts.f1 == counts.ap == 0
