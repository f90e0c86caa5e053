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
    """From the image's darkest to nearly its brightest, 0 ... 1."""

    low: float
    high: float

    def pixels(self, window: np.ndarray) -> np.ndarray:
        """float32 (H, W)."""
        grey = (grey_of(window) - np.float32(self.low)) / np.float32(max(self.high - self.low, 1e-6))
        return grey.clip(0, 1)


def standard(image: np.ndarray) -> Standardised:
    """As the light network sees an image."""
    return Standardised(statistics_of(image))


def scaled(image: np.ndarray) -> Scaled:
    """As MediarFormer sees an image."""
    low, high = np.percentile(grey_of(image), PERCENTILES)
    return Scaled(float(low), float(high))
