"""Prediction: peaks, masks and tiles, with a network that paints what it is told, and the settings."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError, Instances
from glioma_hf.models.centres.network import CentreNetwork, Maps
from glioma_hf.models.centres.segment import MOST_CENTRES, CentreSegmenter, CentreSettings, _peaks
from glioma_hf.models.tiles import fitted_tiles
from tests.models.centres.test_contract import TINY

RADIUS = 11  # cells of the heat map
REACHED = 4 * (RADIUS + np.log(0.6 / 0.4))  # pixels: where a chance falls to the threshold


class Painter(CentreNetwork):
    """Stands in for the network: a pixel far brighter than all is a cell's centre, the cell a disc about it."""

    def __init__(self):
        super().__init__(TINY.model_copy(update={"reach": 20}))

    def maps(self, crops):
        bright = torch.nn.functional.max_pool2d(crops, 2)[:, 0]
        return Maps([bright[:, None]], torch.where(bright > 3, 4.0, -9.0)[:, None], bright[:, None], bright[:, None])

    def ask(self, levels, cells, owners, kinds):
        return torch.zeros(len(cells), 1), torch.full((len(cells),), 5.0)

    def draw(self, features, weights, cells, owners):
        axis = torch.arange(41.0) - 20
        return (RADIUS - torch.hypot(axis[:, None], axis)).expand(len(cells), -1, -1)


def spots(size: tuple[int, int], step: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """An image with single bright squares, two pixels wide, and their centres."""
    image = np.random.default_rng(0).integers(100, 103, size, dtype=np.uint8)
    centres = [(y, x) for y in range(60, size[0] - 60, step) for x in range(60, size[1] - 60, step)]
    for y, x in centres:
        image[y : y + 2, x : x + 2] = 255
    return image, centres


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize("size", [(300, 410), (1500, 1650)])
def test_cells_are_found_once_and_alike_wherever_tiles_end(size, views):
    image, centres = spots(size, 104)
    segmenter = CentreSegmenter(Painter(), CentreSettings(tile=384, views=views))
    cells = segmenter.segment(image)
    assert len(cells) == len(centres)
    found = {(round(y + h / 2), round(x + w / 2)) for x, y, w, h in cells.boxes}
    for y, x in centres:
        assert any(abs(y - row) <= 3 and abs(x - column) <= 3 for row, column in found), (y, x)
    assert np.ptp(cells.areas) == 0  # a cell across a seam is as large as one in the middle
    assert cells.areas[0] == pytest.approx(np.pi * REACHED**2, rel=0.02)
    assert segmenter.with_settings(tile=1024).segment(image).iou(cells).max(1).min() == 1


def test_masks_overlap_up_to_the_limits():
    image, centres = spots((400, 400), 60)  # discs of radius 46 whose centres are 60 pixels apart
    segmenter = CentreSegmenter(Painter())
    cells = segmenter.segment(image)
    assert len(cells) == len(centres)
    assert cells.areas.sum() > 1.2 * (cells.to_label_map() > 0).sum()
    assert len(segmenter.with_settings(mask_nms_iou=0.05).segment(image)) < len(centres)


def test_scores_are_heat_times_iou_times_the_masks_mean_chance():
    image, _ = spots((200, 200), 104)
    (score,) = CentreSegmenter(Painter()).segment(image).scores
    axis = np.arange(41.0) - 20
    chance = 1 / (1 + np.exp(np.hypot(axis[:, None], axis) - RADIUS))
    heat, quality = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-5))
    assert score == pytest.approx(heat * quality * chance[chance > 0.4].mean(), abs=1e-5)


