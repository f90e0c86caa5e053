"""Centres, masks, heat maps and crops, against what is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError, Instances
from glioma_hf.models.centres import targets
from glioma_hf.models.centres.crops import Crops, collate
from glioma_hf.models.vision.config import Augmentation
from glioma_hf.models.vision.preprocess import halved, standardised, statistics_of
from tests.strategies import square

PLAIN = Augmentation(near_cell=1, scale=(1, 1), aspect=0, gamma=0, gain=0, offset=0, illuminated=0, noisy=0, blurred=0)


@pytest.mark.parametrize(("top", "left"), [(20, 30), (21, 31), (21, 30)])
def test_a_cell_is_halved_with_soft_edges_wherever_it_lies(top, left):
    (cell,) = targets.cells_of(Instances.from_polygons([square(left, top, 18)], (64, 80)))
    assert cell.mask.sum() == pytest.approx(18 * 18 / 4)
    whole = np.zeros((32, 40), np.float32)
    whole[cell.top : cell.top + cell.mask.shape[0], cell.left : cell.left + cell.mask.shape[1]] = cell.mask
    (mask,) = Instances.from_polygons([square(left, top, 18)], (64, 80)).to_masks()
    assert np.array_equal(whole, halved(mask.astype(np.uint8)))


def test_the_centre_is_the_deepest_point():
    (cell,) = targets.cells_of(Instances.from_polygons([square(20, 30, 18)], (80, 64)))
    assert cell.centre == (10 + 4.5, 15 + 4.5)  # the middle pixel of nine
    assert cell.depth == 5
    # A thin tail moves the middle of the mass, not the deepest point.
    tail = [20, 30, 38, 30, 38, 34, 76, 34, 76, 38, 38, 38, 38, 48, 20, 48]
    tailed = Instances.from_polygons([[tail]], (80, 80))
    (cell,) = targets.cells_of(tailed)
    assert abs(cell.centre[0] - 14.5) <= 1
    assert abs(cell.centre[1] - 19.5) <= 1


def test_crumbs_are_no_cells_and_cells_at_the_edge_are():
    crumb, edge = square(4, 4, 5), square(0, 40, 12)
    cells = targets.cells_of(Instances.from_polygons([crumb, edge], (60, 60)))
    assert len(cells) == 1
    assert cells[0].mask.sum() == 36


def test_heat_is_one_at_centres_and_falls_off_with_the_cells_size():
    heat = targets.heat_map(np.array([[20.5, 40.5], [60.5, 20.5], [-5.0, 3.0]]), [4.0, 20.0, 5.0], 48)
    assert [tuple(place) for place in np.argwhere(heat == 1)] == [(10, 30), (20, 10)]
    assert heat[20, 11] == pytest.approx(np.exp(-1 / 2))  # spread 1, the least
    assert heat[10, 31] == pytest.approx(np.exp(-1 / 18))  # spread 3, the greatest


def test_surface_has_both_sides_of_every_edge():
    masks = np.zeros((2, 8, 8), np.float32)
    masks[0, 2:5, 2:5] = 1
    masks[1, 4:7, 4:7] = 1
    foreground, edge = targets.surface(masks)
    assert foreground.sum() == 17
    assert edge[3, 3] == 0
    assert edge[2, 2] == edge[1, 2] == edge[4, 4] == 1
    assert edge[0, 0] == edge[1, 1] == 0


def test_overlaps_are_kept_in_crops_and_lie_on_the_pixels_they_are_of():
    # Two squares that overlap, brighter where each lies; turned, mirrored and moved, masks still lie on their pixels.
    image = np.full((200, 200), 100, np.uint8)
    image[60:110, 60:110] = 150
    image[90:140, 90:140] = 200
    cells = Instances.from_polygons([square(60, 60, 50), square(90, 90, 50)], image.shape)
    crops = Crops([(image, cells)], 8, PLAIN, side=128, reach=40, max_cells=4, jitter=0)
    for item in (crops[i] for i in range(8)):
        assert item["crops"].shape == (1, 128, 128)
        assert len(item["cells"]) == 2
        small = torch.nn.functional.avg_pool2d(item["crops"], 2)[0]
        for (x, y), mask, inside in zip(item["cells"].tolist(), item["masks"], item["inside"], strict=True):
            assert item["heat"][0, y, x] == 1
            assert mask[40, 40] == 1  # the window's middle is the centre
            assert ((mask > 0) <= (inside > 0)).all()
            rows, columns = np.nonzero(mask.numpy() > 0.99)
            assert (small[rows + y - 40, columns + x - 40] > 0.3).all()
        assert (item["masks"] > 0.99).flatten(1).sum(1).min() > 120  # of some 156: neither is cut by the other
        assert item["surface"][0].sum() < item["masks"].sum()  # what both cover counts once


def test_an_item_is_the_same_whenever_it_is_drawn():
    image = np.random.default_rng(0).integers(0, 255, (120, 150), dtype=np.uint8)
    pair = image, Instances.from_polygons([square(60, 50, 30), square(10, 10, 30)], image.shape)
    crops = Crops([pair], 5, Augmentation(), side=64, max_cells=3, seed=3)
    first, second = collate([crops[i] for i in range(5)]), collate([crops[i] for i in range(5)])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["owners"].tolist() == sorted(first["owners"].tolist())
    assert not torch.equal(first["crops"][0], first["crops"][1])


def test_crops_of_images_smaller_than_they_are_and_of_colour():
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    item = Crops([(image, Instances.from_polygons([square(10, 10, 20)], (40, 50)))], 1, Augmentation(), side=192)[0]
    assert item["crops"].shape == (1, 192, 192)
    assert all(torch.isfinite(value).all() for value in item.values())
    black = np.zeros((40, 50), np.uint8)
    item = Crops([(black, Instances.from_polygons([square(10, 10, 20)], (40, 50)))], 1, Augmentation(), side=64)[0]
    assert torch.isfinite(item["crops"]).all()


def test_images_without_cells_are_named():
    image = np.zeros((40, 40), np.uint8)
    whole = image, Instances.from_polygons([square(5, 5, 20)], image.shape)
    with pytest.raises(InputError, match="training image 1 has no annotated cell"):
        Crops([whole, (image, Instances.empty(image.shape))], 1, Augmentation())


def test_an_image_is_seen_alike_in_any_numbers():
    grey = np.random.default_rng(0).integers(20, 250, (61, 80), dtype=np.uint8)
    expected = standardised(grey, statistics_of(grey))
    assert expected.shape == (31, 40)
    assert abs(np.median(expected)) < 1e-6
    for same in (grey.astype(np.uint16) * 200, np.stack([grey] * 3, 2), grey / 255.0):
        np.testing.assert_allclose(standardised(same, statistics_of(same)), expected, atol=1e-5)
    # A window of it is what the whole has there.
    found = statistics_of(grey)
    assert np.array_equal(standardised(grey[20:40, 10:30], found), expected[10:20, 5:15])


@pytest.mark.parametrize("hot", [1, 3])
def test_a_few_hot_pixels_do_not_make_all_else_flat(hot):
    rng = np.random.default_rng(0)
    grey = rng.normal(600, 30, (200, 200)).astype(np.uint16)
    expected, spoilt = standardised(grey, statistics_of(grey)), grey.copy()
    rows, columns = rng.integers(0, 200, (2, hot))
    spoilt[rows, columns] = 65535
    seen = standardised(spoilt, statistics_of(spoilt))
    others = np.ones(seen.shape, bool)
    others[rows // 2, columns // 2] = False
    np.testing.assert_allclose(seen[others], expected[others], rtol=0.05, atol=0.05)
    assert seen.max() == pytest.approx(50)  # as high as anything can be in an image without them
    flat = np.zeros((200, 200), np.uint16)
    flat[3, 4] = 65535
    assert standardised(flat, statistics_of(flat)).max() < 51


def test_of_a_large_image_only_windows_are_read_for_its_statistics(monkeypatch):
    from glioma_hf.models.vision import preprocess

    grey = np.random.default_rng(0).normal(120, 10, (900, 1100)).astype(np.float32)
    whole = statistics_of(grey)
    monkeypatch.setattr(preprocess, "READ_WHOLE", 1000)
    monkeypatch.setattr(preprocess, "WINDOW", 40)
    some = statistics_of(grey)
    assert some != whole
    assert some.median * some.white == pytest.approx(whole.median * whole.white, rel=0.01)
    assert some.spread * some.white == pytest.approx(whole.spread * whole.white, rel=0.05)
