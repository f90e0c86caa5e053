from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from glioma_hf import InputError, Instances
from glioma_hf.draw import overlap_map
from glioma_hf.instances import MAX_PIXELS, MAX_RUN_PIXELS
from glioma_hf.rle import parse_counts
from tests.strategies import instances, square, stacks


def dense(found: Instances) -> np.ndarray:
    return np.stack(list(found.to_masks())) if len(found) else np.zeros((0, *found.size), bool)


@given(stacks())
def test_masks_go_in_and_come_out_the_same(stack):
    assert np.array_equal(dense(instances(stack)), stack)


@given(stacks())
def test_rles_are_those_of_pycocotools(stack):
    expected = [coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in stack]
    assert [rle["counts"] for rle in instances(stack).rles] == expected


@given(stacks())
def test_areas_boxes_and_iou_agree_with_dense_counting(stack):
    found = instances(stack)
    assert found.areas.tolist() == [int(m.sum()) for m in stack]
    for mask, (x, y, w, h) in zip(stack, found.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert (x, y, w, h) == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    for i, a in enumerate(stack):
        for j, b in enumerate(stack):
            union = (a | b).sum()
            assert found.iou(found)[i, j] == pytest.approx((a & b).sum() / union if union else 0)


@given(stacks())
def test_polygons_rasterise_back_to_the_same_pixels(stack):
    found = instances(stack)
    filled = found.select(found.areas > 0)
    assert [r["counts"] for r in Instances.from_polygons(filled.to_polygons(), found.size).rles] == [
        r["counts"] for r in filled.rles
    ]


@given(stacks())
def test_coco_json_round_trip_keeps_everything(stack):
    n = len(stack)
    found = instances(stack, categories=range(n), scores=np.linspace(0, 1, n) if n else None, ids=range(10, 10 + n))
    again = Instances.from_coco(json.loads(json.dumps(found.to_coco(3))), found.size)
    assert again == found


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 4)))
def test_label_map_round_trip(labels):
    found = Instances.from_label_map(labels)
    ids = np.r_[0, found.ids]
    assert np.array_equal(ids[found.to_label_map()], labels)


@given(stacks(), st.data())
def test_crop_is_the_window_of_each_mask(stack, data):
    height, width = stack.shape[1:]
    top, left = data.draw(st.integers(-3, height - 1)), data.draw(st.integers(-3, width - 1))
    h, w = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))
    padded = np.pad(stack, ((0, 0), (3, 12), (3, 12)))
    expected = padded[:, top + 3 : top + 3 + h, left + 3 : left + 3 + w]
    assert np.array_equal(dense(instances(stack).crop(top, left, h, w)), expected[expected.any((1, 2))])


@given(stacks(), st.integers(0, 3))
def test_touching_border_sees_the_outer_frame(stack, width):
    inner = np.zeros(stack.shape[1:], bool)
    inner[width : stack.shape[1] - width or None, width : stack.shape[2] - width or None] = True
    if width * 2 >= min(inner.shape):
        inner[:] = False
    assert instances(stack).touching_border(width).tolist() == [bool((m & ~inner).any()) for m in stack]


@given(stacks())
def test_flatten_gives_each_pixel_to_the_first_object(stack):
    flat = dense(instances(stack).flatten())
    assert (flat.sum(0) <= 1).all()
    expected = stack & (np.cumsum(stack, axis=0) == 1)
    assert np.array_equal(flat, expected)


@given(stacks(), st.randoms(use_true_random=False))
def test_flatten_by_priority_is_flatten_of_the_reordered(stack, random):
    order = list(range(len(stack)))
    random.shuffle(order)
    flat = dense(instances(stack).flatten(order))
    assert np.array_equal(flat[order], dense(instances(stack[order]).flatten()))


@given(stacks())
def test_the_last_object_wins_where_that_is_asked_for(stack):
    flat = dense(instances(stack).flatten("last"))
    assert np.array_equal(flat[::-1], dense(instances(stack[::-1]).flatten()))
    assert instances(stack).flatten("first") == instances(stack).flatten()
    with pytest.raises(InputError, match="the priority 'middle' isn't known; it is 'first' or 'last'"):
        instances(stack).flatten("middle")


@given(stacks())
def test_flattening_twice_changes_nothing(stack):
    once = instances(stack).flatten()
    assert once.flatten() == once


