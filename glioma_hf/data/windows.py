"""Windows of an encoded image, without decoding what lies outside them where the format allows."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from glioma_hf.data.images import decode_image
from glioma_hf.instances import MAX_PIXELS

Window = tuple[slice, slice]


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
        self._read = self._open_tiff() if bytes(self._data[:4]) in (b"II*\0", b"MM\0*") else None

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Pixels [top, top + height) x [left, left + width); what reaches beyond the image is cut off.

        Raises `InputError` where the image can't be decoded.
        """
        window = (slice(top, top + height), slice(left, left + width))
        if self._read is not None:
            try:
                return self._read(window)
            except Exception:  # damaged, in whatever way: `decode_image` says what is wrong
                pass
        return decode_image(bytes(self._data), self._name)[window]

    def _open_tiff(self) -> Callable[[Window], np.ndarray] | None:
        """None for what is rare: several pages, planes apart, palettes, bits other than 8 and 16."""
        import tifffile

        try:
            page = tifffile.TiffFile(_Buffer(self._data)).pages
            page, pages = page[0], len(page)
        except Exception:  # what a damaged header leads to can't be listed; `decode_image` says what is wrong
            return None
        plain = (
            pages == 1
            and isinstance(page, tifffile.TiffPage)
            and page.axes in ("YX", "YXS")
            and page.samplesperpixel in (1, 3)
            and page.photometric in (1, 2)
            and page.dtype in (np.uint8, np.uint16)
            and page.imagelength * page.imagewidth <= MAX_PIXELS
        )
        if not plain:
            return None
        if not page.is_contiguous:
            return lambda window: self._from_segments(page, window)
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        start, count = page.dataoffsets[0], int(np.prod(page.shape))
        if start + count * dtype.itemsize > len(self._data):
            return None
        pixels = np.frombuffer(self._data, dtype, count, start).reshape(page.shape)
        return lambda window: np.ascontiguousarray(pixels[window], dtype=dtype.newbyteorder("="))

    def _from_segments(self, page: Any, window: Window) -> np.ndarray:
        """The window from the strips or tiles that it meets."""
        top, bottom, _ = window[0].indices(page.imagelength)
        left, right, _ = window[1].indices(page.imagewidth)
        out = np.zeros((max(bottom - top, 0), max(right - left, 0), *page.shape[2:]), page.dtype.newbyteorder("="))
        high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        across = -(-page.imagewidth // wide)
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                index = row * across + column
                start, count = page.dataoffsets[index], page.databytecounts[index]
                segment = page.decode(bytes(self._data[start : start + count]), index)[0]
                if segment is None:  # a hole in a sparse file
                    continue
                segment = segment[0] if page.shape[2:] else segment[0, :, :, 0]
                y, x = row * high, column * wide
                y0, y1 = max(top, y), min(bottom, y + segment.shape[0])
                x0, x1 = max(left, x), min(right, x + segment.shape[1])
                out[y0 - top : y1 - top, x0 - left : x1 - left] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
        return out


class ArrayReader:
    """The same for an image that is decoded already."""

    def __init__(self, pixels: np.ndarray):
        self._pixels = pixels

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """As `WindowReader.read`."""
        return self._pixels[top : top + height, left : left + width]


class _Buffer(io.RawIOBase):
    """A buffer as a file, without copying it."""

    def __init__(self, data: memoryview):
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, len(self._data))[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: Any) -> int:
        piece = self._data[self._at : self._at + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
