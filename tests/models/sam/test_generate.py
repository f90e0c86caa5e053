from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from glioma_hf import InputError, Instances
from glioma_hf.models.base import Segmenter
from glioma_hf.models.sam import generate
from glioma_hf.models.sam.generate import (
    GenerationSettings,
    Ranked,
    SamSegmenter,
    _enlarge,
    _inside,
    _Tile,
    _tiles,
    keep_best,
)
from glioma_hf.models.sam.preprocess import raise_contrast
from tests.strategies import instances, square, stacks

LOOSE = GenerationSettings(pred_iou_thresh=0, stability_score_thresh=0, min_area=1, max_area_share=1)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.375, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(64, 64), (65, 200), (64, 95), (130, 128), (300, 111)])
def test_every_point_is_answered_by_exactly_one_tile_that_holds_it(shape, overlap):
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    everywhere = torch.tensor(np.stack([columns.ravel(), rows.ravel()], 1), dtype=torch.float32)
    answered = np.zeros(shape, int)
    for tile in _tiles(shape, 64, overlap):
        own = _inside(everywhere - torch.tensor([tile.left, tile.top]), tile)
        assert len(own) == 0 or (own.min() >= 0 and own.max() < 64)
        x, y = (own + torch.tensor([tile.left, tile.top])).long().T.numpy()
        answered[y, x] += 1
    assert (answered == 1).all()


class Painter(torch.nn.Module):
    """Stands in for SAM: a bright pixel of the image is a cell's centre, the cell a disc of radius 9."""

    tile = 64

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.config = type("Config", (), {"centres_trained": True})()

    def encode(self, pixels):
        return pixels[:, :1]

    def centre_head(self, embedding):
        peaks = torch.nn.functional.max_pool2d(embedding, 4)[:, 0]
        return torch.where(peaks > peaks.flatten(1).median(1).values[:, None, None] + 0.5, 4.0, -9.0)

    def attend(self, embedding, points):
        y, x = torch.meshgrid(torch.arange(32.0) * 2 + 1, torch.arange(32.0) * 2 + 1, indexing="ij")
        distance = torch.hypot(x - points[0, :, 0, None, None], y - points[0, :, 1, None, None])
        return points, (9 - distance)[None], torch.full(points.shape[:2], 0.9)

    def upscale(self, tokens, features):
        return features


@pytest.mark.parametrize("size", [(40, 50), (64, 64), (150, 201)])
def test_cells_are_found_once_wherever_tiles_end(size):
    image = np.full(size, 100, np.uint8)
    centres = [(int(y), int(x)) for y in range(12, size[0] - 9, 22) for x in range(12, size[1] - 9, 22)]
    for y, x in centres:
        image[y, x] = 255
    found = SamSegmenter(Painter(), LOOSE).segment(image)
    assert len(found) == len(centres)
    for mask, (top, left) in found.box_masks():
        middle = np.array([top, left]) + np.array(mask.shape) / 2
        assert min(np.hypot(*(middle - c)) for c in centres) < 4
        assert 150 < mask.sum() < 330


def test_cells_are_found_at_several_scales_in_pixels_of_the_image():
    image = np.full((150, 201), 100, np.uint8)
    centres = [(y, x) for y in range(30, 130, 40) for x in range(30, 180, 40)]
    for y, x in centres:
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    painter = Painter()
    for scales, radius in (((0.5,), 18), ((2.0,), 4.5), ((1.0, 0.5), 18)):
        settings = LOOSE.model_copy(update={"scales": scales})
        found = SamSegmenter(painter, settings).candidates(image)
        areas = found.areas[found.touching_border() == False]  # noqa: E712
        assert np.isclose(areas, np.pi * radius**2, rtol=0.15).any()
        for mask, (top, left) in found.box_masks():
            middle = np.array([top, left]) + np.array(mask.shape) / 2
            assert min(np.hypot(*(middle - c)) for c in centres) < 6 + 3 / min(scales)


def test_an_expected_diameter_scales_images_to_what_the_model_knows():
    settings = GenerationSettings(cell_diameter=40, scales=(1.0, 0.5), min_area=60).for_diameter(80)
    assert (settings.scales, settings.min_area, settings.cell_diameter) == ((0.5, 0.25), 240, 80)