@given(stacks(), st.integers(0, 4), st.integers(0, 4))
def test_box_masks_place_back_anywhere(stack, down, right):
    found = instances(stack)
    size = (found.size[0] + down, found.size[1] + right)
    moved = Instances.from_box_masks([(m, (t + down, x + right)) for m, (t, x) in found.box_masks()], size)
    assert np.array_equal(dense(moved), np.pad(stack, ((0, 0), (down, 0), (right, 0))))


def test_square_of_ten_pixels_has_a_hundred():
    assert Instances.from_polygons([square(3, 4, 10)], (20, 20)).areas.tolist() == [100]


def test_several_polygons_make_one_object():
    cell = Instances.from_polygons([[*square(1, 1, 4), *square(10, 1, 4)]], (20, 20))
    assert len(cell) == 1
    assert cell.areas.tolist() == [32]


def test_uncompressed_rle_is_read():
    mask = np.array([[0, 1], [1, 1]], bool)
    cell = Instances.from_coco([{"id": 5, "segmentation": {"size": [2, 2], "counts": [1, 3]}}], (2, 2))
    assert np.array_equal(next(cell.to_masks()), mask)
    assert cell.ids.tolist() == [5]


def test_more_than_256_objects_keep_their_areas():
    found = Instances.from_polygons([square(1 + i % 3, 1, 2 + i % 5) for i in range(700)], (16, 16))
    assert found.areas.tolist() == [(2 + i % 5) ** 2 for i in range(700)]


def test_full_size_image_needs_no_dense_stack(monkeypatch):
    monkeypatch.setattr(coco, "decode", lambda *a: pytest.fail("an RLE was decoded to its whole image"))
    cells = Instances.from_polygons([square(12.5 * i, 9.5 * i, 30) for i in range(190)], (1944, 2592))
    assert len(cells.crop(500, 500, 512, 512)) > 10
    assert cells.flatten().areas.sum() == (cells.to_label_map() > 0).sum()


def test_it_is_immutable():
    cells = Instances.from_polygons([square(1, 1, 4)], (9, 9))
    with pytest.raises(AttributeError):
        cells.size = (3, 3)
    with pytest.raises(ValueError, match="read-only"):
        cells.categories[0] = 1


def test_select_keeps_columns_together():
    cells = Instances.from_polygons(
        [square(1, 1, 2), square(1, 1, 3), square(1, 1, 4)], (9, 9), categories=[4, 5, 6], scores=[0.1, 0.2, 0.3]
    )
    picked = cells.select([2, 0])
    assert (picked.areas.tolist(), picked.categories.tolist(), picked.scores.tolist(), picked.ids.tolist()) == (
        [16, 4],
        [6, 4],
        [0.3, 0.1],
        [2, 0],
    )


def test_parsed_counts_agree_with_uncompressed_ones():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (3, 5), (70, 50), (2000, 40)):
        mask = rng.random((height, width)) < 0.3
        flat = np.r_[False, mask.ravel(order="F"), not mask[-1, -1]]
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        expected = np.diff(np.r_[0, edges])
        rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert parse_counts([rle["counts"]], mask.size)[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        ([[1, 2, 3, 4]], "annotation 7: polygon 0 has 2 points, at least 3 are needed"),
        ([[1, 2, 3, 4, 5]], "odd number"),
        ([[1, 2, 3, 4, 5, float("nan")]], "isn't a finite number"),
        ([], "no segmentation"),
        (None, "no segmentation"),
        ([["a", "b"]], "isn't a flat list of numbers"),
        ({"size": [3, 3], "counts": [9]}, r"size \[3, 3\], the image of \[8, 8\]"),
        ({"size": [8, 8], "counts": [3, 4]}, "don't fill the image"),
        ({"size": [8, 8], "counts": "04"}, "don't fill the image"),
        ({"size": [8, 8], "counts": "\x7f"}, "can't be read"),
        ({"size": [8, 8]}, "has no counts"),
    ],
)
def test_bad_segmentations_are_named(segmentation, says):
    with pytest.raises(InputError, match=says):
        Instances.from_coco([{"id": 7, "segmentation": segmentation}], (8, 8))


