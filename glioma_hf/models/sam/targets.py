"""From `Instances` to what SAM is trained on: prompts inside cells, small masks, a heat map of cores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from glioma_hf.instances import Instances

HEAT_STRIDE = 4  # pixels of the tile per cell of the heat map, with patches of 8 pixels


@dataclass(frozen=True)
class CellShape:
    """One cell of a tile: its mask in its box, the box's corner, and its depth (distance to the edge)."""

    mask: np.ndarray
    top: int
    left: int
    depth: np.ndarray

    def core(self) -> tuple[float, float]:
        """(x, y) of the point deepest inside the cell, the nearer to its middle the better."""
        rows, columns = np.nonzero(self.depth >= 0.75 * self.depth.max())
        middle = np.argwhere(self.mask).mean(0)
        best = np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2)
        return float(columns[best] + self.left), float(rows[best] + self.top)

    def inner_point(self, rng: np.random.Generator, share: float = 0.2) -> tuple[float, float]:
        """(x, y) drawn from the innermost `share` of the cell's pixels by distance transform (CellSeg1)."""
        limit = np.quantile(self.depth[self.mask], 1 - share)
        rows, columns = np.nonzero(self.mask & (self.depth >= limit))
        pick = rng.integers(len(rows))
        return float(columns[pick] + self.left), float(rows[pick] + self.top)


def cell_shapes(instances: Instances, smallest: int = 40) -> list[CellShape]:
    """The cells of a tile with at least `smallest` pixels in it."""
    shapes = []
    for mask, (top, left) in instances.box_masks():
        if mask.sum() >= smallest:
            depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            shapes.append(CellShape(mask, top, left, depth))
    return shapes


def heat_map(shapes: list[CellShape], tile: int, stride: int = HEAT_STRIDE) -> np.ndarray:
    """Gaussians of height 1 at the cells' cores: float32 (tile / stride, tile / stride).

    Their spread grows with the cell, so that in a large cell a core found a little off costs little.
    """
    side = tile // stride
    heat = np.zeros((side, side), np.float32)
    axis = np.arange(side)
    for shape in shapes:
        x, y = shape.core()
        column, row = int(x) // stride, int(y) // stride
        spread = np.clip(0.35 * shape.depth.max() / stride, 0.8, 2.5)
        bump = np.exp(-((axis[:, None] - row) ** 2 + (axis[None] - column) ** 2) / (2 * spread**2))
        np.maximum(heat, bump.astype(np.float32), out=heat)
    return heat


def low_resolution_mask(shape: CellShape, tile: int, side: int) -> np.ndarray:
    """The cell's mask in the tile shrunk to side x side pixels by averaging: float32 in 0 ... 1."""
    full = np.zeros((tile, tile), np.float32)
    full[shape.top : shape.top + shape.mask.shape[0], shape.left : shape.left + shape.mask.shape[1]] = shape.mask
    factor = tile // side
    return full.reshape(side, factor, side, factor).mean((1, 3))


def background_points(shapes: list[CellShape], tile: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(x, y) of `count` pixels in no cell: float32 (count, 2), or none where the cells fill the tile."""
    covered = np.zeros((tile, tile), bool)
    for shape in shapes:
        window = slice(shape.top, shape.top + shape.mask.shape[0]), slice(shape.left, shape.left + shape.mask.shape[1])
        covered[window] |= shape.mask
    rows, columns = np.nonzero(~covered)
    if not len(rows):
        return np.zeros((0, 2), np.float32)
    picked = rng.integers(len(rows), size=count)
    return np.stack([columns[picked], rows[picked]], 1).astype(np.float32)
