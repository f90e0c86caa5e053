"""From any microscope image to what SAM's encoder expects, the same in training and prediction."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SAM_MEAN = torch.tensor([0.485, 0.456, 0.406])
SAM_STD = torch.tensor([0.229, 0.224, 0.225])


def raise_contrast(image: np.ndarray) -> np.ndarray:
    """Grey values with the background at 0.5 and the 0.5 to 99.5 percentile range as wide as 1.

    Args:
        image: (H, W) or (H, W, channels), of any numeric type.

    Returns: float32 (H, W), clipped to 0 ... 1. Phase contrast images are mostly background, so their
    median is its grey value; anchoring there makes microscopes and exposures alike.
    """
    grey = np.asarray(image, np.float32)
    if grey.ndim == 3:
        grey = grey[..., :3].mean(2)
    low, middle, high = np.percentile(grey, [0.5, 50, 99.5])
    return np.clip(0.5 + (grey - middle) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def to_pixels(tiles: Tensor) -> Tensor:
    """Contrast-raised grey tiles (B, S, S) -> SAM's normalised colour input (B, 3, S, S)."""
    colour = tiles[:, None].expand(-1, 3, -1, -1)
    mean, std = SAM_MEAN.to(tiles.device), SAM_STD.to(tiles.device)
    return (colour - mean[:, None, None]) / std[:, None, None]