def test_peaks_at_a_seam_are_answered_on_both_sides_and_others_once():
    tiles, sides = fitted_tiles((600, 384), 384, 192, 32)
    assert ([tile.top for tile in tiles], sides) == ([0, 160, 320], (352, 384))
    heat = torch.zeros(2, 192, 192)
    seam = int(tiles[0].own[2])
    heat[0, seam // 2, 50] = heat[1, 10, 20] = 0.5
    assert _peaks(heat, 0.1, tiles[0]).tolist() == [[0, 50, seam // 2], [1, 20, 10]]
    below = torch.zeros(2, 192, 192)
    below[1, (seam - tiles[1].top) // 2, 50] = 0.5
    assert _peaks(below, 0.1, tiles[1]).tolist() == [[1, 50, (seam - tiles[1].top) // 2]]
    assert _peaks(heat, 0.6, tiles[0]).tolist() == []


def test_a_heat_map_that_is_flat_asks_for_no_more_than_its_hottest_cells():
    (tile,), _ = fitted_tiles((384, 384), 384, 192, 32)
    heat = torch.full((1, 192, 192), 0.5)
    assert len(_peaks(heat, 0.1, tile)) == MOST_CENTRES
    heat[0, 7, 100] = heat[0, 150, 3] = 0.9
    cells = _peaks(heat, 0.1, tile).tolist()
    assert [0, 100, 7] in cells
    assert [0, 3, 150] in cells


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_weights_out_of_all_proportion_give_cells_or_none_but_no_harm(value):
    network = CentreNetwork(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    loose = CentreSettings(centre_thresh=0.0, score_thresh=0.0, min_area=1, views=2)
    cells = CentreSegmenter(network, loose).segment(np.random.default_rng(0).integers(0, 255, (60, 70), dtype=np.uint8))
    assert cells.size == (60, 70)
    assert np.isfinite(cells.scores).all()


def test_masks_that_reach_far_get_tiles_that_are_large_enough():
    image, centres = spots((700, 900), 208)
    painter = Painter()
    painter.config = painter.config.model_copy(update={"reach": 200})
    painter.draw = lambda features, weights, cells, owners: torch.nn.functional.pad(
        Painter.draw(painter, features, weights, cells, owners), (180,) * 4, value=-30.0
    )
    told: list = []
    cells = CentreSegmenter(painter, CentreSettings(tile=384, views=1)).segment(np.tile(image, (3, 3)), told.append)
    assert len(cells) == 9 * len(centres)
    assert told[-1].total <= 9


def test_an_expected_diameter_scales_the_image():
    image, centres = spots((600, 700), 208)
    segmenter = CentreSegmenter(Painter(), CentreSettings(cell_diameter=88))
    twice = segmenter.for_diameter(176)
    assert (twice.settings.scale, twice.settings.min_area, twice.settings.cell_diameter) == (0.5, 320, 176)
    cells = twice.segment(image)
    assert len(cells) == len(centres)
    assert cells.size == (600, 700)
    assert cells.areas.max() == pytest.approx(np.pi * (2 * REACHED) ** 2, rel=0.02)


@pytest.mark.parametrize("size", [(9, 30), (1, 1), (33, 500)])
def test_images_smaller_than_a_window_and_colour(size):
    torch.manual_seed(0)
    loose = CentreSettings(centre_thresh=0.0, score_thresh=0.0, min_area=1, views=2)
    segmenter = CentreSegmenter(CentreNetwork(TINY), loose)
    grey = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    cells = segmenter.segment(grey)
    assert cells.size == size
    assert cells == segmenter.segment(np.repeat(grey[..., None], 3, 2))


def test_an_empty_image_has_no_cells():
    assert segmented(np.zeros((200, 300), np.uint8)) == Instances.from_rles([], (200, 300), scores=[])


def segmented(image: np.ndarray) -> Instances:
    return CentreSegmenter(Painter()).segment(image)


def test_a_mapped_image_is_read_window_by_window(tmp_path, monkeypatch):
    from glioma_hf.models.vision import preprocess

    image, centres = spots((1500, 1650), 104)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    monkeypatch.setattr(preprocess, "READ_WHOLE", 1000)
    read = []
    real = preprocess.halved
    monkeypatch.setattr(preprocess, "halved", lambda part: read.append(part.size) or real(part))
    segmenter = CentreSegmenter(Painter(), CentreSettings(tile=384))
    assert len(segmenter.segment(mapped)) == len(centres)
    assert max(read) <= 768**2


def test_what_makes_no_sense_is_refused():
    segmenter = CentreSegmenter(Painter())
    for changes in ({"views": 3}, {"tile": 100}, {"tile": 500}, {"scale": 0}, {"mask_thresh": 1}):
        with pytest.raises(InputError, match=next(iter(changes))):
            segmenter.with_settings(**changes)
    with pytest.raises(InputError, match="out of bounds"):
        segmenter.with_settings(scale=20).segment(np.zeros((4000, 4000), np.uint8))


def test_large_images_are_seen_once_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("glioma_hf.models.centres.segment.SEEN_ONCE", 64 * 64)
    painter = Painter()
    seen = []
    monkeypatch.setattr(painter, "maps", lambda pixels, own=painter.maps: seen.append(pixels) or own(pixels))
    segmenter = CentreSegmenter(painter, CentreSettings())
    for size, chosen, views in ((64, {}, 4), (65, {}, 1), (65, {"views": 2}, 2)):
        seen.clear()
        segmenter.with_settings(**chosen).segment(np.zeros((size, 64), np.uint8))
        assert len(seen) == views
