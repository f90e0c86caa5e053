from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage

torch = pytest.importorskip("torch")

from glioma_hf import Instances
from glioma_hf.models.candidates import Ranked, SelectionSettings, enlarge
from tests.strategies import instances, square, stacks


class Selection(SelectionSettings):
    score_thresh: float = 0.0

    @property
    def least_score(self) -> float:
        return self.score_thresh


def test_masks_are_enlarged_as_interpolation_does():
    logits = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    logits[..., :3, :] = logits[..., -3:, :] = logits[..., :3] = logits[..., -3:] = -3.0
    logits[..., 5:11, 4:12] = logits[..., 5:11, 4:12].abs() + 0.5
    mask, (top, left) = enlarge(logits[0, 0].numpy(), 0, (10, 20), 2, (100, 100))
    whole = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")[0, 0].numpy() > 0
    parts, _ = ndimage.label(whole)
    expected = np.zeros((100, 100), bool)
    expected[10:42, 20:52] = ndimage.binary_fill_holes(parts == np.bincount(parts[parts > 0]).argmax())
    placed = np.zeros((100, 100), bool)
    placed[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    assert np.array_equal(placed, expected)


def test_selection_allows_overlap_up_to_its_limits():
    # Of 100 pixels each: the second shares 40 with the first (IoU 0.25), the third 80 (IoU 0.67).
    cells = Instances.from_polygons(
        [square(0, 0, 10), square(6, 0, 10), square(2, 0, 10)], (20, 20), scores=[0.9, 0.8, 0.7]
    )

    def kept(**changes) -> list[float]:
        settings = Selection(score_thresh=0.1, min_area=1, **changes)
        return Ranked(cells).select(settings).scores.tolist()

    assert kept(mask_nms_iou=0.35, mask_nms_cover=0.7) == [0.9, 0.8]
    assert kept(mask_nms_iou=0.2, mask_nms_cover=1) == [0.9]
    assert kept(mask_nms_iou=1, mask_nms_cover=0.3) == [0.9]
    assert kept(mask_nms_iou=1, mask_nms_cover=1) == [0.9, 0.8, 0.7]
    assert Ranked(cells).select(Selection(score_thresh=0.75, min_area=101)).scores is not None


@given(stacks(8), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_selection_is_the_greedy_one_of_a_dense_loop(stack, most_iou, most_cover, seed):
    cells = instances(stack, scores=np.random.default_rng(seed).integers(0, 4, len(stack)) / 4)
    settings = Selection(score_thresh=0.25, min_area=2, mask_nms_iou=most_iou, mask_nms_cover=most_cover)
    kept: list[int] = []
    for i in np.argsort(-cells.scores, kind="stable"):
        if cells.scores[i] < 0.25 or stack[i].sum() < 2:
            continue
        shared = [(stack[i] & stack[j]).sum() for j in kept]
        unions = [(stack[i] | stack[j]).sum() for j in kept]
        least = [min(stack[i].sum(), stack[j].sum()) for j in kept]
        if any(s / u > most_iou or s / m > most_cover + 1e-9 for s, u, m in zip(shared, unions, least, strict=True)):
            continue
        kept.append(int(i))
    ranked = Ranked(cells)
    assume(not (np.abs(ranked.cover - most_cover) < 1e-9).any())  # computed from the IoU, not from pixels
    assert ranked.select(settings).rles == cells.select(kept).rles


def test_many_candidates_far_apart_take_little_memory():
    places = [(y, x) for y in range(0, 8000, 50) for x in range(0, 1600, 50)]
    disc = np.hypot(*np.ogrid[-20:21, -20:21]) <= 20
    cells = Instances.from_box_masks([(disc, place) for place in places], (8041, 1641), scores=np.ones(len(places)))
    tracemalloc.start()
    try:
        kept = Ranked(cells).select(Selection())
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20  # all pairs would take 200 MB a matrix
    finally:
        tracemalloc.stop()
    assert len(kept) == len(places)
