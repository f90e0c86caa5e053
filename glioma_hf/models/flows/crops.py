"""Random crops of annotated images with the flows and cells that are learned.

Where annotated cells share a pixel one of them has it: the first by annotation order, as the paper's models that need
label maps have it, or the last. Flows are those of the whole image, turned with the crop, as Cellpose does it: a cell
that a crop cuts flows where the whole cell does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.models.base import LabelledPixels, check_image
from glioma_hf.models.flows.dynamics import flows_of
from glioma_hf.models.vision.config import SHRINK, STRIDE
from glioma_hf.models.vision.pictures import picture_of, place_crop, points_of
from glioma_hf.models.vision.preprocess import Statistics, shares, statistics_of

LEAST = 12  # pixels as the network sees them: less of a cell is none

Priority = Literal["first", "last"]


@dataclass(frozen=True)
class SeenImage:
    """A training image as crops are cut from it."""

    grey: Tensor  # (h, w), on the scale that the network's crops are drawn on
    found: Statistics | None  # where drawing asks for them
    labels: np.ndarray  # int32 (h, w), of all classes, as the network sees them
    maps: np.ndarray  # float16 (3 C, h, w), see `maps_of`
    centres: np.ndarray  # (N, 2), (x, y) as the network sees them


class Crops(Dataset):
    """Crops of (image, instances) pairs as the light network sees them; item i is the same in every run with a seed.

    An item, with S the crop's side and s = S / `stride`: `crops` (1, S, S), `flows` (2 C, s, s), y and x of each
    class in turn, unit vectors or 0 and means of those, and `cells` (C, s, s), shares of pixels that are a cell's.
    Raises `InputError` for an image without a cell, or with one of a class that isn't among `classes` where there are
    any.
    """

    shrink, stride = SHRINK, STRIDE  # see `FlowNetwork`

    def __init__(
        self,
        images: Sequence[LabelledPixels],
        length: int,
        augmentation: Any,
        side: int = 192,
        priority: Priority = "first",
        seed: int = 0,
        classes: Sequence[str] = (),
    ):
        self.length, self.augmentation, self.side, self.seed = length, augmentation, side, seed
        self.images = []
        for number, (image, instances) in enumerate(images):
            labels = seen_labels(instances.to_label_map(priority), self.shrink)
            if not labels.any():
                raise InputError(f"training image {number} has no annotated cell; choose another one")
            grey, found = self._seen(check_image(image))
            layers = [seen_labels(each.to_label_map(priority), self.shrink) for each in of_classes(instances, classes)]
            self.images.append(SeenImage(grey, found, labels, maps_of(layers), middles_of(labels)))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        image = self.images[int(rng.integers(len(self.images)))]
        matrix, middle = self._place(image, rng)
        crop = self._picture(image, matrix, middle, rng)
        flows, cells = learned(image.maps, points_of(matrix, middle, self.side, 1), matrix, self.stride)
        return {
            "crops": torch.from_numpy(crop)[None],
            "flows": torch.from_numpy(flows),
            "cells": torch.from_numpy(cells),
        }

    def _seen(self, image: np.ndarray) -> tuple[Tensor, Statistics | None]:
        found = statistics_of(image)
        return torch.from_numpy(shares(image, found)), found

    def _place(self, image: SeenImage, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return place_crop(image.grey.shape, image.centres, self.side, self.augmentation, rng)

    def _picture(
        self, image: SeenImage, matrix: np.ndarray, middle: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        assert image.found is not None
        return picture_of(image.grey, image.found, matrix, middle, self.side, self.augmentation, rng)


def of_classes(instances: Instances, classes: Sequence[str]) -> list[Instances]:
    """The instances of each class; all as one where there are no classes. Raises `InputError` for one of none."""
    if not classes:
        return [instances]
    known = [CATEGORIES.index(name) for name in classes]
    others = [CATEGORIES[category] for category in instances.categories if category not in known]
    if others:
        raise InputError(
            f"a training image has a {others[0]}, which the network doesn't tell from {', '.join(classes)}; "
            "leave types out of the recipe, or start from a model that knows it"
        )
    return [instances.select(np.flatnonzero(instances.categories == category)) for category in known]


def seen_labels(labels: np.ndarray, shrink: int) -> np.ndarray:
    """A label map as a network sees it, every `shrink`th pixel of it, without what is too small to be a cell."""
    small = labels[::shrink, ::shrink]
    return np.where(np.bincount(small.ravel())[small] < LEAST, 0, small)


def maps_of(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Of label maps, one a class: y and x of each one's flows in turn, then 1 where each has a cell.

    float16 (3 C, h, w).
    """
    flows = [flows_of(labels) for labels in layers]
    return np.concatenate([*flows, np.stack(layers) > 0]).astype(np.float16)


def middles_of(labels: np.ndarray) -> np.ndarray:
    """Middles of the boxes of a label map's cells: float (N, 2), (x, y)."""
    boxes = [box for box in ndimage.find_objects(labels) if box is not None]
    return np.array([[(side.start + side.stop) / 2 for side in box[::-1]] for box in boxes]).reshape(-1, 2)


def at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values (..., h, w) at points (n, n, 2), (x, y), unmixed: (..., n, n); 0 beyond them."""
    x, y = np.floor(points).astype(np.int64).transpose(2, 0, 1)
    height, width = values.shape[-2:]
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    found: np.ndarray = values[..., y.clip(0, height - 1), x.clip(0, width - 1)] * inside.astype(values.dtype)
    return found


def learned(maps: np.ndarray, points: np.ndarray, matrix: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Flows (2 C, s, s) and shares of cells (C, s, s) of a crop, float32, in squares of `stride` pixels.

    Args:
        maps: (3 C, h, w) of the image, see `maps_of`.
        points: (S, S, 2), where in it the crop's pixels are, (x, y).
        matrix: see `place_crop`; flows are turned and stretched as the picture is.
    """
    there = at(maps, points).astype(np.float32)
    classes, side = len(maps) // 3, len(points) // stride
    flows = there[: 2 * classes].reshape(classes, 2, *there.shape[1:])[:, ::-1]
    flows = np.einsum("ij,cjhw->cihw", np.linalg.inv(matrix).astype(np.float32), flows)[:, ::-1]
    flows = flows / np.maximum(np.sqrt((flows**2).sum(1, keepdims=True)), 1e-6)

    def shared(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = values.reshape(-1, side, stride, side, stride).mean((2, 4), dtype=np.float32)
        return means

    return shared(flows), shared(there[2 * classes :])
