"""From any image to what a U-Net sees, the same in training and prediction: contrast raised, resized, padded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.models.vision.config import COARSEST

SAMPLED = 2**20  # pixels, about, of which percentiles are taken
MEAN, SPREAD = 0.45, 0.225  # of ImageNet's pixels, all channels alike


def raised(image: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """An image with its contrast raised: uint8 (H, W), or (H, W, 3) where it has colours.

    Args:
        image: (H, W) or (H, W, channels); those after the third are alpha, and two are taken for one.
        percentiles: of all values, which become 0 and 255.
    """
    image = image[..., :3] if image.ndim == 3 else image
    if image.ndim == 3 and image.shape[2] != 3:
        image = image.mean(2, dtype=np.float32)
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / SAMPLED)))
    low, high = np.percentile(image[::step, ::step], percentiles)
    factor = 255 / (high - low) if high > low else 0.0
    values = (image.astype(np.float32) - np.float32(low)) * np.float32(factor)
    return values.round().clip(0, 255).astype(np.uint8)


def as_tensor(image: np.ndarray) -> Tensor:
    """uint8 (H, W) or (H, W, 3) -> uint8 (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image[None] if image.ndim == 2 else image.transpose(2, 0, 1)))


def resized(image: Tensor, resolution: tuple[int, int]) -> Tensor:
    """(C, H, W) of any type, resized as `metrics.pixel_dice.resize_bilinear` does: float32 (C, height, width)."""
    width, height = resolution
    if image.shape[-2:] == (height, width):
        return image.float()
    return F.interpolate(image[None].float(), (height, width), mode="bilinear", align_corners=False)[0]


def normalised(image: Tensor) -> Tensor:
    """Values 0 ... 255 as the encoders were given ImageNet's."""
    return (image / 255 - MEAN) / SPREAD


def padded(image: Tensor, step: int = COARSEST) -> Tensor:
    """(C, H, W) with its last column and row repeated until its sides are multiples of `step`."""
    below, right = (-side % step for side in image.shape[-2:])
    return F.pad(image[None], (0, right, 0, below), mode="replicate")[0] if below or right else image


def padding_told(resolution: tuple[int, int], step: int = COARSEST) -> str:
    """What is said of a resolution that isn't a multiple of the stride; "" of one that is.

    >>> padding_told((704, 500))
    '704 x 500 pixels are no multiples of 32: padded to 704 x 512'
    """
    width, height = (-(-side // step) * step for side in resolution)
    if (width, height) == tuple(resolution):
        return ""
    return f"{resolution[0]} x {resolution[1]} pixels are no multiples of {step}: padded to {width} x {height}"
