"""The encoder of an image and a decoder above it to stride 2, with frozen features of phase contrast beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.models.vision.config import COARSEST, TrunkConfig
from glioma_hf.models.vision.encoders import AnyTrunk, new_encoder, pretrained_encoder
from glioma_hf.models.vision.phase_features import CHANNELS, PhaseFeatures

STRIDES = (16, 8, 4, 2)  # of the decoder's maps, as `TrunkConfig.widths` has them


AnyNetwork = TypeVar("AnyNetwork", bound="Trunk")


class Trunk(nn.Module):
    """Grey images in standard deviations about their median in, maps of the decoder out; a family adds its heads.

    Attributes:
        alignment: pixels; parts of an image that begin at multiples of so many are seen alike.
        strides, widths: of the decoder's maps, the coarsest first, and their channels.
        fixed_norms: whether batch norms outside the heads stay as they are, as adapters want it.
    """

    def __init__(self, config: TrunkConfig, encoder: Any = None):
        super().__init__()
        self.config = config
        self.fixed_norms = False  # whether batch norms outside the heads stay as they are, as adapters want it
        self.encoder = new_encoder(config) if encoder is None else encoder
        self.frozen = PhaseFeatures(config.frozen_scale) if config.frozen_features else None
        # Parts of an image that begin at multiples of so many pixels are seen alike.
        self.alignment = math.lcm(COARSEST, self.frozen.unit if self.frozen else 1)
        joined = dict.fromkeys(CHANNELS, config.joined) if self.frozen else {}
        self.join = nn.ModuleDict({str(stride): mixed(CHANNELS[stride], width, 1) for stride, width in joined.items()})
        self.narrow, self.fuse = nn.ModuleList(), nn.ModuleList()
        channels = self.encoder.channels[max(self.encoder.channels)]
        self.strides = [stride for stride in STRIDES if stride < max(self.encoder.channels)]
        self.widths = config.widths[-len(self.strides) :]
        for stride, width in zip(self.strides, self.widths, strict=True):
            beside = self.encoder.channels.get(stride, 0) + joined.get(stride, 0)
            self.narrow.append(mixed(channels, width, 1))
            self.fuse.append(nn.Sequential(mixed(width + beside, width), mixed(width, width)))
            channels = width

    def train(self, mode: bool = True) -> Trunk:
        """As any module, but for batch norms that stay as they are."""
        super().train(mode)
        if self.fixed_norms:
            for part in (self.encoder, self.narrow, self.fuse, self.join):
                for module in part.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eval()
        return self

    def levels(self, crops: Tensor) -> list[Tensor]:
        """The decoder's maps of images (B, 1, H, W), sides multiples of 32, the coarsest first."""
        encoded = self.encoder(crops)
        beside = {}
        if self.frozen is not None:
            beside = {stride: self.join[str(stride)](found) for stride, found in self.frozen(crops).items()}
        x, levels = encoded[max(encoded)], []
        for stride, narrow, fuse in zip(self.strides, self.narrow, self.fuse, strict=True):
            x = F.interpolate(narrow(x), [side // stride for side in crops.shape[-2:]], mode="bilinear")
            x = fuse(torch.cat([x, *(found[stride] for found in (encoded, beside) if stride in found)], 1))
            levels.append(x)
        return levels


def mixed(channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    """A convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


def pretrained_trunk(kind: Callable[[Any, Any], AnyNetwork], config: AnyTrunk) -> AnyNetwork:
    """A network of a kind whose encoder and frozen features are published ones, its heads at start values.

    Raises `InputError` where a package that it stands on isn't installed, see `pretrained_encoder`.
    """
    known, encoder = pretrained_encoder(config)
    network = kind(known, encoder)
    if network.frozen is not None:
        network.frozen.load()
    return network
