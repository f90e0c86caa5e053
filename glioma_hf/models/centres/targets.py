"""From `Instances` to what is learned: centres, soft masks that may overlap, a heat map, foreground and boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from glioma_hf.instances import Instances
from glioma_hf.models.vision.config import SHRINK, STRIDE
from glioma_hf.models.vision.preprocess import shrunk

LEAST = 12  # pixels as the network sees them: a smaller cell is none
BUMP = 0.4  # spread of a centre's bump, in depths of its cell
BUMPS = (1.0, 3.0)  # its least and greatest spread in cells of the heat map


@dataclass(frozen=True)
class Cell:
    """A cell in pixels as the network sees them.

    Attributes:
        mask: float32 (h, w), shares of pixels, in its box.
        top, left: of the box.
        centre: (x, y) of the pixel that lies deepest in the cell, its middle.
        depth: from there to the edge.
        category: as the instances have it.
    """

    mask: np.ndarray
    top: int
    left: int
    centre: tuple[float, float]
    depth: float
    category: int


def cells_of(instances: Instances) -> list[Cell]:
    """The cells that are large enough, in order."""
    cells = []
    for (mask, (top, left)), category in zip(instances.box_masks(), instances.categories.tolist(), strict=True):
        # To whole pixels as the network sees them, with one more around.
        before = (top % SHRINK + SHRINK, left % SHRINK + SHRINK)
        after = [SHRINK + -(start + side) % SHRINK for start, side in zip((top, left), mask.shape, strict=True)]
        soft = shrunk(np.pad(mask, list(zip(before, after, strict=True))), SHRINK)
        inside = soft > 0.5
        if inside.sum() < LEAST:
            continue
        depth = ndimage.distance_transform_edt(inside)
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        corner = top // SHRINK - 1, left // SHRINK - 1
        centre = column + corner[1] + 0.5, row + corner[0] + 0.5
        cells.append(Cell(soft, *corner, centre, float(depth.max()), category))
    return cells


def spread_of(depth: float) -> float:
    """Spread of the bump of a cell that is `depth` pixels deep, in cells of the heat map."""
    return float(np.clip(BUMP * depth / STRIDE, *BUMPS))


def heat_map(centres: np.ndarray, depths: Sequence[float], side: int) -> np.ndarray:
    """Gaussians of height 1 at centres: float32 (side, side).

    Args:
        centres: (N, 2), (x, y) in pixels of the crop; those outside it get none.
        depths: of their cells.
        side: in cells of the heat map.
    """
    heat = np.zeros((side, side), np.float32)
    axis = np.arange(side)
    for (x, y), depth in zip(np.floor(centres / STRIDE).astype(int), depths, strict=True):
        if 0 <= x < side and 0 <= y < side:
            bump = np.exp(-((axis[:, None] - y) ** 2 + (axis - x) ** 2) / (2 * spread_of(depth) ** 2))
            np.maximum(heat, bump.astype(np.float32), out=heat)
    return heat


def surface(masks: np.ndarray) -> np.ndarray:
    """Foreground, and pixels on either side of a cell's edge, of soft masks (N, s, s): float32 (2, s, s)."""
    side = masks.shape[-1]
    if not len(masks):
        return np.zeros((2, side, side), np.float32)
    inside, edge = masks > 0.5, np.zeros((side, side), bool)
    across = (inside[:, :, 1:] != inside[:, :, :-1]).any(0)
    down = (inside[:, 1:] != inside[:, :-1]).any(0)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return np.stack([masks.max(0), edge.astype(np.float32)])
