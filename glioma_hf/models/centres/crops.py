"""Random crops of annotated images, turned, scaled, and made darker, duller, dirtier or noisier, with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError
from glioma_hf.models.base import LabelledPixels, check_image
from glioma_hf.models.centres import targets
from glioma_hf.models.vision.config import STRIDE, Augmentation
from glioma_hf.models.vision.pictures import picture_of, place_crop, points_of, warped
from glioma_hf.models.vision.preprocess import Statistics, shares, statistics_of

LEAST_SEEN = 5  # cells of the heat map: of what a crop shows less, no mask is learned


@dataclass(frozen=True)
class _Image:
    grey: Tensor  # (h, w), shares of the brightest pixel
    found: Statistics
    cells: list[targets.Cell]
    centres: np.ndarray  # (N, 2), (x, y)
    boxes: np.ndarray  # (N, 4), left, top, right, bottom
    kinds: np.ndarray  # int64 (N,), their classes


class Crops(Dataset):
    """Crops of (image, instances) pairs; item i is the same in every run with the same seed.

    An item, with S the crop's side and s = S / 2: `crops` (1, S, S); `heat` (C, s, s), a map a class; `surface`
    (2, s, s); and for each of the K cells that are asked `cells` (K, 2), where, `kinds` (K,), its class, `masks`
    (K, window, window), and `inside`, of the same shape, 1 within the crop. Raises `InputError` for an image without a
    cell, or with one of a class that isn't among `classes` where there are any.
    """

    def __init__(
        self,
        images: Sequence[LabelledPixels],
        length: int,
        augmentation: Augmentation,
        side: int = 192,
        reach: int = 40,
        max_cells: int = 8,
        jitter: float = 0.5,
        seed: int = 0,
        classes: Sequence[str] = (),
    ):
        self.length, self.augmentation, self.seed = length, augmentation, seed
        self.side, self.reach, self.max_cells, self.jitter = side, reach, max_cells, jitter
        self.maps, self.images = max(1, len(classes)), []
        for number, (image, instances) in enumerate(images):
            cells = targets.cells_of(instances)
            if not cells:
                raise InputError(f"training image {number} has no annotated cell; choose another one")
            found = statistics_of(check_image(image))
            boxes = [(c.left, c.top, c.left + c.mask.shape[1], c.top + c.mask.shape[0]) for c in cells]
            grey = torch.from_numpy(shares(image, found))
            kinds = np.array([_class_of(cell, classes, number) for cell in cells])
            self.images.append(_Image(grey, found, cells, np.array([c.centre for c in cells]), np.array(boxes), kinds))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        image = self.images[int(rng.integers(len(self.images)))]
        matrix, middle = place_crop(image.grey.shape, image.centres, self.side, self.augmentation, rng)
        crop = picture_of(image.grey, image.found, matrix, middle, self.side, self.augmentation, rng)
        shown, masks = self._masks(image, matrix, middle)
        back = np.linalg.inv(matrix).T
        centres = (image.centres[shown] - middle) @ back + self.side / 2
        depths = [image.cells[i].depth * np.sqrt(abs(np.linalg.det(back))) for i in shown]
        kinds = image.kinds[shown]
        heat = [
            targets.heat_map(centres[kinds == k], list(np.array(depths)[kinds == k]), self.side // STRIDE)
            for k in range(self.maps)
        ]
        asked, cells, own, inside = self._asked(centres, depths, masks, rng)
        return {
            "crops": torch.from_numpy(crop)[None],
            "heat": torch.from_numpy(np.stack(heat)),
            "surface": torch.from_numpy(targets.surface(masks)),
            "cells": torch.from_numpy(cells),
            "kinds": torch.from_numpy(kinds[asked]),
            "masks": torch.from_numpy(own),
            "inside": torch.from_numpy(inside),
        }

    def _masks(self, image: _Image, matrix: np.ndarray, middle: np.ndarray) -> tuple[list[int], np.ndarray]:
        """The cells that the crop shows, and their soft masks (N, s, s) in cells of the heat map."""
        points = points_of(matrix, middle, self.side, STRIDE)
        low, high = points.min((0, 1)), points.max((0, 1))
        near = np.flatnonzero(((image.boxes[:, :2] < high) & (image.boxes[:, 2:] > low)).all(1))
        shown, masks = [], []
        for i in near:
            cell = image.cells[i]
            mask = warped(torch.from_numpy(cell.mask), points, (cell.left, cell.top))
            if (mask > 0.5).sum() >= LEAST_SEEN:
                shown.append(int(i))
                masks.append(mask)
        side = self.side // STRIDE
        return shown, np.stack(masks) if masks else np.zeros((0, side, side), np.float32)

    def _asked(
        self, centres: np.ndarray, depths: list[float], masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Some of the cells whose centres the crop shows: which, where they are asked, their masks, and what counts."""
        side, reach = self.side // STRIDE, self.reach
        window = 2 * reach + 1
        places = np.floor(centres / STRIDE).astype(np.int64).reshape(-1, 2)
        within = np.flatnonzero(((places >= 0) & (places < side)).all(1))
        chosen = rng.permutation(within)[: self.max_cells]
        wide = np.pad(masks, ((0, 0), (reach, reach), (reach, reach)))
        counted = np.pad(np.ones((side, side), np.float32), reach)
        cells = np.zeros((len(chosen), 2), np.int64)
        own, inside = np.zeros((2, len(chosen), window, window), np.float32)
        for row, number in enumerate(chosen):
            cells[row] = x, y = self._moved(places[number], centres[number], depths[number], masks[number], rng)
            own[row] = wide[number, y : y + window, x : x + window]
            inside[row] = counted[y : y + window, x : x + window]
        return chosen, cells, own, inside

    def _moved(
        self, place: np.ndarray, centre: np.ndarray, depth: float, mask: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """A cell of the heat map near a centre and in its mask: peaks will not lie where they should to the cell."""
        for _ in range(4):
            off = np.clip(rng.normal(0, self.jitter * targets.spread_of(depth), 2), -3, 3)
            moved = np.clip(np.floor(centre / STRIDE + off), 0, len(mask) - 1).astype(np.int64)
            if mask[moved[1], moved[0]] > 0.3:
                return moved
        return place


def _class_of(cell: targets.Cell, classes: Sequence[str], number: int) -> int:
    name = CATEGORIES[cell.category]
    if classes and name not in classes:
        raise InputError(
            f"training image {number} has a {name}, which the network doesn't tell from {', '.join(classes)}; "
            "leave types out of the recipe, or start from a model that knows it"
        )
    return classes.index(name) if classes else 0


def collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of items: crops stacked, cells of all crops in a row, with `owners` (K,), the crop of each."""
    owners = [torch.full((len(item["cells"]),), number) for number, item in enumerate(items)]
    batch = {name: torch.stack([item[name] for item in items]) for name in ("crops", "heat", "surface")}
    batch |= {name: torch.cat([item[name] for item in items]) for name in ("cells", "kinds", "masks", "inside")}
    return batch | {"owners": torch.cat(owners)}
