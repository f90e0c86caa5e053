"""What networks of flows are given of an image: windows of its grey values, on a scale that is the whole image's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioma_hf.models.vision.preprocess import Statistics, grey_of, standardised, statistics_of

PERCENTILES = (0.0, 99.5)  # of an image's grey values, which become 0 and 1 to MediarFormer


@dataclass(frozen=True)
class Standardised:
    """Halved, in standard deviations about the image's median."""

    found: Statistics

    def pixels(self, window: np.ndarray) -> np.ndarray:
        """float32 (ceil(H / 2), ceil(W / 2))."""
        return standardised(window, self.found)


@dataclass(frozen=True)
class Scaled:
    """From the image's darkest to nearly its brightest, 0 ... 1 in steps of 8 bits, as its authors have it."""

    low: float
    high: float

    def pixels(self, window: np.ndarray) -> np.ndarray:
        """float32 (H, W)."""
        above = grey_of(window).astype(np.float64).clip(self.low, self.high) - self.low
        return np.floor(above / max(self.high - self.low, 1e-6) * 255).astype(np.float32) / np.float32(255)


def standard(image: np.ndarray) -> Standardised:
    """As the light network sees an image."""
    return Standardised(statistics_of(image))


def scaled(image: np.ndarray) -> Scaled:
    """As MediarFormer sees an image; pixels of 0 are asked for nothing, since they may be a border."""
    grey = grey_of(image)
    shown = grey[grey != 0]
    low, high = np.percentile(shown, PERCENTILES) if len(shown) else (0.0, 1.0)
    return Scaled(float(low), float(high))
