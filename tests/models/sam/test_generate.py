from __future__ import annotations

import numpy as np
import pytest
import torch

from glioma_hf import InputError
from glioma_hf.models.base import Segmenter
from glioma_hf.models.sam.generate import GenerationSettings, SamSegmenter
from glioma_hf.models.sam.preprocess import raise_contrast

LOOSE = GenerationSettings(pred_iou_thresh=0, stability_score_thresh=0, min_area=1, max_area_share=1)


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

    def attend(self, embedding, points, boxes=None):
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
