"""The pixels of a random crop: where it lies, turned and scaled, and what a microscope may do to its picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.models.vision.config import Augmentation
from glioma_hf.models.vision.preprocess import Statistics

DARK = 0.02  # of the brightest pixel: a median below it is raised to it before gamma


def place_crop(
    shape: Sequence[int], centres: np.ndarray, side: int, how: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """From (x, y) about a crop's middle to (x, y) about `middle` in the image: the matrix (2, 2), and `middle`.

    Args:
        shape: of the image, (height, width).
        centres: (N, 2), (x, y) of its cells, about which some crops lie.
        side: of the crop.
    """
    reach, size = 0.35 * side, np.array(shape[::-1], float)
    if rng.random() < how.near_cell:
        middle = centres[rng.integers(len(centres))] + rng.uniform(-reach, reach, 2)
    else:
        middle = rng.uniform(0, size)
    middle = np.clip(middle, np.minimum(reach, size / 2), np.maximum(size - reach, size / 2))
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(*np.log(how.scale)))
    aspect = np.exp(rng.uniform(-how.aspect, how.aspect))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([rng.choice([-1, 1]) * aspect, 1 / aspect]) / scale, middle


def picture_of(
    grey: Tensor,
    found: Statistics,
    matrix: np.ndarray,
    middle: np.ndarray,
    side: int,
    how: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    """A crop's pixels (side, side), in standard deviations about the image's median, and what is done to them.

    Args:
        grey: (h, w), the image in shares of its brightest pixel.
        matrix, middle: see `place_crop`.
    """
    median = max(found.median, DARK)
    # Beyond the image lies its median.
    seen = warped(grey - median, points_of(matrix, middle, side, 1), (0, 0)) + median
    gamma = np.exp(rng.uniform(-how.gamma, how.gamma))
    slope = gamma * median ** (gamma - 1)  # at the median, so that gamma bends and doesn't stretch
    seen = (np.clip(seen, 1e-3, 1) ** gamma - median**gamma) / (slope * found.spread)
    seen = seen * np.exp(rng.uniform(-how.gain, how.gain)) + rng.uniform(-how.offset, how.offset)
    if rng.random() < how.illuminated:
        field = torch.from_numpy(rng.normal(0, how.illumination, (1, 1, 3, 3)))
        seen = seen + F.interpolate(field, (side, side), mode="bicubic", align_corners=True)[0, 0].numpy()
    if rng.random() < how.blurred:
        seen = ndimage.gaussian_filter(seen, rng.uniform(*how.blur))
    if rng.random() < how.noisy:
        seen = seen + rng.normal(0, rng.uniform(0, how.noise), seen.shape)
    return seen.astype(np.float32)


def points_of(matrix: np.ndarray, middle: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Where in the image the crop's pixels, or cells of `stride` pixels, have their middles: (n, n, 2), (x, y)."""
    axis = (np.arange(side // stride) + 0.5) * stride - side / 2
    return np.stack(np.meshgrid(axis, axis), -1) @ matrix.T + middle


def warped(values: Tensor, points: np.ndarray, corner: tuple[float, float]) -> np.ndarray:
    """A picture (h, w) whose corner lies at `corner`, seen at points (n, n, 2), (x, y): float32 (n, n); 0 beyond it."""
    size = np.array(values.shape[::-1], float)
    grid = torch.from_numpy((2 * (points - corner) / size - 1).astype(np.float32))
    seen = F.grid_sample(values[None, None].float(), grid[None], mode="bilinear", align_corners=False)
    return seen[0, 0].numpy()
