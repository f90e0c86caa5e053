"""The door for label maps: whole numbers of any type are read as they are stored, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError
from glioma_hf.benchmark.label_maps import read_folder
from glioma_hf.data.label_maps import decode_labels

LABELS = np.zeros((30, 40), int)
LABELS[2:10, 3:12], LABELS[15:28, 20:39] = 1, 2


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def in_palette(colours: list[int], indices: np.ndarray = LABELS) -> bytes:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colours)
    return png(image)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">i8", ">u2"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)}])
def test_whole_numbers_of_any_type(kind, options):
    labels = decode_labels(tiff(LABELS.astype(kind), **options), "x")
    assert labels.dtype == np.int64
    assert np.array_equal(labels, LABELS)


def test_what_is_stored_counts():
    assert np.array_equal(decode_labels(tiff(LABELS > 0), "x"), LABELS > 0)
    assert np.array_equal(decode_labels(tiff(LABELS.astype(np.uint16), photometric="miniswhite"), "x"), LABELS)
    assert np.array_equal(decode_labels(png(Image.fromarray(LABELS.astype(np.uint16))), "x"), LABELS)
    assert np.array_equal(decode_labels(png(Image.fromarray(LABELS > 0)), "x"), LABELS > 0)
    large = LABELS * (2**40)
    assert np.array_equal(decode_labels(tiff(large), "x"), large)


def test_of_a_palette_the_numbers_count():
    colours = [0, 0, 0, 128, 0, 0, 0, 128, 0]  # as in PASCAL VOC
    assert np.array_equal(decode_labels(in_palette(colours), "x"), LABELS)
    greys = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)
    assert np.array_equal(
        decode_labels(tiff(LABELS.astype(np.uint8), photometric="palette", colormap=greys), "x"), LABELS
    )
    # What a program that saves space makes of it: object 1 is stored as 0, the background as 1.
    with pytest.raises(InputError, match="x: black is colour 1 of its palette instead of 0"):
        decode_labels(in_palette([128, 0, 0, 0, 0, 0, 0, 128, 0], np.array([1, 0, 2])[LABELS]), "x")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(LABELS + 0.5), "labels are whole numbers, this float64 map has others"),
        (tiff(np.where(LABELS, np.nan, 0.0)), "labels are whole numbers"),
        (tiff(np.where(LABELS, np.inf, 0.0)), "labels"),
        (tiff(LABELS * 2**55), "labels up to .* are too large; number the objects anew"),
        (tiff(np.zeros((30, 40, 3), np.uint8), photometric="rgb"), r"one channel, this one has 3 \(colours\?\)"),
        (tiff(np.zeros((4, 30, 40), np.uint8), photometric="minisblack"), "4 pages in one image"),
        (tiff(LABELS.astype(np.int32))[:-900], "the image is damaged"),
        (b"", "the file is empty"),
    ],
)
def test_anything_else_is_named(data, says):
    with pytest.raises(InputError, match=f"cells.tif: .*{says}|cells.tif: {says}"):
        decode_labels(data, "cells.tif")


def test_a_jpeg_holds_no_labels():
    buffer = io.BytesIO()
    Image.fromarray(LABELS.astype(np.uint8)).save(buffer, "JPEG")
    with pytest.raises(InputError, match="x: a label map of JPEG"):
        decode_labels(buffer.getvalue(), "x")


def test_negative_labels_are_regions_that_dont_count(tmp_path):
    labels = np.where(LABELS == 2, -1, LABELS).astype(np.int16)
    assert decode_labels(tiff(labels), "x").min() == -1
    (tmp_path / "a.tif").write_bytes(tiff(labels))
    (tmp_path / "._a.tif").write_bytes(b"litter")
    ((_, objects),) = read_folder(tmp_path).values()
    assert objects.crowd.tolist() == [True, False] or objects.crowd.tolist() == [False, True]
    assert sorted(objects.areas.tolist()) == [8 * 9, 13 * 19]
