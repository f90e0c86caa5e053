"""An image too large to hold, seen at another scale: windows of it, each from the pixels around it alone."""

from __future__ import annotations

import numpy as np

from glioma_hf.data.opened import OpenedImage
from glioma_hf.instances import MAX_RUN_PIXELS, check_size
from glioma_hf.models.vision.preprocess import grey_of

_SIDE = 2048  # pixels of the image, about, from which a part of a window is made


class ResizedWindows:
    """Grey float32 windows of an opened image at another scale, `view[top:bottom, left:right]`.

    They are those of the whole image resized by torch, linearly and smoothed where it gets smaller, but for rounding.

    Attributes:
        shape: (H, W) at that scale.
    """

    def __init__(self, image: OpenedImage, scale: float):
        self._image = image
        height, width = (max(1, round(length * scale)) for length in image.shape[:2])
        self.shape: tuple[int, ...] = check_size((height, width), MAX_RUN_PIXELS)

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        (top, bottom), (left, right) = (part.indices(side)[:2] for part, side in zip(window, self.shape, strict=True))
        out = np.empty((max(0, bottom - top), max(0, right - left)), np.float32)
        down, across = (
            max(1, int(_SIDE * seen / length)) for seen, length in zip(self.shape, self._image.shape, strict=False)
        )
        for row in range(top, bottom, down):
            rows, up = _weights(row, min(bottom, row + down), self.shape[0], self._image.shape[0])
            for column in range(left, right, across):
                columns, beside = _weights(column, min(right, column + across), self.shape[1], self._image.shape[1])
                y, x = (slice(int(places.min()), int(places.max()) + 1) for places in (rows, columns))
                grey = grey_of(self._image[y, x])
                part = _summed(_summed(grey, rows - y.start, up).T, columns - x.start, beside).T
                out[row - top : row - top + part.shape[0], column - left : column - left + part.shape[1]] = part
        return out


def _weights(first: int, last: int, seen: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of `length` pixels make up each of the pixels first ... last of `seen`, and their shares: (N, K) each.

    A pixel's share falls linearly with its distance, to none at a pixel's width of the smaller of both scales.
    """
    ratio = length / seen
    reach = max(1.0, ratio)
    centre = (np.arange(first, last) + 0.5) * ratio
    places = np.floor(centre - reach).astype(int)[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
    shares = np.maximum(0, 1 - np.abs(places + 0.5 - centre[:, None]) / reach)
    shares[(places < 0) | (places >= length)] = 0
    shares /= shares.sum(1, keepdims=True)
    return np.clip(places, 0, length - 1), shares.astype(np.float32)


def _summed(values: np.ndarray, places: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Rows made of the rows at `places` (N, K), by their shares."""
    out = np.zeros((len(places), values.shape[1]), np.float32)
    for place, share in zip(places.T, shares.T, strict=True):
        out += share[:, None] * values[place]
    return out
