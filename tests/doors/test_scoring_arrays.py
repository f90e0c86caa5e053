"""What the metric is given in Python: arrays of any library, and what hostile bytes make of outlines and regions."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from glioma_hf import InputError, Instances, instances_of
from glioma_hf.data.exports import MAX_ROI_BYTES, read_rois
from glioma_hf.metrics.inputs import pair_of_instances
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.pixel_dice import dice_score, dice_score_average
from tests.fuzz.harness import check
from tests.strategies import square

SIZE = (80, 100)
MASKS = np.zeros((2, *SIZE), bool)
MASKS[0, 10:30, 10:30] = MASKS[1, 40:60, 50:75] = True
LABELS = MASKS[0] * 1 + MASKS[1] * 2


def sam(masks) -> list[dict]:
    """As SAM's mask generator has them."""
    return [
        {"segmentation": m, "area": int(m.sum()), "bbox": [0, 0, 1, 1], "predicted_iou": 0.9, "crop_box": [0, 0, 9, 9]}
        for m in masks
    ]


def as_rle(mask: np.ndarray) -> dict:
    return {"size": list(SIZE), "counts": Instances.from_masks([mask]).rles[0]["counts"].decode()}


def tensor(array: np.ndarray):
    return pytest.importorskip("torch").from_numpy(np.ascontiguousarray(array))


