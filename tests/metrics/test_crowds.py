"""Crowd regions (`iscrowd`, negative labels): no objects, and what lies in one counts on neither side."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glioma_hf import Instances
from glioma_hf.metrics.agreement import agreement, consensus
from glioma_hf.metrics.error_analysis import image_outcomes
from glioma_hf.metrics.inputs import pair_of_instances, to_rles
from glioma_hf.metrics.overlap_ap import by_category, overlap_ap
from tests.strategies import instances, square, stacks

SIZE = (80, 100)
CELLS = [square(10, 10, 20), square(12, 45, 20)]
CLUMP = square(40, 10, 50)
INSIDE = [square(48, 14, 12), square(62, 30, 12), square(70, 45, 12)]


def sides() -> tuple[Instances, Instances]:
    references = Instances.from_polygons([*CELLS, CLUMP], SIZE, crowd=[False, False, True])
    scores = [0.6, 0.55, 0.9, 0.8, 0.7]
    return Instances.from_polygons([*CELLS, *INSIDE], SIZE, scores=scores), references


def counts(scores) -> tuple[int, int, int]:
    return scores.tp, scores.fp, scores.fn


@pytest.mark.parametrize("mode", ["overlapping", "flattened"])
@pytest.mark.parametrize("rule", ["exclude", "ignore"])
def test_what_lies_in_a_crowd_counts_on_neither_side(mode, rule):
    scores = overlap_ap([sides()], mode=mode, border_rule=rule, extras=["coco", "panoptic", "best_match"])
    assert counts(scores) == (2, 0, 0)
    assert (scores.at(0.9).ap, scores.coco_map, scores.panoptic.pq, scores.best_match.miou) == (1, 1, 1, 1)
    assert scores.references == 2
    without = sides()[0], sides()[1].select([0, 1])
    assert counts(overlap_ap([without], mode=mode, border_rule=rule)) == (2, 3, 0)


def test_the_threshold_is_of_the_predictions_own_area():
    half = Instances.from_polygons([square(30, 30, 20)], SIZE)  # half of it lies in the clump
    clump = Instances.from_polygons([CLUMP], SIZE, crowd=[True])
    scores = overlap_ap([(half, clump)], thresholds=(0.5, 0.51))
    assert [(scores.at(t).tp, scores.at(t).fp, scores.at(t).fn) for t in (0.5, 0.51)] == [(0, 0, 0), (0, 1, 0)]


def test_a_match_that_counts_comes_before_a_crowd():
    references = Instances.from_polygons([INSIDE[0], CLUMP], SIZE, crowd=[False, True])
    predictions = Instances.from_polygons([INSIDE[0], INSIDE[0]], SIZE, scores=[0.9, 0.8])
    assert counts(overlap_ap([(predictions, references)])) == (1, 0, 0)
    empty = Instances.empty(SIZE)
    assert counts(overlap_ap([(empty, references)])) == (0, 0, 1)


def test_a_crowd_of_the_predictions_excuses_references_alike():
    found, truth = sides()
    assert counts(overlap_ap([(truth, found)])) == (2, 0, 0)
    matrix = agreement({"a": [truth], "b": [found]})
    assert matrix.values().tolist() == [[1, 1], [1, 1]]
    assert len(consensus([truth, truth, truth])) == 2


def test_outcomes_leave_out_what_a_crowd_holds():
    outcomes = image_outcomes(*sides())
    assert outcomes.kinds == ["tp", "tp"]
    assert [row["outcome"] for row in outcomes.rows()] == ["matched", "matched"]
    more = Instances.from_polygons([*INSIDE, square(5, 70, 8), *CELLS[::-1]], SIZE)
    outcomes = image_outcomes(more, sides()[1])
    assert outcomes.kinds == ["fp", "tp", "tp"]
    assert outcomes.pairs.tolist() == [[1, 1], [2, 0]]
    assert len(outcomes.false_negatives) == 0


def test_a_crowd_is_of_its_category():
    references = Instances.from_polygons([CELLS[0], CLUMP], SIZE, categories=[1, 2], crowd=[False, True])
    predictions = Instances.from_polygons([CELLS[0], INSIDE[0]], SIZE, categories=[1, 1])
    scores = by_category([(predictions, references)], {"one": [1], "both": [1, 2]})
    assert (counts(scores["one"]), counts(scores["both"])) == ((1, 1, 0), (1, 0, 0))


def test_instances_carry_the_mark():
    truth = sides()[1]
    assert truth.crowd.tolist() == [False, False, True]
    assert truth.select([2, 0]).crowd.tolist() == [True, False]
    assert truth.crop(20, 0, 60, 100).crowd.tolist() == [False, False, True]
    assert truth.flatten().crowd.tolist() == [False, False, True]
    assert truth != Instances.from_polygons([*CELLS, CLUMP], SIZE)
    assert [row["iscrowd"] for row in truth.to_coco(1)] == [0, 0, 1]
    assert Instances.from_coco(truth.to_coco(1), SIZE) == truth
    sent = to_rles(truth)
    assert pair_of_instances(sent, sent)[0].crowd.tolist() == [False, False, True]
    row = {"width": 100, "height": 80, "objects": [{"segmentation": CELLS[0], "category": 0}]}
    row["ignored"] = [{"segmentation": CLUMP, "category": 0}]
    assert pair_of_instances(row, row)[0].crowd.tolist() == [False, True]


def test_flattening_leaves_crowds_as_they_are():
    cells = Instances.from_polygons([CLUMP, INSIDE[0], square(60, 20, 20)], SIZE, crowd=[True, False, False])
    flat = cells.flatten()
    assert flat.areas.tolist() == cells.areas.tolist()
    assert (cells.to_label_map() == 1).sum() == 0


def test_negative_labels_are_crowds():
    labels = np.zeros(SIZE, np.int32)
    labels[10:30, 10:30], labels[40:70, 40:90] = 3, -1
    found = Instances.from_label_map(labels)
    assert (found.ids.tolist(), found.crowd.tolist()) == ([-1, 3], [True, False])
    predictions = np.zeros(SIZE, np.int32)
    predictions[10:30, 10:30], predictions[45:60, 50:70] = 1, 2
    assert counts(overlap_ap([pair_of_instances(predictions, labels)])) == (1, 0, 0)


def coco_map_of(predictions: list[Instances], references: list[Instances]) -> float:
    """By pycocotools alone."""
    rows = [row | {"category_id": 1} for i, side in enumerate(references) for row in side.to_coco(i)]
    results = [row | {"category_id": 1} for i, side in enumerate(predictions) for row in side.to_coco(i)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        images = [{"id": i, "height": side.size[0], "width": side.size[1]} for i, side in enumerate(references)]
        annotations = [row | {"id": number} for number, row in enumerate(rows, 1)]
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "segm")
        judge.params.maxDets = [1000]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"]
    return float(np.mean(precision[precision > -1])) if (precision > -1).any() else 0.0


@given(st.lists(stacks(8), min_size=1, max_size=3), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_coco_map_is_cocoevals_with_crowds_too(images, split, seed):
    rng = np.random.default_rng(seed)
    pairs = []
    for stack in images:
        shown = stack[stack.any((1, 2))]
        shown = np.concatenate([shown, shown[:2]])  # some meet exactly
        first, second = shown[:split], shown[split:]
        pairs.append(
            (
                Instances.from_masks(first, stack.shape[1:], scores=rng.integers(0, 4, len(first)) / 4),
                Instances.from_masks(second, stack.shape[1:], crowd=rng.random(len(second)) < 0.4),
            )
        )
    predictions, references = map(list, zip(*pairs, strict=True))
    if not any(map(len, predictions)) or not any(map(len, references)):
        return
    assert overlap_ap(pairs, border=0, extras=["coco"]).coco_map == coco_map_of(predictions, references)


@given(stacks(6), st.integers(0, 6))
def test_without_crowds_nothing_changes_and_a_crowd_over_all_excuses_every_error_of_the_predictions(stack, split):
    first, second = instances(stack[:split]), instances(stack[split:])
    plain = overlap_ap([(first, second)], border=0)
    everywhere = Instances.from_masks(
        [*stack[split:], np.ones(stack.shape[1:], bool)],
        stack.shape[1:],
        crowd=[*[False] * (len(stack) - len(stack[:split])), True],
    )
    excused = overlap_ap([(first, everywhere)], border=0)
    assert counts(excused) == (plain.tp, 0, plain.fn)
