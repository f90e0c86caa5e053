"""Random crops of annotated images, turned, scaled and brightened, with CellSeg1's points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.models.sam import targets
from glioma_hf.models.sam.preprocess import raise_contrast

CELL, BACKGROUND, PADDING = 1, 0, -1


@dataclass(frozen=True)
class PromptCropSettings:
    """Augmentation and points; the values are CellSeg1's where it says any."""

    tile: int = 256
    mask_side: int = 128  # pixels of the decoder's masks
    heat_side: int = 64  # of the heat map of cores
    scale: tuple[float, float] = (0.5, 1.5)
    brightness: float = 0.15
    contrast: float = 0.3
    max_cells: int = 16  # points in cells per crop
    max_background: int = 30  # points outside; half as many as cells, at least one


class PromptCrops(Dataset):
    """Crops of (image, instances) pairs; item i is the same in every run with the same seed.

    An item: `tiles` (S, S); `points` (P, 2); `kind` (P,) of CELL, BACKGROUND and PADDING; `masks`
    (P, m, m); `heat` (h, h), with `mask_side` m and `heat_side` h. A point in two cells is a positive for the
    cell it was drawn for: overlaps are kept. Raises `InputError` for an image without a cell.
    """

    def __init__(
        self,
        images: Sequence[tuple[np.ndarray, Instances]],
        length: int,
        settings: PromptCropSettings | None = None,
        seed: int = 0,
    ):
        self.settings = settings or PromptCropSettings()
        self.length, self.seed = length, seed
        self.pictures = [raise_contrast(image) for image, _ in images]
        self.outlines = []
        for number, (_, instances) in enumerate(images):
            polygons = [p for p in instances.to_polygons() if p]
            if not polygons:
                raise InputError(f"training image {number} has no annotated cell; choose another one")
            self.outlines.append([[np.asarray(part).reshape(-1, 2) for part in parts] for parts in polygons])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        number = index % len(self.pictures)
        tile, cells = self._warp(self.pictures[number], self.outlines[number], rng)
        shapes = targets.cell_shapes(cells)
        points, kind, masks = self._prompts(shapes, rng)
        return {
            "tiles": torch.from_numpy(tile),
            "points": torch.from_numpy(points),
            "kind": torch.from_numpy(kind),
            "masks": torch.from_numpy(masks),
            "heat": torch.from_numpy(
                targets.heat_map(shapes, self.settings.tile, self.settings.tile // self.settings.heat_side)
            ),
        }

    def _warp(
        self, picture: np.ndarray, outlines: list[list[np.ndarray]], rng: np.random.Generator
    ) -> tuple[np.ndarray, Instances]:
        """A crop around a random point, turned by any angle, mirrored or not, scaled, with its cells."""
        settings, side = self.settings, self.settings.tile
        angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(*settings.scale)
        mirror = 1 if rng.random() < 0.5 else -1
        c, s = np.cos(angle), np.sin(angle)
        forward = scale * np.array([[c, -s], [mirror * s, mirror * c]])  # (x, y) of the image -> of the crop
        reach = side / scale / 2
        limits = np.array(picture.shape[::-1], float)
        low, high = np.minimum(reach * 0.6, limits / 2), np.maximum(limits - reach * 0.6, limits / 2)
        centre = rng.uniform(low, high)
        back = np.linalg.inv(forward)
        # ndimage speaks (row, column) of pixel centres; outlines (x, y) of pixel corners.
        swap = back[::-1, ::-1]
        offset = centre[::-1] - 0.5 - swap @ np.full(2, side / 2 - 0.5)
        tile = ndimage.affine_transform(picture, swap, offset, (side, side), np.float32, order=1, mode="reflect")
        tile = 0.5 + (tile - 0.5) * rng.uniform(1 - settings.contrast, 1 + settings.contrast)
        tile = np.clip(tile + rng.uniform(-settings.brightness, settings.brightness), 0, 1).astype(np.float32)
        moved = []
        for parts in outlines:
            placed = [(part - centre) @ forward.T + side / 2 for part in parts]
            if any((p.max(0) > 0).all() and (p.min(0) < side).all() for p in placed):
                moved.append([p.ravel().tolist() for p in placed])
        return tile, Instances.from_polygons(moved, (side, side))

    def _prompts(
        self, shapes: list[targets.CellShape], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        settings, side = self.settings, self.settings.mask_side
        chosen = [shapes[i] for i in rng.permutation(len(shapes))[: settings.max_cells]]
        count = min(max(1, len(chosen) // 2), settings.max_background)
        outside = targets.background_points(shapes, settings.tile, count, rng)
        total = settings.max_cells + min(max(1, settings.max_cells // 2), settings.max_background)
        points = np.zeros((total, 2), np.float32)
        kind = np.full(total, PADDING, np.int64)
        masks = np.zeros((total, side, side), np.float32)
        for row, shape in enumerate(chosen):
            points[row] = shape.inner_point(rng)
            kind[row] = CELL
            masks[row] = targets.low_resolution_mask(shape, settings.tile, side)
        points[len(chosen) : len(chosen) + len(outside)] = outside
        kind[len(chosen) : len(chosen) + len(outside)] = BACKGROUND
        return points, kind, masks
