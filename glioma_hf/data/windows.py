"""Windows of an encoded image, without decoding what lies outside them where the format allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from glioma_hf.data.images import decode_image, open_encoded, whole_levels
from glioma_hf.data.orientation import stored_window, turn, turn_size
from glioma_hf.data.tiff import SIGNATURES, TiffImage


class WindowReader:
    """Reads windows of one image: uint8 or uint16, grey or RGB, the pixels that `decode_image` gives.

    Of a TIFF only the strips or tiles that a window meets are decoded, and of an uncompressed one only its
    pixels touched; PNG, BMP and JPEG are decoded whole for each window, as their compression runs through
    the image.

    Args:
        data: bytes, or any buffer of them; a memory-mapped one isn't read where it isn't needed.
        name: of the image, in errors.
    """

    def __init__(self, data: Any, name: str):
        self._data, self._name = memoryview(data), name
        self._tiff: TiffImage | None = None

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Pixels [top, top + height) x [left, left + width); what reaches beyond the image is cut off.

        Raises `InputError` where the image can't be decoded.
        """
        window = (slice(top, top + height), slice(left, left + width))
        if self._tiff is None and bytes(self._data[:4]) in SIGNATURES:
            opened = open_encoded(self._data, self._name)
            self._tiff = opened if isinstance(opened, TiffImage) else None
        image = self._tiff
        if image is None:
            return decode_image(bytes(self._data), self._name)[window]
        columns, rows = turn_size(image.size, image.orientation)
        inside = slice(*window[0].indices(rows)[:2]), slice(*window[1].indices(columns)[:2])
        pixels = image.pixels(stored_window(inside, image.size, image.orientation))
        return turn(whole_levels(pixels, self._name), image.orientation)


class ArrayReader:
    """The same for an image that is decoded already."""

    def __init__(self, pixels: np.ndarray):
        self._pixels = pixels

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """As `WindowReader.read`."""
        return self._pixels[top : top + height, left : left + width]
