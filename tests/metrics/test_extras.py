"""Scores beside the paper's, each against hand-worked numbers or an independent computation."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import directed_hausdorff

from glioma_hf import InputError, Instances
from glioma_hf.metrics.best_match import best_match
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.overlap_ap import EXTRAS, by_category, overlap_ap
from tests.metrics.test_overlap_ap import cells, counts
from tests.strategies import instances, square, stacks

BORDER_CELL, INNER = (1, 10, 8), (2, 10, 8)


def test_ignore_rule_takes_the_partner_of_a_left_out_object_along():
    for sides in ((cells(INNER), cells(BORDER_CELL)), (cells(BORDER_CELL), cells(INNER))):
        assert sum(counts(overlap_ap([sides]))[1:]) == 1
        assert counts(overlap_ap([sides], border_rule="ignore")) == (0, 0, 0)


def test_ignore_rule_prefers_a_match_that_counts():
    # The prediction meets both the left-out reference and a scored one: the scored one has it.
    references = cells(BORDER_CELL, (3, 10, 8))
    assert counts(overlap_ap([(cells(INNER), references)], border_rule="ignore")) == (1, 0, 0)
    # A second prediction of the left-out one is no excuse for two.
    two = cells(INNER, INNER)
    assert counts(overlap_ap([(two, cells(BORDER_CELL))], border_rule="ignore")) == (0, 1, 0)


@given(stacks(6), st.integers(0, 6))
def test_rules_agree_where_nothing_touches_the_border(stack, split):
    inner = np.pad(stack, ((0, 0), (2, 2), (2, 2)))
    sides = instances(inner[:split]), instances(inner[split:])
    ways = ({}, {"border_rule": "ignore"}, {"border": 0})
    first, *others = (overlap_ap([sides], **way).to_dict() for way in ways)
    assert all(other == first for other in others)


def test_small_objects_are_left_out_of_both_sides():
    small, large = (5, 5, 4), (20, 20, 10)
    assert counts(overlap_ap([(cells(small, large), cells(small, large))], min_area=17)) == (1, 0, 0)
    assert counts(overlap_ap([(cells(small), cells(large))], min_area=17)) == (0, 0, 1)


def test_panoptic_quality_by_hand():
    # One exact match, one of IoU 80 / 120, one missed, one invented.
    references = cells((5, 5, 10), (20, 5, 10), (5, 20, 10))
    predictions = cells((5, 5, 10), (22, 5, 10), (25, 25, 10))
    scores = overlap_ap([(predictions, references)], extras=["panoptic"])
    assert scores.panoptic.rq == pytest.approx(2 / 3)
    assert scores.panoptic.sq == pytest.approx((1 + 2 / 3) / 2)
    assert scores.panoptic.pq == pytest.approx(5 / 9)


def test_image_means_weigh_images_alike_and_skip_empty_ones():
    one, none = cells((5, 5, 10)), Instances.empty((40, 40))
    many = cells(*[(4 + 6 * i, 4, 5) for i in range(5)])
    scores = overlap_ap([(one, one), (none, many), (none, none)], extras=["image_means"])
    assert scores.image_means[0.5].ap == 0.5
    assert scores.image_means[0.75].recall == 0.5
    assert scores.ap50 == pytest.approx(1 / 6)


def test_curve_is_the_ap_at_each_threshold():
    rng = np.random.default_rng(0)
    references = cells(*[(4 + 12 * (i % 3), 4 + 12 * (i // 3), 9) for i in range(9)])
    moved = [square(4 + 12 * (i % 3) + rng.uniform(0, 3), 4 + 12 * (i // 3), 9) for i in range(9)]
    predictions = Instances.from_polygons(moved, (40, 40))
    scores = overlap_ap([(predictions, references)], extras=["curve"])
    singles = [overlap_ap([(predictions, references)], thresholds=[t / 100]).first.ap for t in range(50, 100, 5)]
    names = [f"ap{t}" for t in range(50, 100, 5)]
    assert [scores.to_dict()[n] for n in names] == singles
    assert list(scores.curve) == [t / 100 for t in range(50, 100, 5)]
    assert list(scores.curve.values()) == singles
    assert scores.ap50_95 == pytest.approx(np.mean(singles))
    assert len(set(singles)) > 2


def test_interval_holds_the_score_is_seeded_and_closes_where_images_are_alike():
    alike = [(cells((5, 5, 10)), cells((5, 5, 10), (20, 20, 10)))] * 8
    scores = overlap_ap(alike, extras=["interval"])
    assert scores.ap50 == 0.5
    assert scores.at(0.5).interval == (0.5, 0.5)
    mixed = alike[:5] + [(cells((5, 5, 10)), cells((5, 5, 10)))] * 5
    first, again = (overlap_ap(mixed, extras=["interval"], seed=3) for _ in range(2))
    assert first == again
    low, high = first.at(0.5).interval
    assert 0.5 < low < first.ap50 < high < 1
    assert (first.to_dict()["ap50_low"], first.to_dict()["ap50_high"]) == (low, high)
    assert overlap_ap([], extras=["interval"]).at(0.5).interval == (0, 0)


@given(stacks(6), st.integers(0, 6))
def test_best_match_agrees_with_dense_loops(stack, split):
    kept = stack[stack.any((1, 2))]
    predictions, references = kept[:split], kept[split:]
    found = best_match(instances(predictions), instances(references), hausdorff=True)
    dice = iou = distance = 0.0
    for y in references:
        pairs = [(int((x & y).sum()), int(x.sum() + y.sum())) for x in predictions]
        dice += max((2 * both / total for both, total in pairs), default=0)
        iou += max((both / (total - both) for both, total in pairs), default=0)
        diagonal = np.hypot(*stack.shape[1:])
        points = [(np.argwhere(x), np.argwhere(y)) for x in predictions]
        distance += min(
            (max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]) for a, b in points), default=diagonal
        )
    assert found.dice == pytest.approx(dice)
    assert found.iou == pytest.approx(iou)
    assert found.hausdorff == pytest.approx(distance)


def test_best_match_scores_are_means_over_all_references():
    references = cells((5, 5, 10), (20, 20, 10))
    scores = overlap_ap([(cells((5, 5, 10)), references)], extras=["best_match", "hausdorff"])
    assert scores.best_match.mdice == scores.best_match.miou == 0.5
    assert scores.mhd == pytest.approx(np.hypot(15, 15) / 2)


def test_coco_map_is_cocoevals():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(4)
    pairs = []
    for _ in range(3):
        spots = rng.uniform(3, 80, (12, 2))
        references = Instances.from_polygons([square(x, y, 12) for x, y in spots], (100, 100))
        moved = [square(x + rng.normal(0, 2), y, 12) for x, y in spots[:9]] + [square(40, 40, 9)]
        pairs.append((Instances.from_polygons(moved, (100, 100), scores=rng.random(10)), references))
    truth, results = COCO(), []
    rows = [
        r | {"id": 1000 * i + r["id"] + 1, "category_id": 1} for i, (_, s) in enumerate(pairs) for r in s.to_coco(i)
    ]
    truth.dataset = {
        "images": [{"id": i, "height": 100, "width": 100} for i in range(3)],
        "annotations": rows,
        "categories": [{"id": 1, "name": "cell"}],
    }
    for i, (predictions, _) in enumerate(pairs):
        results += [r | {"category_id": 1} for r in predictions.to_coco(i)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert overlap_ap(pairs, border=0, extras=["coco"]).coco_map == pytest.approx(judge.stats[0])
    with pytest.raises(InputError, match="image 0: COCO's mAP needs predictions with scores"):
        overlap_ap([(pairs[0][1], pairs[0][1])], extras=["coco"])


def test_categories_are_scored_apart_as_the_papers_tasks():
    references = Instances.from_polygons([square(5, 5, 10), square(20, 20, 10)], (40, 40), categories=[1, 2])
    swapped = Instances.from_polygons([square(5, 5, 10), square(20, 20, 10)], (40, 40), categories=[2, 1])
    scores = by_category([(swapped, references)], {"cells": [1, 2], "cell_a": [1]}, extras=["panoptic"])
    assert counts(scores["cells"]) == (2, 0, 0)
    assert counts(scores["cell_a"]) == (0, 1, 1)
    assert scores["cells"].panoptic.pq == 1


def test_unknown_extras_and_rules():
    with pytest.raises(InputError, match="'map' isn't known; there are curve"):
        overlap_ap([], extras=["map"])
    with pytest.raises(InputError, match="border rule 'drop' isn't known; it is 'exclude' or 'ignore'"):
        overlap_ap([], border_rule="drop")


@given(stacks(5), st.integers(0, 5))
def test_every_score_stays_in_bounds(stack, split):
    scores = overlap_ap(
        [(instances(stack[:split]), instances(stack[split:]))], extras=[e for e in EXTRAS if e != "coco"]
    )
    for name, value in scores.to_dict().items():
        if isinstance(value, float) and name != "mhd":
            assert 0 <= value <= 1, name


def test_contested_objects_have_an_ap_of_their_own():
    references = cells((5, 5, 10), (5, 11, 10), (40, 40, 10), size=(80, 80))
    both, other, far = (
        (5, 5, 16),
        (40, 43, 8),
        (60, 60, 10),
    )  # one over both contested ones, bad ones of no contested pixel
    predictions = cells((5, 5, 10), both, other, far, size=(80, 80))
    scores = overlap_ap([(predictions, references)], extras=["overlapped"], thresholds=[0.7])
    assert scores.contested.counts == Counts(1, 1, 1)
    assert scores.fp == 3
    flat = overlap_ap([(predictions, references)], extras=["overlapped"], mode="flattened")
    assert flat.contested.counts == Counts()


def test_overlapped_objects_are_told_apart_by_how_far_others_cover_them():
    # Two squares that share 40 of 100 pixels, two that share 20, one alone, one that lies at the border over another.
    heavy, light = [(5, 5, 10), (5, 11, 10)], [(25, 25, 10), (25, 33, 10)]
    references = cells(*heavy, *light, (50, 5, 10), (0, 50, 10), (6, 50, 10), size=(80, 80))
    predictions = references.select([0, 2, 4])
    scores = overlap_ap([(predictions, references), (predictions, references)], extras=["overlapped"])
    alone, least, some, most = scores.overlapped
    assert (alone.references, alone.found) == (2, 2)
    assert least.references == 0
    assert (some.references, some.found) == (4, 2)
    assert (most.references, most.found) == (6, 2)  # the border's own isn't scored, what it covers is
    values = scores.to_dict()
    assert values["recall_covered_30_100"] == pytest.approx(1 / 3)
    assert values["miou_covered_30_100"] == pytest.approx((1 + 40 / 160) / 3)
    assert scores.image(0).overlapped is scores.image(0).contested is None
    assert (values["references_contested"], values["ap_contested"]) == (10, pytest.approx(2 / 5))
    assert overlap_ap([], extras=["overlapped"]).to_dict()["recall_covered_0_1"] == 0
