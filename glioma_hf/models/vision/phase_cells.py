"""DeepSea as it is: the cells that its network finds in phase-contrast images, without training.

Its map of cells at a uniform scale, cut at a half and taken apart by connection, and where that is asked for by its
map of the edges between cells that touch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from skimage.segmentation import watershed
from torch.nn import functional as F

from glioma_hf.instances import Instances
from glioma_hf.models.base import Pixels, Settings, check_image
from glioma_hf.models.device import best_device
from glioma_hf.models.vision.config import SHRINK
from glioma_hf.models.vision.phase_features import PhaseFeatures
from glioma_hf.models.vision.preprocess import resized, standardised, statistics_of
from glioma_hf.models.vision.scaled import ScaledSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore

DIAMETER = 46.0  # pixels: of the cells at which its scale was chosen


class PhaseSettings(Settings):
    """Which parts of DeepSea's map are cells."""

    score_thresh: float = Field(0.5, ge=0, le=1)  # mean chance of its pixels
    mask_thresh: float = Field(0.5, gt=0, lt=1)  # chance from which a pixel is a cell's
    edge_weight: float = Field(0.0, ge=0, le=10)  # of the chance of an edge, which parts cells that touch; 0: unread
    min_area: int = Field(80, ge=0, le=2**28)  # pixels
    min_depth: float = Field(4.0, ge=0, le=10**4)  # pixels from its middle to its edge: strips along borders are none
    scale: float = Field(1.0, ge=0.05, le=20)  # at which the image is seen
    cell_diameter: float = Field(DIAMETER, gt=0, le=10**5)


class PhaseSegmenter(ScaledSegmenter):
    """A `Segmenter` around `PhaseFeatures`, whose cells don't overlap."""

    def __init__(self, network: PhaseFeatures, settings: PhaseSettings | None = None):
        self.network, self.settings = network.to(best_device()).eval(), settings or PhaseSettings()
        self.device = next(network.parameters()).device

    def lengths(self, factor: float) -> dict[str, Any]:
        """See `ScaledSegmenter`."""
        return {"min_depth": self.settings.min_depth * factor}

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first; see `Segmenter`."""
        cells = self.found(self.maps(image))
        on_progress(Progress(done=1, total=1))
        return cells

    def maps(self, image: Pixels) -> np.ndarray:
        """The chances of a cell and of an edge at each pixel of an image: float32 (2, H, W)."""
        image = check_image(image)
        view = image if self.settings.scale == 1 else resized(image, self.settings.scale)
        grey = torch.from_numpy(standardised(view, statistics_of(view))).to(self.device)
        chances = torch.sigmoid(self.network.cells(grey[None, None]).float())
        whole = F.interpolate(chances, [SHRINK * side for side in grey.shape], mode="bilinear")
        whole = whole[..., : view.shape[0], : view.shape[1]]
        resized_maps: np.ndarray = F.interpolate(whole, image.shape[:2], mode="bilinear")[0].cpu().numpy()
        return resized_maps

    def found(self, maps: np.ndarray) -> Instances:
        """The cells of an image by its maps, best score first."""
        settings, (found, edges) = self.settings, maps
        size = (maps.shape[1], maps.shape[2])
        masks, scores = [], []
        labels, _ = ndimage.label(found > settings.mask_thresh)
        if settings.edge_weight:
            seeds, _ = ndimage.label(found - settings.edge_weight * edges > settings.mask_thresh)
            seeds[np.bincount(seeds.ravel())[seeds] < np.pi * settings.min_depth**2] = 0
            labels = watershed(-found, seeds, mask=labels > 0)
        for number, window in enumerate(ndimage.find_objects(labels), start=1):
            if window is None:  # of a seed that was too small
                continue
            rows, columns = window
            mask = ndimage.binary_fill_holes(labels[rows, columns] == number)
            score = float(found[rows, columns][mask].mean())
            depth = ndimage.distance_transform_edt(np.pad(mask, 1)).max()
            large = mask.sum() >= max(1, settings.min_area) and depth >= settings.min_depth
            if large and score >= settings.score_thresh:
                masks.append((mask, (rows.start, columns.start)))
                scores.append(score)
        order = np.argsort(-np.array(scores), kind="stable")
        return Instances.from_box_masks([masks[i] for i in order], size, scores=np.array(scores)[order])


def deepsea(settings: PhaseSettings | None = None) -> PhaseSegmenter:
    """DeepSea with the weights of its package. Raises `InputError` where that isn't installed."""
    return PhaseSegmenter(PhaseFeatures(0.8).load(), settings)
