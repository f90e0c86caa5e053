"""Images too large to hold: opened, not decoded, and read window by window.

A TIFF's strips and tiles are compressed each for itself, so that a window needs only those that it meets. Nothing else
is needed of an image of 20,000 x 20,000 pixels: what finds cells sees it tile by tile, and what shows them needs less
than all pixels.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from glioma_hf.data.images import levels_or_floats
from glioma_hf.data.on_disk import FileBytes, SegmentCache
from glioma_hf.data.orientation import Window, stored_window, turn, turn_size
from glioma_hf.data.tiff import SIGNATURES, TiffImage
from glioma_hf.errors import InputError
from glioma_hf.instances import MAX_PIXELS

if TYPE_CHECKING:
    from typing_extensions import Self

LARGE = 2**26  # pixels, up to which an image is decoded whole
CACHED = 2**27  # bytes of decoded strips and tiles that are kept: a row of tiles' strips, 36,000 pixels wide in 16 bits
MOST_SEGMENT = 2**27  # bytes of one strip or tile
_STEP = 2048  # pixels: about the side of windows in which all of an image is read


class OpenedImage:
    """An image whose windows are decoded when they are asked for: `image[top:bottom, left:right]`.

    Windows are the pixels that `read_image` gives there, cut at the image's edge like an array's.

    Attributes:
        shape: (H, W) or (H, W, 3), as shown.
        dtype: uint8, uint16 or float32.
        ndim: 2 or 3.

    Windows raise `InputError` that names the file where a strip or tile is damaged or a pixel is no number.
    """

    def __init__(self, tiff: TiffImage, file: FileBytes, name: str):
        self._tiff, self._file, self._name = tiff, file, name
        width, height = turn_size(tiff.size, tiff.orientation)
        self.shape: tuple[int, ...] = (height, width)
        corner = self[:1, :1]
        self.shape, self.dtype, self.ndim = (height, width, *corner.shape[2:]), corner.dtype, corner.ndim

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, window: Window) -> np.ndarray:
        rows, columns = (slice(*part.indices(side)[:2]) for part, side in zip(window, self.shape, strict=False))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            sides = (max(0, part.stop - part.start) for part in (rows, columns))
            return np.zeros((*sides, *self.shape[2:]), self.dtype)
        stored = self._tiff.pixels(stored_window((rows, columns), self._tiff.size, self._tiff.orientation))
        return turn(levels_or_floats(stored, self._name), self._tiff.orientation)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise InputError(f"{self._name}: an image that is read window by window can't be had as a whole")

    def close(self) -> None:
        """Close the file; windows can't be read any longer."""
        self._file.close()


def open_large(path: str | Path, above: int = LARGE) -> OpenedImage | None:
    """An image of more than `above` pixels that can be read window by window; None for one to be decoded whole.

    These are TIFF and BigTIFF in all forms that are read here and not by Pillow, in strips or tiles of at most
    `MOST_SEGMENT` bytes; others are told apart by their size: what can be decoded whole is.

    Raises `InputError` for a damaged header, for several pages, for more than `MAX_RUN_PIXELS` pixels, and for what
    can be read neither by windows nor whole.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return None
        file = FileBytes(path.open("rb"))
    except OSError:  # which `read_image` tells
        return None
    opened = None
    try:
        opened = _opened(file, str(path), above)
    finally:
        if opened is None:
            file.close()
    return opened


def _opened(file: FileBytes, name: str, above: int) -> OpenedImage | None:
    if file[:4] not in SIGNATURES:
        return None
    tiff = TiffImage(file, name, SegmentCache(CACHED))
    pixels = tiff.size[0] * tiff.size[1]
    if pixels <= above:
        return None
    problem = tiff.problem()
    if not problem:
        high, wide, depth = tiff.segment_shape()
        if high * wide * depth * tiff.page.dtype.itemsize > MOST_SEGMENT:
            what = "tiles" if tiff.page.is_tiled else "strips"
            problem = f"its {what} of {wide} x {high} pixels are too large; save it in tiles of 512 x 512"
    if not problem:
        return OpenedImage(tiff, file, name)
    if pixels > MAX_PIXELS:
        raise InputError(f"{name}: {tiff.size[0]} x {tiff.size[1]} pixels can't be held, and {problem}")
    return None


def reduced(image: OpenedImage, factor: int) -> np.ndarray:
    """Means of squares of `factor` x `factor` pixels: grey (ceil(H / factor), ceil(W / factor)), of the same type."""
    height, width = image.shape[:2]
    small = np.empty((-(-height // factor), -(-width // factor)), image.dtype)
    side = max(1, _STEP // factor) * factor
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = image[top : top + side, left : left + side]
            grey = window.mean(2, dtype=np.float32) if window.ndim == 3 else window
            grey = np.pad(grey, [(0, -length % factor) for length in grey.shape], mode="edge")
            squares = grey.reshape(len(grey) // factor, factor, -1, factor)
            means = squares.mean((1, 3), dtype=np.float32)
            if small.dtype.kind == "u":
                means = np.round(means)
            place = top // factor, left // factor
            small[place[0] : place[0] + means.shape[0], place[1] : place[1] + means.shape[1]] = means
    return small
