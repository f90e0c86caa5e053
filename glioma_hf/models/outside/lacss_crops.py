"""Crops that LACSS learns from: pixels, cells' places, and their masks in boxes, which may overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.transform import resize

from glioma_hf.instances import Instances
from glioma_hf.models.base import LabelledPixels
from glioma_hf.models.outside.wrapped import grey_float

MASK = 48  # pixels of a side of a mask in its box

Crop = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Crops:
    """Random windows of annotated images, scaled, turned and mirrored, the same for the same seed.

    Args:
        scale: at which images are seen.
        side: of a crop, in pixels as it is seen.
        cells: most of a crop; others are left out.
    """

    def __init__(self, images: Sequence[LabelledPixels], scale: float, side: int, cells: int, seed: int):
        self.images = [(_standardised(grey_float(image)), instances) for image, instances in images]
        self.scale, self.side, self.cells, self.rng = scale, side, cells, np.random.default_rng(seed)

    def batch(self, number: int) -> Crop:
        """Several crops, each array stacked; see `one`."""
        parts = zip(*(self.one() for _ in range(number)), strict=True)
        image, places, masks, boxes = (np.stack(part) for part in parts)
        return image, places, masks, boxes

    def one(self) -> Crop:
        """Pixels (S, S, 3), places (N, 2), masks (N, MASK, MASK) and boxes (N, 4): y first; places of none are -1."""
        pixels, instances = self.images[self.rng.integers(len(self.images))]
        length = max(1, round(self.side / self.scale))
        top, left = (int(self.rng.integers(max(0, n - length) + 1)) for n in pixels.shape)
        window = pixels[top : top + length, left : left + length]
        size = [min(self.side, max(1, round(n * self.scale))) for n in window.shape]
        view = np.zeros((self.side, self.side), np.float32)
        view[: size[0], : size[1]] = resize(window, size, order=1, anti_aliasing=self.scale < 1)
        places, masks, boxes = self._cells(instances.crop(top, left, *window.shape))
        return self._turned(np.repeat(view[..., None], 3, 2), places, masks, boxes)

    def _cells(self, inside: Instances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.full((self.cells, 2), -1.0, np.float32)
        masks = np.zeros((self.cells, MASK, MASK), np.float32)
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (self.cells, 1))  # none's: not empty, or it divides by 0
        kept = inside.select(~inside.crowd)
        kept = kept.select(self.rng.permutation(len(kept))[: self.cells])
        for number, (mask, corner) in enumerate(kept.box_masks()):
            middle = np.argwhere(mask).mean(0) + 0.5 + corner
            places[number] = middle * self.scale
            boxes[number] = np.array([*corner, corner[0] + mask.shape[0], corner[1] + mask.shape[1]]) * self.scale
            masks[number] = resize(mask.astype(np.float32), (MASK, MASK), order=1) > 0.5
        return places, masks, boxes

    def _turned(self, image: np.ndarray, places: np.ndarray, masks: np.ndarray, boxes: np.ndarray) -> Crop:
        there = places[:, :1] >= 0
        for axis in (0, 1):
            if self.rng.integers(2):
                image, masks = np.flip(image, axis), np.flip(masks, axis + 1)
                places, boxes = places.copy(), boxes.copy()
                places[:, axis] = self.side - places[:, axis]
                boxes[:, [axis, axis + 2]] = self.side - boxes[:, [axis + 2, axis]]
        if self.rng.integers(2):
            image, masks = image.swapaxes(0, 1), masks.swapaxes(1, 2)
            places, boxes = places[:, ::-1], boxes[:, [1, 0, 3, 2]]
        places = np.where(there, places, np.float32(-1))
        return tuple(np.ascontiguousarray(part) for part in (image, places, masks, boxes))  # type: ignore[return-value]


def _standardised(grey: np.ndarray) -> np.ndarray:
    """As the package's predictor has an image: in standard deviations about its mean."""
    grey = grey / np.float32(grey.std() + 1e-4)
    return np.asarray(grey - grey.mean(), np.float32)
