from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioma_hf import InputError, Instances
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.scores import OverlapScores
from tests.conftest import FACTS
from tests.strategies import instances, square, stacks

SIZE = (40, 40)


def cells(*squares: tuple[float, float, float], size=SIZE) -> Instances:
    return Instances.from_polygons([square(*s) for s in squares], size)


def counts(scores: OverlapScores, threshold: float | None = None) -> tuple:
    at = scores.first if threshold is None else scores.at(threshold)
    return at.tp, at.fp, at.fn


@st.composite
def pairs(draw):
    both = draw(stacks(6))
    split = draw(st.integers(0, len(both)))
    return instances(both[:split]), instances(both[split:])


def test_hand_worked_case():
    references = cells((5, 5, 10), (20, 5, 10), (5, 20, 10))
    # exact; shifted by 2 of 10 (IoU 80 / 120); elsewhere
    predictions = cells((5, 5, 10), (22, 5, 10), (25, 25, 10))
    scores = overlap_ap([(predictions, references)])
    assert counts(scores) == (2, 1, 1)
    assert counts(scores, 0.75) == (1, 2, 2)
    assert scores.ap50 == 0.5
    assert scores.precision == scores.recall == scores.f1 == pytest.approx(2 / 3)
    assert scores.ap75 == scores.ap90 == 0.2


def test_counts_are_pooled_over_images_not_averaged():
    one, none = cells((5, 5, 10)), Instances.empty(SIZE)
    many = cells(*[(4 + 6 * i, 4, 5) for i in range(5)])
    scores = overlap_ap([(one, one), (none, many)])
    assert counts(scores) == (1, 0, 5)
    assert scores.ap50 == pytest.approx(1 / 6)


def test_image_without_predictions_misses_all_its_references():
    assert counts(overlap_ap([(Instances.empty(SIZE), cells((5, 5, 10), (20, 20, 9)))])) == (0, 0, 2)


def test_objects_in_the_outer_frame_are_left_out_of_each_side():
    at_border, inside = (1, 10, 8), (2, 20, 8)
    scores = overlap_ap([(cells(at_border, inside), cells(inside))])
    assert counts(scores) == (1, 0, 0)
    # A reference at the border leaves its prediction an orphan: the paper's rule.
    assert counts(overlap_ap([(cells((2, 10, 8)), cells((1, 10, 8)))])) == (0, 1, 0)
    assert counts(overlap_ap([(cells(at_border), cells(at_border))], border=0)) == (1, 0, 0)


def test_overlapping_cells_are_lost_by_flattening():
    references = cells((5, 5, 12), (9, 5, 12))
    assert overlap_ap([(references, references)]).ap50 == 1
    shuffled = references.select([1, 0])
    overlapping = overlap_ap([(shuffled, references)])
    flattened = overlap_ap([(shuffled, references)], mode="flattened")
    assert overlapping.ap90 == 1
    assert flattened.ap90 == 0


def test_nested_cells_each_find_their_own():
    references = cells((5, 5, 20), (10, 10, 8))
    assert counts(overlap_ap([(references, references)])) == (2, 0, 0)


def test_one_prediction_over_two_cells_matches_neither():
    references = cells((5, 5, 8), (13, 5, 8))
    both = Instances.from_polygons([[*square(5, 5, 8), *square(13, 5, 8)]], SIZE)
    # IoU with each is exactly one half: equality counts, and it may match only one.
    assert counts(overlap_ap([(both, references)])) == (1, 0, 1)
    assert counts(overlap_ap([(both, references)], thresholds=[0.51])) == (0, 1, 2)


def test_one_pixel_masks_and_empty_masks():
    dot = np.zeros((9, 9), bool)
    dot[4, 4] = True
    found = Instances.from_masks([dot, np.zeros((9, 9), bool)])
    assert counts(overlap_ap([(found, found)])) == (1, 0, 0)