def test_masks_are_enlarged_as_interpolation_does():
    logits = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    logits[..., :3, :] = logits[..., -3:, :] = logits[..., :3] = logits[..., -3:] = -3.0
    logits[..., 5:11, 4:12] = logits[..., 5:11, 4:12].abs() + 0.5
    tile = _Tile(10, 20, (0, 0, 0, 0), 1.0)
    mask, (top, left) = _enlarge(logits[0, 0].numpy(), tile, 32, (100, 100))
    whole = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")[0, 0].numpy() > 0
    parts, _ = ndimage.label(whole)
    expected = np.zeros((100, 100), bool)
    expected[10:42, 20:52] = ndimage.binary_fill_holes(parts == np.bincount(parts[parts > 0]).argmax())
    placed = np.zeros((100, 100), bool)
    placed[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    assert np.array_equal(placed, expected)


def test_it_is_a_segmenter_whose_result_has_scores_best_first(tiny_model):
    segmenter = SamSegmenter(tiny_model, LOOSE)
    assert isinstance(segmenter, Segmenter)
    assert segmenter.prompts == "grid"  # the head was never trained
    seen = []
    image = np.random.default_rng(0).integers(0, 255, (70, 90), dtype=np.uint8)
    small = SamSegmenter(tiny_model, LOOSE.model_copy(update={"points_per_side": 4}))
    found = small.segment(image, seen.append)
    assert found.size == (70, 90)
    assert (np.diff(found.scores) <= 0).all()
    assert seen[-1].share == 1
    assert found == small.segment(image)


def test_image_smaller_than_a_tile_and_colour(tiny_model):
    few = LOOSE.model_copy(update={"points_per_side": 4})
    grey = np.random.default_rng(0).integers(0, 255, (9, 30), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, 2)
    assert SamSegmenter(tiny_model, few).segment(grey) == SamSegmenter(tiny_model, few).segment(colour)


def test_progress_may_stop_the_work(tiny_model):
    def stop(progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SamSegmenter(tiny_model, LOOSE).segment(np.zeros((64, 64), np.uint8), stop)


def test_keep_best_allows_overlap_up_to_its_limits():
    # Of 100 pixels each: the second shares 40 with the first (IoU 0.25), the third 80 (IoU 0.67).
    cells = Instances.from_polygons(
        [square(0, 0, 10), square(6, 0, 10), square(2, 0, 10)], (20, 20), scores=[0.9, 0.8, 0.7]
    )

    def kept(**changes) -> list[float]:
        settings = GenerationSettings(pred_iou_thresh=0.1, min_area=1, **changes)
        return keep_best(cells, settings).scores.tolist()

    assert kept(mask_nms_iou=0.35, mask_nms_cover=0.7) == [0.9, 0.8]
    assert kept(mask_nms_iou=0.2, mask_nms_cover=1) == [0.9]
    assert kept(mask_nms_iou=1, mask_nms_cover=0.3) == [0.9]
    assert kept(mask_nms_iou=1, mask_nms_cover=1) == [0.9, 0.8, 0.7]
    assert keep_best(cells, GenerationSettings(pred_iou_thresh=0.75, min_area=101)).scores is not None


def kept_by_matrices(candidates: Instances, wanted: GenerationSettings) -> list[int]:
    """What `Ranked.kept` gives, by matrices of all pairs: the plain way, for few masks."""
    order = np.argsort(-candidates.scores, kind="stable")
    ranked, scores = candidates.select(order), candidates.scores[order]
    iou, areas = ranked.iou(ranked), ranked.areas
    smaller = np.maximum(np.minimum(areas[:, None], areas[None]), 1)
    cover = iou / (1 + iou) * (areas[:, None] + areas[None]) / smaller
    clash = (iou > wanted.mask_nms_iou) | (cover > wanted.mask_nms_cover)
    kept: list[int] = []
    for i in np.flatnonzero((scores >= wanted.pred_iou_thresh) & (areas >= max(1, wanted.min_area))).tolist():
        if not clash[kept, i].any():
            kept.append(i)
    return kept


shares = st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.7, 1.0])


@settings(max_examples=300, deadline=None)
@given(stacks(most=12), st.data())
def test_keep_best_is_that_of_all_pairs(stack, data):
    scores = data.draw(st.lists(shares, min_size=len(stack), max_size=len(stack)))
    candidates = instances(stack, scores=scores)
    wanted = GenerationSettings(
        pred_iou_thresh=data.draw(shares),
        mask_nms_iou=data.draw(shares),
        mask_nms_cover=data.draw(shares),
        min_area=data.draw(st.integers(0, 9)),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generate, "_BLOCK", data.draw(st.sampled_from([1, 3, 1024])))
        ranked = Ranked(candidates)
    assert ranked.kept(wanted).tolist() == kept_by_matrices(candidates, wanted)


def test_thousands_of_masks_take_the_memory_of_their_overlaps():
    rng = np.random.default_rng(3)
    corners, sides = rng.integers(0, 1900, (5000, 2)), rng.integers(8, 40, 5000)
    outlines = [square(x, y, side) for (x, y), side in zip(corners.tolist(), sides.tolist(), strict=True)]
    candidates = Instances.from_polygons(outlines, (1944, 2592), scores=rng.random(5000).round(2))
    tracemalloc.start()
    kept = Ranked(candidates).kept(LOOSE)
    assert tracemalloc.get_traced_memory()[1] < 2**26  # matrices of all pairs take 200 MB each
    tracemalloc.stop()
    assert kept.tolist() == kept_by_matrices(candidates, LOOSE)


def test_settings_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match="pred_iou_thresh"):
        GenerationSettings(pred_iou_thresh=1.2)


def test_contrast_is_anchored_at_the_background_whatever_the_microscope():
    image = np.random.default_rng(0).normal(120, 3, (50, 60))
    image[:5] = 30
    eight = np.clip(image, 0, 255).astype(np.uint8)
    sixteen = eight.astype(np.uint16) * 137 + 5
    assert raise_contrast(eight).dtype == np.float32
    np.testing.assert_allclose(raise_contrast(eight), raise_contrast(sixteen), atol=1e-5)
    assert np.median(raise_contrast(eight)) == 0.5
    assert raise_contrast(np.zeros((4, 4))).tolist() == [[0.5] * 4] * 4


def test_an_image_out_of_bounds(tiny_model):
    with pytest.raises(InputError, match="out of bounds"):
        SamSegmenter(tiny_model).segment(np.zeros((0, 5), np.uint8))