FORMS = {
    "label map": lambda: LABELS,
    "label map of small integers": lambda: LABELS.astype(np.uint8),
    "nested label map": lambda: LABELS.tolist(),
    "boolean stack": lambda: MASKS,
    "stack of 0 and 255": lambda: MASKS.astype(np.uint8) * 255,
    "stack of 0. and 1.": lambda: MASKS.astype(np.float32),
    "nested stack": lambda: MASKS.astype(int).tolist(),
    "stack with a channel": lambda: MASKS[:, None],
    "batch of one": lambda: MASKS[None],
    "list of boolean masks": lambda: list(MASKS),
    "list of masks of 0 and 255": lambda: [m.astype(np.uint8) * 255 for m in MASKS],
    "list of masks with a channel": lambda: [m[None] for m in MASKS],
    "SAM's list": lambda: sam(MASKS),
    "SAM's list of RLE": lambda: [
        item | {"segmentation": as_rle(m)} for item, m in zip(sam(MASKS), MASKS, strict=True)
    ],
    "RLEs": lambda: [as_rle(m) for m in MASKS],
    "tensor": lambda: tensor(MASKS),
    "tensor with a channel": lambda: tensor(MASKS[:, None]).float(),
    "tensor label map": lambda: tensor(LABELS.astype(np.int64)),
    "list of tensors": lambda: [tensor(m) for m in MASKS],
    "SAM's list of tensors": lambda: sam([tensor(m) for m in MASKS]),
    "picture": lambda: Image.fromarray(LABELS.astype(np.uint8)),
    "list of pictures": lambda: [Image.fromarray(m) for m in MASKS],
    "columns of arrays": lambda: {
        "width": np.int32(100),
        "height": np.int32(80),
        "objects": {"id": np.arange(2), "segmentation": [np.array(square(*s)) for s in ((10, 10, 20), (50, 40, 20))]},
    },
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_are_taken(name):
    other = Instances.from_masks(MASKS)
    if name == "columns of arrays":
        other = Instances.from_polygons([square(10, 10, 20), square(50, 40, 20)], SIZE)
    for sides in ((FORMS[name](), other), (other, FORMS[name]())):
        scores = overlap_ap([pair_of_instances(*sides)])
        assert (scores.tp, scores.fp, scores.fn, scores.ap90) == (2, 0, 0, 1)
    alone = pair_of_instances(FORMS[name](), FORMS[name]())
    assert [len(side) for side in alone] == [2, 2]
    assert alone[0].size == SIZE


def test_sams_own_word_for_a_score_is_one():
    assert pair_of_instances(sam(MASKS), LABELS)[0].scores.tolist() == [0.9, 0.9]


REFUSED = {
    "probabilities": (MASKS * 0.7, "threshold them first"),
    "a list of probabilities": (list(MASKS * 0.7), "mask 0 holds numbers other than 0 and 1; threshold them first"),
    "SAM's list of logits": (sam(MASKS * 3.5), "the mask of object 0 holds numbers other than 0 and 1; threshold"),
    "not a number": (np.where(MASKS, np.nan, 0), "threshold them first"),
    "a float label map": (LABELS.astype(float), r"2-D integer array, this one is 2-D float64.*labels.astype\(int\)"),
    "one boolean mask": (MASKS[0], r"a 2-D integer array, this one is 2-D bool; give \[mask\] for one object"),
    "masks last": (np.moveaxis(MASKS, 0, -1), r"has its masks last; give masks first.*moveaxis\(masks, -1, 0\)"),
    "a list of label maps": ([LABELS, LABELS], "mask 0 holds several numbers besides 0; a label map is given alone"),
    "a stack of label maps": (np.stack([LABELS, LABELS]), "mask 0 holds several numbers besides 0"),
    "a batch": (np.stack([MASKS, MASKS]), r"an array of shape \(2, 2, 80, 100\)"),
    "a colour picture": (Image.new("RGB", (100, 80)), "image 0: the predictions are of size|masks last"),
    "text": (np.array(["a"]), "is no side of an image"),
    "complex numbers": (MASKS[0] * 1j, "is no side of an image"),
    "objects": (np.array([[{}]], object), "is no side of an image"),
    "one axis": (np.arange(5), "is no side of an image"),
    "another size": (MASKS[:, :50], r"the predictions are of size \[50, 100\], the references of \[80, 100\]"),
    "sizes that differ": ([MASKS[0], MASKS[1][:50]], "mask 1 has shape"),
    "a generator": ((m for m in MASKS), "generator is no side of an image"),
    "a number": (5, "int is no side of an image"),
    "nothing": (None, "NoneType is no side of an image"),
    "numbers": ([1, 2, 3], "object 0 is a int"),
    "bytes": (b"abc", "bytes is no side of an image"),
    "a row without objects": ({"width": 100, "height": 80}, "has the columns width, height and objects"),
    "a row of text": ({"width": "x", "height": 80, "objects": []}, "size is two whole numbers"),
    "a row of half a pixel": ({"width": 99.5, "height": 80, "objects": []}, "size is two whole numbers"),
    "a row of numbers": ({"width": 100, "height": 80, "objects": [1]}, "the column objects of a row holds dicts"),
    "a size of nothing": ({"size": None, "counts": []}, "size is two whole numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_are_refused_in_a_sentence(name):
    given, says = REFUSED[name]
    with pytest.raises(InputError, match=says):
        pair_of_instances(given, LABELS, "image 0")


@pytest.mark.parametrize("count", [2, 20])
def test_an_order_of_axes_that_cant_be_told_is_refused(count):
    stack = np.zeros((count, *SIZE), bool)
    for i in range(count):
        stack[i, 5 + i : 15 + i, 4 * i : 4 * i + 9] = True
    last = np.moveaxis(stack, 0, -1)
    with pytest.raises(InputError, match=r"masks come first or last|seems to have its masks last"):
        pair_of_instances(last, last)
    assert len(pair_of_instances(stack, stack)[0]) == count
    assert len(pair_of_instances(stack, np.zeros(SIZE, int))[0]) == count


def test_empty_sides():
    for nothing in ([], np.zeros((0, *SIZE), bool), np.zeros(SIZE, int), np.array([]), ()):
        assert [len(side) for side in pair_of_instances(nothing, LABELS)] == [0, 2]
        assert [len(side) for side in pair_of_instances(LABELS, nothing)] == [2, 0]
    with pytest.raises(InputError, match="out of bounds"):
        pair_of_instances(np.zeros((0, 0, 0), bool), [])


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas", "arrow", None])
def test_rows_of_any_format_give_the_same_cells(folder, kind):
    datasets = pytest.importorskip("datasets")
    if kind in ("torch", "pandas"):
        pytest.importorskip(kind)
    rows = datasets.load_dataset(str(folder), split="spec")
    plain, row = rows[0], rows.with_format(kind)[0]
    expected = instances_of(plain, "all")
    assert len(expected) > 5
    assert instances_of(row, "all") == expected
    first, second = pair_of_instances(row, plain)
    assert (first, second) == (expected.select(slice(None)), second)
    assert overlap_ap([(first, second)], border=0).fp == 0


# -- pixel Dice --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "resolution",
    [(0, 0), (5, 0), (-4, 4), (4,), (4, 4, 4), (4.5, 4), (float("nan"), 4), (float("inf"), 4), (2**20, 2**20), 7, "ab",
     (None, 4), ("4", "4"), ([4], 4), (10**400, 1)],
)  # fmt: skip
def test_resolutions_that_arent(resolution):
    mask = np.ones((4, 4))
    for call in (dice_score, lambda p, r, where: dice_score_average([(p, r)], where)):
        with pytest.raises(InputError, match=r"the resolution is \(width, height\) in whole pixels, each above 0"):
            call(mask, mask, resolution)


def test_other_bad_masks():
    mask = np.ones((4, 4))
    for threshold in (float("nan"), "x", None, [0.5]):
        with pytest.raises(InputError, match="the threshold is a finite number"):
            dice_score(mask, mask, None, threshold)
    with pytest.raises(InputError, match="the prediction holds numbers, not"):
        dice_score(mask.astype(str), mask)
    assert dice_score(mask, mask, [2.0, np.int64(2)]) == 1


# -- coordinates and regions -------------------------------------------------------------

FAR = (1e5, 1e6, 2.08e8, 1e9, 1e10, 1e15, 1e300, 1.7e308, -3.5e8, -1e308)


def rasterise(data: bytes) -> Instances:
    """The polygons in these bytes of JSON, in an image of 80 x 100."""
    return Instances.from_coco(json.loads(data), SIZE)


@pytest.mark.parametrize("far", FAR)
def test_far_points_are_cut_and_the_shape_in_the_image_stays(far):
    wide = [12.0, 45.0, far, 45.0, far, 70.0, 12.0, 70.0]
    near = [12.0, 45.0, 140.0, 45.0, 140.0, 70.0, 12.0, 70.0]
    if far < 0:
        near[2] = near[4] = -40.0
    expected = Instances.from_polygons([[near]], SIZE)
    assert Instances.from_polygons([[wide]], SIZE) == expected
    turned = Instances.from_polygons([[wide[1::-1] + wide[3:1:-1] + wide[5:3:-1] + wide[7:5:-1]]], SIZE[::-1])
    assert turned.areas.tolist() == expected.areas.tolist()
    all_far = [far, 1.0, far, 2.0, far + 1, 2.0]
    several = Instances.from_polygons([[all_far], [near, all_far], [near]], SIZE)
    assert several.areas.tolist() == [0, expected.areas[0], expected.areas[0]]


def test_outlines_within_reach_are_rasterised_as_they_are():
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(0)
    polygons = [(rng.uniform(-1, 1, 2 * rng.integers(3, 9)) * 10 ** rng.uniform(1, 4.5)).tolist() for _ in range(300)]
    expected = [r["counts"] for r in coco_mask.frPyObjects(polygons, *SIZE)]
    assert [r["counts"] for r in Instances.from_polygons([[p] for p in polygons], SIZE).rles] == expected


def rois(*contents: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.roi", content)
    return file.getvalue()


def region(points, subpixel: bool = True) -> bytes:
    roifile = pytest.importorskip("roifile")
    made = roifile.ImagejRoi.frompoints(np.asarray(points, np.float32) % 300)
    if subpixel:
        made.subpixel_coordinates = np.asarray(points, np.float32)
    return made.tobytes()


TRIANGLE = [[12.0, 45], [30, 50], [30, 70]]


def test_regions_with_far_points_are_cut():
    far = [[12.0, 45], [2.08e8, 50], [30, 70]]
    assert read_rois(rois(region(far)), SIZE, "a.zip").boxes[0, 2] == 88
    with pytest.raises(InputError, match=r"a.zip: 0.roi: polygon 0 has a coordinate that isn't a finite number"):
        read_rois(rois(region([[12.0, 45], [np.nan, 50], [30, 70]])), SIZE, "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_regions_packed_as_imagej_never_does(method):
    with pytest.raises(InputError, match=r"a.zip: 0.roi is packed as ImageJ never does; zip it anew"):
        read_rois(rois(region(TRIANGLE), method=method), SIZE, "a.zip")


def test_regions_are_bounded_together():
    many = [region(TRIANGLE) + bytes(MAX_ROI_BYTES - 2000)] * 40
    with pytest.raises(InputError, match=r"a.zip: its regions hold over 33554432 bytes; split it"):
        read_rois(rois(*many), SIZE, "a.zip")


def hostile() -> list[bytes]:
    """Objects that cost much or end the process where they are taken as they come."""
    far = [[[1, 1, v, v, v, 5.0, -v, 70.0]] for v in FAR]
    rng = np.random.default_rng(0)
    winding = [[(rng.uniform(0, 1, 2 * 400_000) * 30_000).round(1).tolist()]]
    winding_near = [[(rng.uniform(0, 1, 2 * 400_000) * 80).round(1).tolist()]]
    fine = np.stack([np.linspace(10, 60, 300_000), np.tile([20, 60], 150_000)], 1).round(3)
    rle = [{"size": list(SIZE), "counts": c} for c in ("o" * 3_000_000, "0" * 3_000_000, "P" * 3_000_000)]
    lists = [{"size": list(SIZE), "counts": c} for c in ([0] * 1_000_000, [2**31] * 9, [2**63, 2**63])]
    objects = [*far, *winding, *winding_near, [fine.ravel().tolist()], *rle, *lists, [[0.0] * 6] * 50_000]
    return [json.dumps([{"segmentation": s}]).encode() for s in objects]


def test_hostile_objects_are_answered_or_refused_in_bounds():
    findings = check(rasterise, hostile())
    assert not findings, [(finding.what, finding.data[:80]) for finding in findings]
