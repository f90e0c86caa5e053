from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError
from glioma_hf.data.images import decode_image
from glioma_hf.data.windows import WindowReader

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (90, 130), dtype=np.uint8)
RGB = RNG.integers(0, 256, (90, 130, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (90, 130), dtype=np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (90, 130, 3), dtype=np.uint16)

TIFFS = {
    "uncompressed": (GREY, {}),
    "uncompressed strips": (GREY, {"rowsperstrip": 7}),
    "big endian": (DEEP, {"byteorder": ">"}),
    "deflate strips": (GREY, {"compression": "zlib", "rowsperstrip": 7}),
    "lzw with predictor": (DEEP, {"compression": "lzw", "predictor": True, "rowsperstrip": 16}),
    "tiles": (GREY, {"compression": "zlib", "tile": (32, 48)}),
    "colour": (RGB, {"photometric": "rgb"}),
    "colour tiles": (RGB, {"photometric": "rgb", "compression": "zlib", "tile": (32, 48)}),
    "deep colour": (DEEP_RGB, {"photometric": "rgb", "compression": "zlib", "rowsperstrip": 10}),
    "planes apart": (RGB.transpose(2, 0, 1).copy(), {"photometric": "rgb", "planarconfig": "separate"}),
}
WINDOWS = [(0, 0, 90, 130), (5, 17, 20, 30), (60, 100, 64, 64), (33, 1, 1, 1)]


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", TIFFS)
def test_windows_are_those_of_the_whole_image(kind):
    data = tiff(TIFFS[kind][0], **TIFFS[kind][1])
    whole = decode_image(data, "x")
    for buffer in (data, pa.py_buffer(data)):
        reader = WindowReader(buffer, "x")
        for top, left, height, width in WINDOWS:
            window = reader.read(top, left, height, width)
            assert window.dtype == whole.dtype
            assert np.array_equal(window, whole[top : top + height, left : left + width])


def test_formats_that_must_be_decoded_whole():
    for kind in ("PNG", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(GREY).save(buffer, kind)
        assert np.array_equal(WindowReader(buffer.getvalue(), "x").read(5, 17, 20, 30), GREY[5:25, 17:47])


def test_only_the_strips_of_the_window_are_decoded():
    data = bytearray(tiff(GREY, compression="zlib", rowsperstrip=10))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        start, count = file.pages[0].dataoffsets[8], file.pages[0].databytecounts[8]
    data[start : start + count] = bytes(count)  # rows 80 to 89 are damaged
    reader = WindowReader(bytes(data), "cells.tif")
    assert np.array_equal(reader.read(0, 0, 80, 130), GREY[:80])
    with pytest.raises(InputError, match=r"cells\.tif"):
        reader.read(70, 0, 20, 130)


@pytest.mark.parametrize("data", [b"II*\0", b"II*\0" + bytes(40), tiff(GREY)[:-500], b"", b"junk"])
def test_damaged_images_are_named(data):
    with pytest.raises(InputError, match=r"cells\.tif"):
        WindowReader(data, "cells.tif").read(0, 0, 8, 8)
