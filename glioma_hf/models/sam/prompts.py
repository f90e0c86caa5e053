"""Prompts from what another model found: a point deep inside each instance, and its box."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glioma_hf.instances import Instances
from glioma_hf.models.sam.targets import cell_shapes
from glioma_hf.models.tiles import Tile, owned


def prompts_of(instances: Instances) -> np.ndarray:
    """Of each instance with a pixel (x, y) of a point deep inside it, and left, top, right, bottom of its box.

    Pixels' middles lie at whole numbers, as SAM has them: float32 (N, 6).
    """
    rows = []
    for start in range(0, len(instances), 256):  # their masks are in memory together
        for shape in cell_shapes(instances.select(slice(start, start + 256)), smallest=1):
            height, width = shape.mask.shape
            box = shape.left, shape.top, shape.left + width - 1, shape.top + height - 1
            rows.append((*shape.core(), *box))
    return np.array(rows, np.float32).reshape(-1, 6)


def in_tile(prompts: np.ndarray, tile: Tile, side: int, boxes: bool) -> Tensor:
    """Those prompts that a tile answers for, in its pixels: float32 (P, 2), with boxes, which end with it, (P, 6)."""
    columns = 6 if boxes else 2
    corner = np.tile(np.array([tile.left, tile.top], np.float32), columns // 2)
    scaled = (prompts[:, :columns] + 0.5) * np.float32(tile.scale) - 0.5 - corner
    found = owned(torch.from_numpy(scaled), tile)
    found[:, 2:] = found[:, 2:].clamp(0, side - 1)
    return found