def test_more_than_256_objects():
    many = cells(*[(3 + 4 * (i % 24), 3 + 4 * (i // 24), 3) for i in range(480)], size=(100, 110))
    assert counts(overlap_ap([(many, many)])) == (480, 0, 0)


@given(pairs(), st.sampled_from(["overlapping", "flattened"]))
def test_perfect_prediction_and_bounds(sides, mode):
    a, b = sides
    assert overlap_ap([(a, a)], mode=mode, border=0).fp == 0
    scores = overlap_ap([(a, b)], mode=mode)
    assert all(0 <= getattr(scores, k) <= 1 for k in ("ap50", "ap75", "ap90", "precision", "recall", "f1"))
    assert scores.ap50 >= scores.ap75 >= scores.ap90


@given(pairs(), st.randoms(use_true_random=False))
def test_order_of_objects_and_images_does_not_matter(sides, random):
    a, b = sides
    order = list(range(len(a)))
    random.shuffle(order)
    shuffled = overlap_ap([(a.select(order), b), (b, a)])
    assert shuffled.to_dict() == overlap_ap([(b, a), (a, b)]).to_dict()


@given(pairs(), st.integers(0, 5), st.integers(0, 5))
def test_translation_does_not_matter(sides, down, right):
    size = (sides[0].size[0] + down, sides[0].size[1] + right)
    moved = [
        Instances.from_box_masks([(m, (t + down, x + right)) for m, (t, x) in side.box_masks()], size) for side in sides
    ]
    assert overlap_ap([tuple(moved)], border=0) == overlap_ap([sides], border=0)


@given(pairs())
def test_swapping_sides_swaps_false_positives_and_negatives(sides):
    a, b = sides
    there, back = overlap_ap([(a, b)]), overlap_ap([(b, a)])
    assert (there.tp, there.fp, there.fn) == (back.tp, back.fn, back.fp)
    assert there.ap50 == back.ap50


@given(pairs())
def test_flattened_equals_overlapping_where_nothing_overlaps(sides):
    flat = [(sides[0].flatten(), sides[1].flatten())]
    assert overlap_ap(flat, mode="flattened").to_dict() == overlap_ap(flat).to_dict()


def test_bad_options():
    for thresholds in ([], [0], [1.5], [0.5, 0.5], [float("nan")]):
        with pytest.raises(InputError, match="thresholds"):
            overlap_ap([], thresholds=thresholds)
    for name, value in (("border", -1), ("border", 2.5), ("min_area", -1), ("min_area", float("nan")), ("border", "2")):
        with pytest.raises(
            InputError, match=f"the {name.replace('_', ' ')} is a whole number of pixels from 0 on, not"
        ):
            overlap_ap([], **{name: value})
    with pytest.raises(InputError, match="the mode 'flat'"):
        overlap_ap([], mode="flat")
    with pytest.raises(InputError, match="different sizes"):
        overlap_ap([(Instances.empty((3, 3)), Instances.empty((3, 4)))])


def test_formulas_hold_in_every_row_of_the_papers_tables():
    """F1(P, R) and AP(F1) within the rounding of the printed digits; one row is a misprint."""
    facts = FACTS / "paper_tables.json"
    if not facts.is_file():
        pytest.skip("the paper's tables are not beside the checkout (../shared/facts)")
    tables = json.loads(facts.read_text())
    rows = [(0.005, r) for r in tables["table2_overlapping"]] + [(0.05, r) for r in tables["table4_non_overlapping"]]
    assert len(rows) == 52

    def f1(precision: float, recall: float) -> float:
        return 2 * precision * recall / (precision + recall)

    def ap(value: float) -> float:
        return 100 * value / (200 - value)

    off = []
    for half, row in rows:  # printed values may be off by half a digit, before and after the formula
        p, r, f = row["precision"], row["recall"], row["f1"]
        slack = half + 1e-9
        f1_holds = f1(p - half, r - half) - slack <= f <= f1(p + half, r + half) + slack
        ap_holds = ap(f - half) - slack <= row["ap50"] <= ap(f + half) + slack
        if not (f1_holds and ap_holds):
            off.append((row["task"], row["model"], row["fine_tuned"]))
    assert off == [("Cells, gen", "MediarFormer", True)]  # prints 80.41 where P and R give 80.37


def test_counts_add_up():
    assert Counts(1, 2, 3) + Counts(4, 5, 6) == Counts(5, 7, 9)


def test_flattened_by_either_priority():
    squares = [[[4, 4, 14, 4, 14, 14, 4, 14]], [[10, 4, 20, 4, 20, 14, 10, 14]]]
    first = Instances.from_polygons(squares, (24, 24))
    last = first.flatten("last")
    by_first = overlap_ap([(last, first)], mode="flattened", thresholds=[0.99])
    by_last = overlap_ap([(last, first)], mode="flattened", thresholds=[0.99], priority="last")
    assert (by_first.tp, by_last.tp) == (0, 2)
    ranked = Instances.from_rles(first.rles, first.size, scores=[0.9, 0.5])  # the better prediction wins either way
    assert overlap_ap([(ranked, first)], mode="flattened", thresholds=[0.99], priority="last").tp == 0
    assert overlap_ap([(ranked, first)], mode="flattened", thresholds=[0.99]).tp == 2
    with pytest.raises(InputError, match="the priority 'middle' isn't known; it is 'first' or 'last'"):
        overlap_ap([], priority="middle")