def test_other_bad_input():
    with pytest.raises(InputError, match="out of bounds"):
        Instances.empty((MAX_PIXELS, 2))
    with pytest.raises(InputError, match="out of bounds"):
        Instances.empty((0, 5))
    with pytest.raises(InputError, match="2 scores for 1 objects"):
        Instances.from_polygons([square(1, 1, 2)], (9, 9), scores=[1, 2])
    with pytest.raises(InputError, match="different sizes"):
        Instances.empty((3, 3)).iou(Instances.empty((3, 4)))
    with pytest.raises(InputError, match="category 9"):
        Instances.from_coco([{"id": 1, "category_id": 9, "segmentation": square(1, 1, 3)}], (9, 9), {1: 0})
    with pytest.raises(InputError, match="1 of 2 objects have no score"):
        Instances.from_coco([{"segmentation": square(1, 1, 3), "score": 1}, {"segmentation": square(1, 1, 3)}], (9, 9))
    with pytest.raises(InputError, match="2-D integer"):
        Instances.from_label_map(np.zeros((3, 3)))
    with pytest.raises(InputError, match="each of the 1 objects once"):
        Instances.from_polygons([square(1, 1, 2)], (9, 9)).to_label_map([0, 0])


LARGEST = [(20_000, 20_000), (23_170, 23_170), (2**28, 1), (1, 2**28), (MAX_RUN_PIXELS // 2**14, 2**14)]


@pytest.mark.parametrize("size", LARGEST)
def test_runs_are_read_right_up_to_the_largest_image(size):
    height, width = size
    pixels = height * width
    masks = [(np.ones((1, 1), bool), (height - 1, width - 1)), (np.ones((min(3, height), min(2, width)), bool), (0, 0))]
    cells = Instances.from_box_masks(masks, size)
    assert cells.areas.tolist() == [mask.sum() for mask, _ in masks]
    assert cells.boxes.tolist() == [[left, top, *mask.shape[::-1]] for mask, (top, left) in masks]
    assert cells.iou(cells).tolist() == [[1, 0], [0, 1]]
    for (mask, corner), (copy, place) in zip(masks, cells.box_masks(), strict=True):
        assert np.array_equal(mask, copy)
        assert corner == place
    assert Instances.from_coco(cells.to_coco(1), size) == cells
    # The longest runs there are, and the largest differences between two.
    extremes = [
        [0, pixels],
        [pixels - 1, 1],
        [1, 2, pixels - 10, 3, 4],
        [0, pixels - 9, 1, 2, 6],
        [1, 1, 1, pixels - 9, 1, 1, 4],
    ]
    runs = Instances.from_coco([{"segmentation": {"size": size, "counts": counts}} for counts in extremes], size)
    assert runs.areas.tolist() == [sum(counts[1::2]) for counts in extremes]
    again, starts, faults = parse_counts([rle["counts"] for rle in runs.rles], pixels)
    assert not any(faults)
    assert [again[a:b].tolist() for a, b in itertools.pairwise(starts)] == extremes
    for rle, counts in zip(runs.rles, extremes, strict=True):  # pycocotools reads its own counts
        assert coco.merge([rle, rle])["counts"] == rle["counts"], counts
    assert np.diag(runs.iou(runs)).tolist() == [1] * len(extremes)


def test_larger_images_are_refused_and_large_ones_never_made_dense():
    for size in ((23_171, 23_171), (2**28 + 1, 1), (1, 2**29 - 1)):
        with pytest.raises(InputError, match="out of bounds"):
            Instances.empty(size)
    large = Instances.from_box_masks([(np.ones((2, 2), bool), (5, 5))], (20_000, 20_000))
    for dense in (Instances.to_label_map, Instances.flatten, lambda cells: next(cells.to_masks()), overlap_map):
        with pytest.raises(InputError, match="20000 x 20000 pixels is out of bounds"):
            dense(large)
    assert large.crop(4, 4, 3, 3).to_label_map().tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]


def test_thousands_of_objects_are_decoded_in_their_boxes():
    rng = np.random.default_rng(0)
    masks = [(rng.random((4, 3)) < 0.5, (int(rng.integers(90)), int(rng.integers(90)))) for _ in range(2500)]
    cells = Instances.from_box_masks(masks, (93, 94))
    again = Instances.from_box_masks(cells.box_masks(), cells.size)
    assert len(again) == 2500
    assert again == cells


def test_chosen_objects_keep_areas_and_boxes_that_are_known():
    cells = Instances.from_polygons([square(k, 2 * k, 3 + k) for k in range(5)], (30, 30))
    for index in ([3, 1], slice(2, None), np.array([True, False, True, False, False]), []):
        fresh = cells.select(index)
        expected = fresh.areas.tolist(), fresh.boxes.tolist()
        asked = Instances.from_rles(cells.rles, cells.size)
        assert asked.areas.shape == (5,)
        assert asked.boxes.shape == (5, 4)
        chosen = asked.select(index)
        assert (chosen.areas.tolist(), chosen.boxes.tolist()) == expected
        assert not chosen.areas.flags.writeable
        assert not chosen.boxes.flags.writeable
