"""The U-Net (Ronneberger et al., 2015) as the paper has it: an encoder, bilinear upsampling, ReLU, maps joined."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.models.unet.encoders import new_encoder, pretrained_encoder
from glioma_hf.models.unet.recipe import NetworkConfig
from glioma_hf.models.vision.config import COARSEST
from glioma_hf.models.vision.trunk import mixed

STRIDES = (16, 8, 4, 2, 1)  # of the decoder's maps, as `NetworkConfig.widths` has them


class UNet(nn.Module):
    """Images in, the logit of each pixel's being a cell's out.

    Attributes:
        alignment: pixels of which an image's sides are multiples.

    Example:
        logits = UNet(NetworkConfig(encoder="tiny"))(torch.zeros(1, 1, 64, 96))  # (1, 64, 96)
    """

    alignment = COARSEST

    def __init__(self, config: NetworkConfig, encoder: Any = None):
        super().__init__()
        self.design = config  # not `config`, which `Trainer` writes to
        self.encoder = new_encoder(config) if encoder is None else encoder
        coarsest = max(self.encoder.channels)
        self.strides = [stride for stride in STRIDES if stride < coarsest]
        channels, blocks = self.encoder.channels[coarsest], []
        for stride, width in zip(self.strides, config.widths[-len(self.strides) :], strict=True):
            beside = self.encoder.channels.get(stride, 0)
            blocks.append(nn.Sequential(mixed(channels + beside, width), mixed(width, width)))
            channels = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W), see `pixels.normalised`, sides multiples of 32 -> (B, H, W), float32."""
        encoded = self.encoder(images)
        x = encoded[max(encoded)]
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = F.interpolate(x, [side // stride for side in images.shape[-2:]], mode="bilinear")
            x = block(torch.cat([x, encoded[stride]], 1) if stride in encoded else x)
        return self.head(x)[:, 0].float()


def pretrained_unet(config: NetworkConfig) -> UNet:
    """A U-Net whose encoder has ImageNet weights. Raises `InputError` where they can't be had."""
    known, encoder = pretrained_encoder(config)
    return UNet(known, encoder)
