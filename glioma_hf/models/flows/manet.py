"""MediarFormer's network (Lee et al., 2022): a SegFormer encoder and the decoder of MA-Net, with two heads.

MA-Net (Fan et al., 2020) is a U-Net with attention over places at its bottom and, on the way up, attention over
channels of what is joined. MediarFormer has Mish where that has ReLU. Parts of the decoder and the heads are called as
in the checkpoints that its authors published; `mediar.py` reads those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SegformerConfig, SegformerModel

from glioma_hf.errors import InputError
from glioma_hf.models.flows.recipe import MediarConfig
from glioma_hf.models.flows.sight import Scaled, scaled

# Depths, channels and attention heads of the stages, of strides 4, 8, 16, 32. `tiny` is for tests.
MIT: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "nvidia/mit-b0": ((2, 2, 2, 2), (32, 64, 160, 256), (1, 2, 5, 8)),
    "nvidia/mit-b1": ((2, 2, 2, 2), (64, 128, 320, 512), (1, 2, 5, 8)),
    "nvidia/mit-b2": ((3, 4, 6, 3), (64, 128, 320, 512), (1, 2, 5, 8)),
    "nvidia/mit-b3": ((3, 4, 18, 3), (64, 128, 320, 512), (1, 2, 5, 8)),
    "nvidia/mit-b4": ((3, 8, 27, 3), (64, 128, 320, 512), (1, 2, 5, 8)),
    "nvidia/mit-b5": ((3, 6, 40, 3), (64, 128, 320, 512), (1, 2, 5, 8)),
    "tiny": ((1, 1, 1, 1), (8, 16, 16, 32), (1, 1, 1, 1)),
}
EXACT = ("layernorm_before", "layernorm_after", *(f"stages.{stage}.layer_norm" for stage in range(4)))  # norms
REDUCTION = 16  # channels per channel inside the attention over channels


class MediarNetwork(nn.Module):
    """Images scaled to 0 ... 1 in, flows and logits of cells of each pixel out.

    Attributes:
        shrink, stride: see `FlowNetwork`.
    """

    shrink, stride = 1, 1

    def __init__(self, config: MediarConfig, encoder: Any = None):
        super().__init__()
        self.config = config
        self.encoder = new_mit(config.encoder) if encoder is None else encoder
        for name, module in self.encoder.named_modules():
            if name.endswith(EXACT):
                module.eps = 1e-6
        self.decoder = Decoder(MIT[config.encoder][1], config.widths, config.attention)
        self.cellprob_head = _head(config.widths[-1], config.maps)
        self.gradflow_head = _head(config.widths[-1], 2 * config.maps)

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Of images (B, 1 or 3, H, W), sides multiples of 32: `flows` (B, 2 C, H, W) and `cells` (B, C, H, W)."""
        seen = self.encoder(crops.expand(-1, 3, -1, -1), output_hidden_states=True).hidden_states
        x = self.decoder(seen)
        return {"flows": self.gradflow_head(x).float(), "cells": self.cellprob_head(x).float()}

    def look(self, image: np.ndarray) -> Scaled:
        """How windows of an image are given to the network."""
        return scaled(image)


class Decoder(nn.Module):
    """From maps of strides 4, 8, 16, 32 to one of stride 1."""

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, ...], attention: int):
        super().__init__()
        self.center = PlaceAttention(channels[-1], attention)
        skips = [*channels[-2::-1], 0, 0]
        inputs = [channels[-1], *widths[:-1]]
        self.blocks = nn.ModuleList(
            FusedUp(into, skip, out) if skip else Up(into, out)
            for into, skip, out in zip(inputs, skips, widths, strict=True)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """The finest map: (B, widths[-1], 4 h, 4 w) where the first of `maps` is (B, C, h, w)."""
        x = self.center(maps[-1])
        for number, block in enumerate(self.blocks):
            x = block(x, maps[-2 - number]) if isinstance(block, FusedUp) else block(x)
        return x


class PlaceAttention(nn.Module):
    """What lies anywhere is added everywhere, weighted by how alike two places are."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.top_conv, self.center_conv = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.bottom_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.out_conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), as it came."""
        asked, known = self.center_conv(x).flatten(2), self.top_conv(x).flatten(2)
        alike = torch.einsum("bcp,bcq->bpq", asked, known)
        # Weights sum to 1 over all pairs of places, and what is gathered place by place is laid out channel by channel:
        # so the published weights have learned it.
        weights = alike.flatten(1).softmax(1).view_as(alike)
        gathered = torch.einsum("bpq,bcq->bpc", weights, self.bottom_conv(x).flatten(2))
        return self.out_conv(x + gathered.reshape(x.shape))


class FusedUp(nn.Module):
    """Doubled, and joined with a finer map of the encoder, after both have said which channels matter."""

    def __init__(self, channels: int, skip: int, out: int):
        super().__init__()
        self.hl_conv = nn.Sequential(_mixed(channels, channels, 3), _mixed(channels, skip, 1))
        self.SE_ll, self.SE_hl = _channel_weights(skip), _channel_weights(skip)
        self.conv1, self.conv2 = _mixed(2 * skip, out, 3), _mixed(out, out, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C', 2 h, 2 w) -> (B, C'', 2 h, 2 w)."""
        x = F.interpolate(self.hl_conv(x), scale_factor=2, mode="nearest")
        x = x * (self.SE_hl(x) + self.SE_ll(skip))
        return self.conv2(self.conv1(torch.cat([x, skip], 1)))


class Up(nn.Module):
    """Doubled, where the encoder has no map to join."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv1, self.conv2 = _mixed(channels, out, 3), _mixed(out, out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', 2 h, 2 w)."""
        return self.conv2(self.conv1(F.interpolate(x, scale_factor=2, mode="nearest")))


def new_mit(name: str) -> SegformerModel:
    """A Mix Transformer with start values."""
    depths, sizes, heads = MIT[name]
    config = SegformerConfig(depths=list(depths), hidden_sizes=list(sizes), num_attention_heads=list(heads))
    return SegformerModel(config)


def pretrained_mit(name: str) -> SegformerModel:
    """One with ImageNet weights, from the Hub. Raises `InputError` where they can't be had."""
    if name == "tiny":
        raise InputError("the encoder tiny was never pretrained; start from the base random")
    try:
        return SegformerModel.from_pretrained(name, dtype=torch.float32)
    except Exception as error:  # whatever the library is led to by what it finds there
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the encoder {name} can't be loaded ({reason}); the Hub must be reached once") from None


def _head(channels: int, out: int) -> nn.Sequential:
    inner = channels // 2
    return nn.Sequential(
        nn.Conv2d(channels, inner, 3, padding=1), nn.Mish(), nn.BatchNorm2d(inner), nn.Conv2d(inner, out, 3, padding=1)
    )


def _mixed(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.Mish()
    )


def _channel_weights(channels: int) -> nn.Sequential:
    inner = max(1, channels // REDUCTION)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.Mish(), nn.Conv2d(inner, channels, 1), nn.Sigmoid()
    )
