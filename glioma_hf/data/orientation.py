"""Orientation tags: how cameras and scanners say that the picture stored is turned.

One rule everywhere: an image's pixels are those that viewers show, with the tag applied, as `datasets` applies it
to the rows that it decodes. Which picture outlines and label maps belong to, shown or stored, their size tells, see
`row_images.row_image`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

UPRIGHT = 1
Window = tuple[slice, slice]


def known(value: Any) -> int:
    """The tag's value, 1 to 8; upright for anything that it can't have."""
    return int(value) if value in range(1, 9) else UPRIGHT


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, ...) as they are shown; `orientation` is the tag's value, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def turn_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """A stored (width, height) as it is shown."""
    return size[::-1] if orientation in (5, 6, 7, 8) else size


def stored_window(window: Window, size: tuple[int, int], orientation: int) -> Window:
    """Where a window of the picture shown lies in the one stored, whose (width, height) is `size`.

    The window lies in the image, without negative ends.
    """
    rows, columns = window
    width, height = turn_size(size, orientation)
    if orientation in (3, 4, 7, 8):
        rows = slice(height - rows.stop, height - rows.start)
    if orientation in (2, 3, 6, 7):
        columns = slice(width - columns.stop, width - columns.start)
    return (columns, rows) if orientation in (5, 6, 7, 8) else (rows, columns)


def is_ambiguous(size: tuple[int, int], orientation: int) -> bool:
    """Whether outlines of (width, height) `size` fit the picture stored as well as the one shown."""
    return orientation != UPRIGHT and (orientation < 5 or size[0] == size[1])
