"""Crops as MediarFormer learns from: quarter turns, wide zoom, and cells whose grey values are changed alone."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from glioma_hf.models.flows.crops import Crops, SeenImage, at
from glioma_hf.models.flows.recipe import MediarAugmentation
from glioma_hf.models.flows.sight import scaled
from glioma_hf.models.vision.pictures import points_of, warped
from glioma_hf.models.vision.preprocess import Statistics

KNOTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])  # grey values, of which the inner three are shifted


class MediarCrops(Crops):
    """Crops of (image, instances) pairs; see `Crops`."""

    shrink, stride = 1, 1
    augmentation: MediarAugmentation

    def _seen(self, image: np.ndarray) -> tuple[Tensor, Statistics | None]:
        return torch.from_numpy(scaled(image).pixels(image)), None

    def _place(self, image: SeenImage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        how, size = self.augmentation, np.array(image.grey.shape[::-1], float)
        zoom = rng.uniform(*how.zoom) if rng.random() < how.zoomed else 1.0
        reach = np.minimum(self.side / zoom / 2, size / 2)
        middle = rng.uniform(reach, size - reach)
        turn = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), int(rng.integers(4)))
        return turn @ np.diag([rng.choice([-1.0, 1.0]), 1.0]) / zoom, middle

    def _picture(
        self, image: SeenImage, matrix: np.ndarray, middle: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        how, points = self.augmentation, points_of(matrix, middle, self.side, 1)
        seen = warped(image.grey, points, (0, 0))
        if rng.random() < how.often:
            seen = seen * recoloured(at(image.labels, points), how.cells, rng)
        if rng.random() < how.often:
            seen = seen + rng.normal(0, how.noise, seen.shape)
        if rng.random() < how.often:
            seen = seen.clip(0, 1) ** rng.uniform(*how.gamma)
        if rng.random() < how.often:
            seen = ndimage.gaussian_filter(seen, rng.uniform(*how.blur))
        if rng.random() < how.often:
            blurred = ndimage.gaussian_filter(seen, rng.uniform(*how.blur))
            seen = seen + rng.uniform(*how.sharpen) * (seen - blurred)
        if rng.random() < how.often:
            shifts = np.concatenate([[0], rng.uniform(-how.shift, how.shift, 3), [0]])
            seen = np.interp(seen, KNOTS, np.sort(KNOTS + shifts))
        return seen.astype(np.float32)


def recoloured(labels: np.ndarray, factors: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """What to multiply the pixels of a label map's cells by: one cell, or each of them, by a factor of its own."""
    cells, numbered = np.unique(labels, return_inverse=True)
    by = rng.uniform(*factors, len(cells))
    if rng.random() < 0.5:
        by[np.arange(len(cells)) != rng.integers(len(cells))] = 1.0
    by[cells == 0] = 1.0
    found: np.ndarray = by[numbered.reshape(labels.shape)]
    return found
