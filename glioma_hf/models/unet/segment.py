"""From an image to the chance of each pixel's being a cell's, and from that to instances, which don't overlap.

Memory grows with the image: some 20 bytes a pixel, and in the network some 200 of what it sees at once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed
from torch import Tensor

from glioma_hf.instances import Instances
from glioma_hf.metrics.pixel_dice import check_resolution
from glioma_hf.models.base import Pixels, PixelSegmenter, Settings, check_image
from glioma_hf.models.device import has_fast_bfloat16, lay_out
from glioma_hf.models.tiles import fitted_tiles
from glioma_hf.models.unet.network import UNet
from glioma_hf.models.unet.pixels import as_tensor, normalised, padded, padding_told, raised, resized
from glioma_hf.models.vision.config import COARSEST
from glioma_hf.models.vision.scaled import ScaledSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore

SHARED = 256  # pixels of which two windows that meet see the same, where an image is too large for one


class UNetSettings(Settings):
    """How pixels become cells; thresholds are to be chosen on validation data."""

    mask_thresh: float = Field(0.5, ge=0, le=1)  # chance from which a pixel is a cell's
    score_thresh: float = Field(0.0, ge=0, le=1)  # mean chance of a cell's pixels
    min_area: int = Field(80, ge=0, le=2**28)  # pixels
    # What a cell is: a connected part of those pixels, or the part of one about a place that is far from its edge.
    split: Literal["connected", "distance"] = "connected"
    split_distance: float = Field(0.4, ge=0.01, le=10)  # least distance of two such places, in diameters of a cell
    scale: float = Field(1.0, ge=0.05, le=20)  # at which the image is seen
    cell_diameter: float = Field(50.0, gt=0, le=10**5)  # pixels: the circle of the area of cells in training
    tile: int = Field(3072, ge=512, le=16384, multiple_of=COARSEST)  # largest side of what is seen at once


class Found:
    """Cells made of a probability map, best score first, before `UNetSettings` choose among them."""

    def __init__(self, candidates: Instances):
        assert candidates.scores is not None
        order = np.argsort(-candidates.scores, kind="stable")
        rles = [candidates.rles[i] for i in order]
        self.candidates = Instances.from_rles(rles, candidates.size, scores=candidates.scores[order])

    def kept(self, settings: UNetSettings) -> np.ndarray:
        """Which cells remain, in order of rank: their places, (K,)."""
        assert self.candidates.scores is not None
        good = (self.candidates.scores >= settings.score_thresh) & (self.candidates.areas >= settings.min_area)
        return np.flatnonzero(good)


class UNetSegmenter(ScaledSegmenter, PixelSegmenter):
    """A `PixelSegmenter` around a U-Net, and a `Segmenter` of the connected parts that it sees.

    Example:
        segmenter = load_segmenter("unet_folder")
        chance = segmenter.probability(image)                       # float32 (H, W)
        cells = segmenter.with_settings(split="distance").segment(image)
    """

    settings: UNetSettings

    def __init__(self, network: UNet, settings: UNetSettings | None = None):
        self.network, self.settings = network.eval(), settings or UNetSettings()
        self.device = next(network.parameters()).device
        self.fast = has_fast_bfloat16(self.device)
        lay_out(self.network)

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """See `Segmenter`."""
        image = check_image(image)
        found = self.found(self.probability(image, on_progress))
        best = found.candidates.select(found.kept(self.settings))
        return Instances.from_rles(best.rles, best.size, scores=best.scores)

    def probability(self, image: np.ndarray, on_progress: OnProgress = ignore) -> np.ndarray:
        """See `PixelSegmenter`: the image is seen at the settings' scale."""
        image = check_image(image)
        height, width = image.shape[:2]
        seen = max(1, round(width * self.settings.scale)), max(1, round(height * self.settings.scale))
        chances = self._chances(image, seen, on_progress)
        return resized(torch.from_numpy(chances)[None], (width, height))[0].numpy()

    def probability_at(
        self, image: np.ndarray, resolution: tuple[int, int], on_progress: OnProgress = ignore
    ) -> np.ndarray:
        """See `PixelSegmenter`; a resolution that isn't a multiple of 32 is padded, which is told.

        Raises `InputError` for what is no resolution.
        """
        resolution = check_resolution(resolution)
        if told := padding_told(resolution):
            on_progress(Progress(told))
        return self._chances(check_image(image), resolution, on_progress)

    @torch.inference_mode()
    def _chances(self, image: np.ndarray, resolution: tuple[int, int], on_progress: OnProgress) -> np.ndarray:
        """float32 (height, width) of an image resized to a resolution."""
        width, height = resolution
        pixels = resized(as_tensor(raised(image, self.network.design.percentiles)), resolution)
        pixels = padded(normalised(pixels))
        tiles, sides = fitted_tiles(pixels.shape[-2:], self.settings.tile, SHARED, COARSEST)
        chances = np.empty(pixels.shape[-2:], np.float32)
        for done, tile in enumerate(tiles, start=1):
            seen = padded(pixels[:, tile.top : tile.top + sides[0], tile.left : tile.left + sides[1]])
            found = self._look(seen[None].to(self.device)).cpu().numpy()
            ends = [np.clip(end, 0, length) for end, length in zip(tile.own, chances.shape * 2, strict=True)]
            top, left, bottom, right = map(round, ends)
            rows, columns = slice(top - tile.top, bottom - tile.top), slice(left - tile.left, right - tile.left)
            chances[top:bottom, left:right] = found[rows, columns]
            on_progress(Progress(done=done, total=len(tiles)))
        return np.ascontiguousarray(chances[:height, :width])

    def found(self, probability: np.ndarray) -> Found:
        """The cells that a map (H, W) makes at the chance from which a pixel is a cell's."""
        labels = self._labels(probability >= self.settings.mask_thresh)
        cells = Instances.from_label_map(labels)
        sums = np.bincount(labels.ravel(), probability.ravel())[cells.ids]
        scores = np.clip(sums / np.maximum(cells.areas, 1), 0, 1)
        return Found(Instances.from_rles(cells.rles, cells.size, scores=scores))

    def _labels(self, mask: np.ndarray) -> np.ndarray:
        """int32 (H, W): a number for each cell."""
        parts, number = ndimage.label(mask, np.ones((3, 3)))
        if self.settings.split == "connected" or not number:
            return np.asarray(parts, np.int32)
        diameter = self.settings.cell_diameter
        depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), diameter / 16)
        apart = max(1, round(self.settings.split_distance * diameter))
        peaks = peak_local_max(depth, min_distance=apart, labels=parts, exclude_border=False)
        seeds = np.zeros(mask.shape, np.int32)
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return np.asarray(watershed(-depth, seeds, mask=mask), np.int32)

    def _look(self, pixels: Tensor) -> Tensor:
        """Chances (H, W) of an image (1, C, H, W)."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            return self.network(pixels)[0].sigmoid()
