"""DeepSea as it is: the cells that its network finds in phase-contrast images, without training.

Its map of cells at a uniform scale, cut at a half and taken apart by connection; its end for edges is left out.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from torch.nn import functional as F

from glioma_hf.instances import Instances
from glioma_hf.models.base import Pixels, Segmenter, Settings, check_image
from glioma_hf.models.device import best_device
from glioma_hf.models.vision.config import SHRINK
from glioma_hf.models.vision.phase_features import PhaseFeatures
from glioma_hf.models.vision.preprocess import resized, standardised, statistics_of
from glioma_hf.progress import OnProgress, ignore

DIAMETER = 46.0  # pixels: of the cells at which its scale was chosen


class PhaseSettings(Settings):
    """Which parts of DeepSea's map are cells."""

    score_thresh: float = Field(0.5, ge=0, le=1)  # mean chance of its pixels
    mask_thresh: float = Field(0.5, gt=0, lt=1)  # chance from which a pixel is a cell's
    min_area: int = Field(80, ge=0, le=2**28)  # pixels
    min_depth: float = Field(4.0, ge=0, le=10**4)  # pixels from its middle to its edge: strips along borders are none
    scale: float = Field(1.0, ge=0.05, le=20)  # at which the image is seen
    cell_diameter: float = Field(DIAMETER, gt=0, le=10**5)


class PhaseSegmenter(Segmenter):
    """A `Segmenter` around `PhaseFeatures`, whose cells don't overlap."""

    def __init__(self, network: PhaseFeatures, settings: PhaseSettings | None = None):
        self.network, self.settings = network.to(best_device()).eval(), settings or PhaseSettings()
        self.device = next(network.parameters()).device

    @property
    def score_threshold(self) -> float:
        """The mean chance from which a part is a cell."""
        return self.settings.score_thresh

    def with_score_threshold(self, threshold: float) -> PhaseSegmenter:
        """The same model with another threshold."""
        return self.with_settings(score_thresh=threshold)

    def for_diameter(self, diameter: float) -> PhaseSegmenter:
        """The same model for images whose cells are about `diameter` pixels across."""
        factor = diameter / self.settings.cell_diameter
        return self.with_settings(
            scale=self.settings.scale / factor,
            min_area=round(self.settings.min_area * factor**2),
            min_depth=self.settings.min_depth * factor,
            cell_diameter=diameter,
        )

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first; see `Segmenter`."""
        image = check_image(image)
        settings, size = self.settings, image.shape[:2]
        view = image if settings.scale == 1 else resized(image, settings.scale)
        grey = torch.from_numpy(standardised(view, statistics_of(view))).to(self.device)
        chance = torch.sigmoid(self.network.cells(grey[None, None]).float())
        whole = F.interpolate(chance[None], [SHRINK * side for side in grey.shape], mode="bilinear")
        whole = whole[:, :, : view.shape[0], : view.shape[1]]
        found = F.interpolate(whole, size, mode="bilinear")[0, 0].cpu().numpy()
        masks, scores = [], []
        labels, _ = ndimage.label(found > settings.mask_thresh)
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
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
