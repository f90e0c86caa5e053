"""What a U-Net learns from: images with their foreground, resized or cut out, held ready so that none is read twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from glioma_hf.errors import InputError
from glioma_hf.metrics.foreground import foreground
from glioma_hf.models.base import LabelledPixels, check_image
from glioma_hf.models.unet.pixels import as_tensor, normalised, padded, raised, resized
from glioma_hf.models.unet.recipe import Augmentation, UNetRecipe

OUTSIDE = -1.0  # in a mask: no pixel of the image

Window = tuple[int, int, int, int]  # top, left, height, width


class Pairs(Dataset):
    """Images and masks in random order; item i is the same in every run with a seed.

    An item: `images` (C, h, w), see `pixels`, and `masks` (h, w), 1 where a cell is, 0 where none is, -1 beyond the
    image. Every image is seen once before any is seen again.

    Images are kept as 8-bit values with their contrast raised: resized already, where nothing is cut from them, or as
    large as they are. Raises `InputError` for an image without a cell, and a mask of another size.
    """

    def __init__(
        self, images: Sequence[LabelledPixels], length: int, recipe: UNetRecipe, percentiles: tuple[float, float]
    ):
        self.length, self.recipe = length, recipe
        self.whole = recipe.method == "resize" and recipe.augmentation.crop_sides is None
        self.images: list[tuple[Tensor, Tensor]] = []
        for number, (pixels, instances) in enumerate(images):
            pixels = check_image(pixels)
            if pixels.shape[:2] != instances.size:
                raise InputError(
                    f"training image {number} is of {pixels.shape[1]} x {pixels.shape[0]} pixels, its masks are of "
                    f"{instances.size[1]} x {instances.size[0]}; give those of the same image"
                )
            mask = foreground(instances)
            if not mask.any():
                raise InputError(f"training image {number} has no annotated cell; choose another one")
            image = as_tensor(raised(pixels, percentiles))
            self.images.append(self._kept(image, torch.from_numpy(mask)[None]))
        self.colours = any(len(image) == 3 for image, _ in self.images)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        epoch, place = divmod(index, len(self.images))
        order = np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.images))
        rng = np.random.default_rng((self.recipe.seed, epoch, place))
        image, mask = self.images[order[place]]
        image, mask = self._cut(image, mask, rng)
        image, mask = _varied(image, mask, self.recipe.augmentation, rng)
        seen = padded(normalised(image))
        beyond = (0, seen.shape[-1] - mask.shape[-1], 0, seen.shape[-2] - mask.shape[-2])
        return {
            "images": seen.expand(3, -1, -1) if self.colours else seen,
            "masks": F.pad(mask[0].float(), beyond, value=OUTSIDE),
        }

    def _kept(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As it stays in memory."""
        if not self.whole or self.recipe.resolution is None:
            return image, mask
        return resized(image, self.recipe.resolution).round().byte(), resized(mask, self.recipe.resolution) > 0

    def _cut(self, image: Tensor, mask: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """What is seen of an image, at the resolution: values 0 ... 255 (C, h, w) and a mask (1, h, w)."""
        resolution = self.recipe.resolution
        if self.whole or resolution is None:
            return image.float(), mask
        height, width = image.shape[-2:]
        sides = self.recipe.augmentation.crop_sides
        if sides is None:
            window = _placed(image.shape[-2:], (min(resolution[1], height), min(resolution[0], width)), rng)
            image, mask = (_at(each, window) for each in (image, mask))
            missing = (0, resolution[0] - image.shape[-1], 0, resolution[1] - image.shape[-2])
            return F.pad(image.float()[None], missing, mode="replicate")[0], mask
        share = rng.uniform(*sides)
        window = _placed(image.shape[-2:], (max(1, round(share * height)), max(1, round(share * width))), rng)
        return resized(_at(image, window), resolution), resized(_at(mask, window), resolution) > 0


def collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch; items of several sizes are padded to the largest."""
    height, width = (max(item["masks"].shape[axis] for item in items) for axis in (0, 1))
    batch: dict[str, list[Tensor]] = {"images": [], "masks": []}
    for item in items:
        beyond = (0, width - item["masks"].shape[1], 0, height - item["masks"].shape[0])
        batch["images"].append(F.pad(item["images"][None], beyond, mode="replicate")[0])
        batch["masks"].append(F.pad(item["masks"], beyond, value=OUTSIDE))
    return {name: torch.stack(each) for name, each in batch.items()}


def _placed(size: Sequence[int], sides: tuple[int, int], rng: np.random.Generator) -> Window:
    """A window of so many rows and columns somewhere in an image."""
    top, left = (int(rng.integers(length - side + 1)) for length, side in zip(size, sides, strict=True))
    return top, left, *sides


def _at(values: Tensor, window: Window) -> Tensor:
    top, left, height, width = window
    return values[:, top : top + height, left : left + width]


def _varied(image: Tensor, mask: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Turned over, sharper, of more contrast: each for every other image, where it is asked for."""
    if augmentation.flips:
        axes = [axis for axis in (1, 2) if rng.random() < 0.5]
        image, mask = image.flip(axes), mask.flip(axes)
    if augmentation.sharpness and rng.random() < 0.5:
        blurred = F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
        image = (image + rng.uniform(0, augmentation.sharpness) * (image - blurred)).clamp(0, 255)
    if augmentation.contrast and rng.random() < 0.5:
        mean = image.mean()
        image = ((image - mean) * (1 + rng.uniform(0, augmentation.contrast)) + mean).clamp(0, 255)
    return image, mask
