"""Only pairs that overlap are looked at: the same bits as by the matrix of all pairs, for crowded images too."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioma_hf import InputError, Instances
from glioma_hf.metrics import best_match, matching, overlaps
from glioma_hf.metrics.agreement import consensus
from glioma_hf.metrics.error_analysis import image_outcomes
from glioma_hf.metrics.matching import match
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.overlaps import Overlaps
from glioma_hf.metrics.scoring_options import ScoringOptions
from tests.conftest import ROOT
from tests.strategies import instances, stacks

SIZE = (150, 170)
WAYS = (
    {},
    {"border_rule": "ignore", "border": 9},
    {"mode": "flattened", "min_area": 12},
    {"thresholds": (0.2, 0.5)},
)


@pytest.fixture
def sparse(monkeypatch):
    """Every image by the way of the crowded ones."""

    def switch(on: bool) -> None:
        for module in (overlaps, matching, best_match):
            monkeypatch.setattr(module, "DENSE", 0 if on else 2**20)

    return switch


def random_cells(rng: np.random.Generator, count: int, thin: bool = False) -> Instances:
    """Triangles and slivers, a few across the whole image, some without a pixel."""
    centres = rng.uniform(-5, 170, (count, 1, 2))
    spread = np.where(rng.random((count, 1, 1)) < 0.05, 90, rng.uniform(1, 12, (count, 1, 1)))
    points = centres + rng.normal(0, 1, (count, 3, 2)) * spread * ((0.2, 6) if thin else (1, 1))
    return Instances.from_polygons([[p.ravel().tolist()] for p in points], SIZE, scores=rng.random(count).round(2))


def moved(rng: np.random.Generator, cells: Instances) -> Instances:
    """The same cells drawn again, a few left out and a few invented."""
    masks = [(m, (y + rng.integers(-1, 2), x + rng.integers(-1, 2))) for m, (y, x) in cells.box_masks()]
    again = Instances.from_box_masks(masks, SIZE, scores=cells.scores).select(rng.random(len(cells)) < 0.9)
    new = random_cells(rng, 9)
    return Instances.from_rles([*again.rles, *new.rles], SIZE, scores=np.r_[again.scores, new.scores])


@pytest.mark.parametrize("seed", range(6))
def test_overlaps_are_those_of_the_matrix(sparse, seed):
    rng = np.random.default_rng(seed)
    first, second = random_cells(rng, 120, seed % 2 == 1), random_cells(rng, 90)
    iou = first.iou(second)
    sparse(True)
    found = overlaps.overlaps(first, second)
    rows, columns = np.nonzero(iou)
    assert found.shape == iou.shape
    assert (found.rows.tolist(), found.columns.tolist()) == (rows.tolist(), columns.tolist())
    assert found.iou.tolist() == iou[rows, columns].tolist()
    assert found.best_of_columns().tolist() == iou.max(0).tolist()
    turned = found.turned
    assert (turned.rows.tolist(), turned.columns.tolist()) == tuple(
        map(list, map(np.ndarray.tolist, np.nonzero(iou.T)))
    )


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_the_same_by_both_ways(sparse, seed):
    rng = np.random.default_rng(10 + seed)
    pairs = []
    for _ in range(3):
        cells = random_cells(rng, 60)
        pairs.append((moved(rng, cells), cells))
    extras = ["curve", "panoptic", "best_match", "hausdorff", "coco", "interval"]
    found = []
    for on in (False, True):
        sparse(on)
        scores = [overlap_ap(pairs, extras=extras, keep_outcomes=True, **way) for way in WAYS]
        rows = [outcome.rows() for score in scores for outcome in score.outcomes]
        voters = [pairs[0][0], pairs[0][1], moved(np.random.default_rng(seed), pairs[0][1])]
        found.append(([score.to_dict() for score in scores], rows, consensus(voters)))
    assert found[0] == found[1]
    assert found[0][0][0]["tp"] > 30


@given(stacks(6), st.integers(0, 6), st.sampled_from([0.2, 0.5, 0.75]))
def test_small_images_are_the_same_by_both_ways(stack, split, threshold):
    sides = instances(stack[:split]), instances(stack[split:])
    options = ScoringOptions(thresholds=(threshold,), border=0)
    plain = overlap_ap([sides], options, extras=["panoptic", "best_match"])
    kept = overlaps.DENSE
    for module in (overlaps, matching):
        module.DENSE = 0
    try:
        again = overlap_ap([sides], options, extras=["panoptic", "best_match"])
        outcomes = image_outcomes(*sides, options)
    finally:
        for module in (overlaps, matching):
            module.DENSE = kept
    assert (again.tp, again.fp, again.fn) == (plain.tp, plain.fp, plain.fn) == (len(outcomes.pairs), plain.fp, plain.fn)
    assert again.panoptic.sq == pytest.approx(plain.panoptic.sq)
    assert again.best_match == plain.best_match


@given(st.integers(0, 2**32 - 1))
def test_large_groups_are_matched_as_well_without_a_matrix(seed):
    rng = np.random.default_rng(seed)
    iou = np.where(rng.random((40, 50)) < 0.1, rng.random((40, 50)), 0)
    rows, columns = match(iou, 0.5)
    kept = matching.DENSE
    matching.DENSE = 0
    try:
        r, c = match(Overlaps.of_matrix(iou), 0.5)
    finally:
        matching.DENSE = kept
    assert len(r) == len(set(r.tolist())) == len(set(c.tolist())) == len(rows)
    assert iou[r, c].min(initial=1) >= 0.5
    assert iou[r, c].sum() == pytest.approx(iou[rows, columns].sum())
    assert (np.diff(r) > 0).all()


def test_pairs_that_all_overlap_are_refused(monkeypatch):
    whole = Instances.from_polygons([[[0, 0, 9, 0, 9, 9, 0, 9]]] * 60, (10, 10))
    monkeypatch.setattr(overlaps, "DENSE", 0)
    assert len(overlaps.overlaps(whole, whole)) == 3600
    monkeypatch.setattr(overlaps, "MAX_PAIRS", 1000)
    with pytest.raises(
        InputError, match="over 1000 pairs of objects overlap in one image; leave out those that repeat"
    ):
        overlaps.overlaps(whole, whole)


CROWD = """
import resource, sys, time
import numpy as np
from glioma_hf import Instances
from glioma_hf.metrics.overlap_ap import overlap_ap
count = int(sys.argv[1])
rng, size = np.random.default_rng(0), (4000, 4000)
centres = rng.uniform(10, 3985, (count, 2)).astype(int)
disc = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4.3
def side(shift):
    return Instances.from_box_masks([(disc, (int(a), int(b))) for a, b in centres + shift], size)
sides = side(rng.integers(-1, 2, centres.shape)), side(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
scores = overlap_ap([sides], keep_outcomes=True)
print(scores.tp, time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_twenty_thousand_a_side():
    """Dense they would be 3.2 GB; 100,000 a side take five times of what is allowed here."""
    done = subprocess.run([sys.executable, "-c", CROWD, "20000"], capture_output=True, text=True, cwd=ROOT, check=True)
    matched, seconds, megabytes = map(float, done.stdout.split())
    assert matched > 15000
    assert seconds < 6
    assert megabytes < 200
