"""From any microscope image to what the network sees, the same in training and prediction: grey, half as large.

An image may be memory-mapped or opened; it is read window by window, and only its statistics are of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from glioma_hf.instances import check_size
from glioma_hf.models.vision.config import SHRINK

LEAST_SPREAD = 0.02  # of the brightest pixel: what is flatter than that is empty, and noise isn't raised to signal
BRIGHT = 99.9  # the percentile that stands for the brightest pixel, where nearly all are flat beside that
READ_WHOLE = 2**24  # pixels; of larger images the statistics are those of windows all over it
WINDOWS, WINDOW = 12, 512  # windows along each side, and their side in pixels


class Windows(Protocol):
    """An image of which windows are read: an array, or what stands for one too large to hold."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, channels)."""

    def __getitem__(self, window: tuple[slice, slice], /) -> np.ndarray:
        """The pixels in rows and columns."""


@dataclass(frozen=True)
class Statistics:
    """Of an image's grey values, halved in size: the brightest, and median and spread in shares of it."""

    white: float
    median: float
    spread: float


def statistics_of(image: Windows) -> Statistics:
    """Of an image (H, W) or (H, W, channels); of one over 16 megapixels from 144 windows of it."""
    values = np.concatenate([halved(part).ravel() for part in _parts(image)])
    white = float(values.max(initial=0.0)) or 1.0
    median, spread = float(np.median(values)), float(values.std())
    if spread < LEAST_SPREAD * white and (bright := float(np.percentile(values, BRIGHT))) > 0:
        # A few hot pixels make all else look flat: beside them nothing would be found in an image of 16 bits.
        white, spread = bright, float(np.minimum(values, np.float32(bright)).std())
    return Statistics(white, median / white, max(spread / white, LEAST_SPREAD))


def shares(image: np.ndarray, found: Statistics) -> np.ndarray:
    """An image, or a window of one, halved: float32, in shares of the brightest; hot pixels are bounded.

    Where the brightest is the brightest indeed, the bound is never reached.
    """
    bound = np.float32(found.median + found.spread / LEAST_SPREAD)
    return np.minimum(halved(image) / np.float32(found.white), bound)


def standardised(image: np.ndarray, found: Statistics) -> np.ndarray:
    """An image, or a window of one, halved: float32, in standard deviations about the median of the whole."""
    return (shares(image, found) - np.float32(found.median)) / np.float32(found.spread)


def halved(image: np.ndarray) -> np.ndarray:
    """Grey means of 2 x 2 pixels: float32 (ceil(H / 2), ceil(W / 2)); odd sides end in their last line again."""
    grey = grey_of(image)
    return shrunk(np.pad(grey, [(0, side % SHRINK) for side in grey.shape], mode="edge"), SHRINK)


def grey_of(image: np.ndarray) -> np.ndarray:
    """Grey values of an image (H, W) or (H, W, channels), of which those after the third are alpha: float32 (H, W)."""
    grey = np.asarray(image, np.float32)
    return grey[..., :3].mean(2) if grey.ndim == 3 else grey


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """The grey image at another scale."""
    grey = grey_of(image)
    height, width = (max(1, round(length * scale)) for length in grey.shape)
    check_size((height, width))
    resized = F.interpolate(torch.from_numpy(grey)[None, None], (height, width), mode="bilinear", antialias=scale < 1)
    return resized[0, 0].numpy()


def shrunk(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of squares of `factor` x `factor`: float32."""
    height, width = values.shape
    squares = values.reshape(height // factor, factor, width // factor, factor)
    return np.asarray(squares.mean((1, 3), dtype=np.float32))


def _parts(image: Windows) -> Iterator[np.ndarray]:
    height, width = image.shape[:2]
    if height * width <= READ_WHOLE:
        yield image[:, :]
        return
    for top in np.linspace(0, max(0, height - WINDOW), WINDOWS).astype(int) // SHRINK * SHRINK:
        for left in np.linspace(0, max(0, width - WINDOW), WINDOWS).astype(int) // SHRINK * SHRINK:
            yield image[top : top + WINDOW, left : left + WINDOW]
