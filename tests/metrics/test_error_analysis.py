from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glioma_hf import Instances
from glioma_hf.metrics.error_analysis import image_outcomes
from glioma_hf.metrics.matching import count
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.scoring_options import ScoringOptions
from tests.strategies import instances, square, stacks

SIZE = (60, 60)
EVERYTHING = ScoringOptions(border=0)


def boxes(*polygons: list[float]) -> Instances:
    return Instances.from_polygons([[p] for p in polygons], SIZE, ids=range(100, 100 + len(polygons)))


def box(x, y, w, h) -> list[float]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def test_each_fate_by_hand():
    references = boxes(box(2, 2, 10, 10), box(20, 2, 20, 10), box(2, 20, 8, 10), box(10, 20, 8, 10), box(40, 40, 9, 9))
    predictions = boxes(box(3, 2, 10, 10), box(20, 2, 9, 10), box(31, 2, 9, 10), box(2, 20, 16, 10), box(2, 45, 9, 9))
    found = image_outcomes(predictions, references, ScoringOptions((0.6,), border=0)).matches
    assert found.pairs.tolist() == [[0, 0]]
    assert found.iou.tolist() == [90 / 110]
    assert found.split == {1: [1, 2]}
    assert found.merged == {3: [2, 3]}
    assert found.missed == [4]
    assert found.invented == [4]


def test_rows_name_ids_and_images():
    one = Instances.from_polygons([square(2, 2, 9)], SIZE, ids=[7])
    other = Instances.from_polygons([square(2, 2, 9), square(30, 30, 9)], SIZE, ids=[8, 9])
    rows = image_outcomes(one, other).rows(image="a.tif")
    assert rows == [
        {"image": "a.tif", "outcome": "matched", "prediction": 7, "reference": 8, "iou": 1.0},
        {"image": "a.tif", "outcome": "missed", "prediction": None, "reference": 9, "iou": None},
    ]


@given(stacks(6), st.integers(0, 6))
def test_every_object_has_a_fate_and_matches_are_the_scores(stack, split):
    filled = stack[stack.any((1, 2))]
    predictions, references = instances(filled[:split]), instances(filled[split:])
    outcomes = image_outcomes(predictions, references, EVERYTHING)
    found = outcomes.matches
    assert len(found.pairs) == count(predictions.iou(references), 0.5).tp
    told = {*found.pairs[:, 0], *found.merged, *found.invented, *(i for v in found.split.values() for i in v)}
    assert told == set(range(len(predictions)))
    told = {*found.pairs[:, 1], *found.split, *found.missed, *(j for v in found.merged.values() for j in v)}
    assert told == set(range(len(references)))
    swapped = image_outcomes(references, predictions, EVERYTHING).matches
    assert {k: v for k, v in swapped.split.items()} == found.merged
    assert np.isclose(swapped.iou.sum(), found.iou.sum())
    hits, wrong, lost = outcomes.true_positives, outcomes.false_positives, outcomes.false_negatives
    assert (len(hits), len(wrong), len(lost)) == (
        len(found.pairs),
        len(predictions) - len(found.pairs),
        len(references) - len(found.pairs),
    )
    assert sorted([*hits.ids, *wrong.ids]) == sorted(predictions.ids)
    assert set(lost.ids) == set(references.ids) - set(references.ids[found.pairs[:, 1]])
    assert outcomes.kinds.count("tp") == len(hits)


def test_outcomes_are_those_that_the_scores_count():
    one = Instances.from_polygons([square(2, 2, 9), square(0, 30, 9), square(40, 40, 8)], SIZE)
    other = Instances.from_polygons([square(2, 3, 9), square(30, 30, 9), square(2, 50, 9)], SIZE)
    scores = overlap_ap([(one, other), (other, one)], keep_outcomes=True)
    for image, outcomes in zip(scores.per_image, scores.outcomes, strict=True):
        told = (len(outcomes.true_positives), len(outcomes.false_positives), len(outcomes.false_negatives))
        assert told == (image.counts[0].tp, image.counts[0].fp, image.counts[0].fn)
    assert scores.outcomes[0].pairs.tolist() == [[0, 0]]
    assert scores.outcomes[0].predictions.ids.tolist() == [0, 2]  # the second lies at the border
    assert overlap_ap([(one, other)]).outcomes is None
