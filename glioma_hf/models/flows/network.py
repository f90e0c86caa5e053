"""The light network: the encoder and decoder that `centres` has, with one head that says flows and cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from glioma_hf.models.flows.recipe import LightConfig
from glioma_hf.models.flows.sight import Standardised, standard
from glioma_hf.models.vision.config import SHRINK, STRIDE
from glioma_hf.models.vision.trunk import Trunk, mixed


class FlowNetwork(Trunk):
    """Grey images in standard deviations about their median in, flows and logits of cells out.

    Attributes:
        shrink: pixels of the image per pixel that the network sees.
        stride: of those per cell of the maps.
    """

    config: LightConfig
    shrink, stride = SHRINK, STRIDE

    def __init__(self, config: LightConfig, encoder: Any = None):
        super().__init__(config, encoder)
        channels = self.widths[-1]
        self.flows = nn.Sequential(mixed(channels, channels), nn.Conv2d(channels, 2 * config.maps, 1))
        self.cells = nn.Sequential(mixed(channels, channels), nn.Conv2d(channels, config.maps, 1))

    def look(self, image: np.ndarray) -> Standardised:
        """How windows of an image are given to the network."""
        return standard(image)

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Maps of images (B, 1, H, W), sides multiples of 32, float32.

        Returns `flows` (B, 2 C, h, w), y and x of each class in turn, and `cells` (B, C, h, w), logits.
        """
        x = self.levels(crops)[-1]
        return {"flows": self.flows(x).float(), "cells": self.cells(x).float()}
