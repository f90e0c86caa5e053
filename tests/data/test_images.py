from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError
from glioma_hf.data.images import decode_image, image_size, read_image, to_uint8


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "TIFF":
        tifffile.imwrite(buffer, pixels)
    else:
        Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (7, 9), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (7, 9), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [(GREY8, "TIFF"), (GREY16, "TIFF"), (RGB8, "TIFF"), (GREY8, "PNG"), (GREY16, "PNG"), (RGB8, "PNG"), (GREY8, "BMP")],
)
def test_lossless_formats_come_back_as_they_are(pixels, kind):
    data = encoded(pixels, kind)
    again = decode_image(data, "x")
    assert again.dtype == pixels.dtype
    assert np.array_equal(again, pixels)
    assert image_size(data, "x") == (9, 7)


def test_jpeg_palette_and_alpha_are_read():
    assert decode_image(encoded(GREY8, "JPEG"), "x").shape == (7, 9)
    for mode in ("P", "RGBA", "LA", "1"):
        buffer = io.BytesIO()
        Image.fromarray(RGB8).convert("L" if mode in ("LA", "1") else "RGB").convert(mode).save(buffer, "PNG")
        assert decode_image(buffer.getvalue(), "x").shape[:2] == (7, 9)


def test_sixteen_bits_are_stretched_for_showing():
    shown = to_uint8(np.linspace(1000, 3000, 10_000).reshape(100, 100).astype(np.uint16))
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.array_equal(to_uint8(GREY8), GREY8)
    assert to_uint8(RGB8).shape == (7, 9)


def pages() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((3, 7, 9), np.uint8), photometric="minisblack")
    return buffer.getvalue()


def huge() -> bytes:
    """A PNG whose header alone claims 30,000 x 30,000 pixels."""
    data = bytearray(encoded(GREY8, "PNG"))
    data[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cells.tif: the file is empty"),
        (b"just text", "cells.tif: not a readable image"),
        (encoded(RGB8, "PNG")[:60], "cells.tif: the image is damaged"),
        (encoded(GREY8.astype(np.float32), "TIFF"), "cells.tif: floating-point pixels"),
        (pages(), "cells.tif: 3 pages"),
        (huge(), "more than"),
    ],
)
def test_bad_images_are_named(data, says):
    with pytest.raises(InputError, match=says):
        decode_image(data, "cells.tif")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.tif: can't be read"):
        read_image(tmp_path / "none.tif")


def test_t98g_is_eight_bit_grey(t98g):
    pixels = read_image(t98g / "dataset" / "spec" / "train" / "images" / "t98g_18.tif")
    assert pixels.shape == (1022, 1024)
    assert pixels.dtype == np.uint8
