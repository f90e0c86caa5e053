"""The network: an encoder, a decoder to stride 2, a heat map of centres, and a mask network for each centre.

The idea is CondInst's (Tian et al., 2020): a controller reads the decoder's maps at a centre and writes the weights of
three 1 x 1 convolutions, which that centre alone uses to draw its mask from maps that all share. Each centre answers
for itself, so masks may overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.models.centres.encoders import new_encoder
from glioma_hf.models.centres.phase_features import CHANNELS, PhaseFeatures
from glioma_hf.models.centres.recipe import COARSEST, STRIDE, NetworkConfig

RARE = -4.0  # start value of the heat map's bias: few cells are centres
NEAR = 16.0  # cells: the unit of a mask network's coordinates
STRIDES = (16, 8, 4, 2)  # of the decoder's maps, as `NetworkConfig.widths` has them


@dataclass(frozen=True)
class Maps:
    """What the network says of images, wherever centres are.

    Attributes:
        levels: the decoder's maps, the coarsest first.
        heat: logits of each class's centres (B, C, h, w), float32, as all that follows.
        features: (B, F, h, w), from which masks are drawn.
        surface: logits of foreground and boundary (B, 2, h, w).
    """

    levels: list[Tensor]
    heat: Tensor
    features: Tensor
    surface: Tensor


class CentreNetwork(nn.Module):
    """Grey images in standard deviations about their median in, centres and their masks out."""

    def __init__(self, config: NetworkConfig, encoder: Any = None):
        super().__init__()
        self.config = config
        self.fixed_norms = False  # whether batch norms outside the heads stay as they are, as adapters want it
        self.encoder = new_encoder(config) if encoder is None else encoder
        self.frozen = PhaseFeatures(config.frozen_scale) if config.frozen_features else None
        # Parts of an image that begin at multiples of so many pixels are seen alike.
        self.alignment = math.lcm(COARSEST, self.frozen.unit if self.frozen else 1)
        joined = dict.fromkeys(CHANNELS, config.joined) if self.frozen else {}
        self.join = nn.ModuleDict({str(stride): _mixed(CHANNELS[stride], width, 1) for stride, width in joined.items()})
        self.narrow, self.fuse = nn.ModuleList(), nn.ModuleList()
        channels = self.encoder.channels[max(self.encoder.channels)]
        self.strides = [stride for stride in STRIDES if stride < max(self.encoder.channels)]
        widths = config.widths[-len(self.strides) :]
        for stride, width in zip(self.strides, widths, strict=True):
            beside = self.encoder.channels.get(stride, 0) + joined.get(stride, 0)
            self.narrow.append(_mixed(channels, width, 1))
            self.fuse.append(nn.Sequential(_mixed(width + beside, width), _mixed(width, width)))
            channels = width
        heat = nn.Conv2d(channels, config.maps, 1)
        self.heat = nn.Sequential(_mixed(channels, channels), heat)
        self.features = nn.Sequential(_mixed(channels, channels), nn.Conv2d(channels, config.features, 1))
        self.surface = nn.Conv2d(channels, 2, 1)
        inputs = config.features + 2
        self.shapes = [(config.hidden, inputs), (config.hidden, config.hidden), (1, config.hidden)]
        numbers = sum(out * (into + 1) for out, into in self.shapes)
        last = nn.Linear(config.controller, numbers + 1)
        told = config.maps if config.maps > 1 else 0  # the centre's class, where there are several
        self.controller = nn.Sequential(nn.Linear(sum(widths) + told, config.controller), nn.ReLU(), last)
        assert heat.bias is not None
        nn.init.constant_(heat.bias, RARE)
        with torch.no_grad():
            last.weight.mul_(0.5)

    def train(self, mode: bool = True) -> CentreNetwork:
        """As any module, but for batch norms that stay as they are."""
        super().train(mode)
        if self.fixed_norms:
            for part in (self.encoder, self.narrow, self.fuse, self.join):
                for module in part.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eval()
        return self

    def forward(self, crops: Tensor, cells: Tensor, owners: Tensor, kinds: Tensor) -> dict[str, Tensor]:
        """All that training needs in one call, as wrappers of models want it.

        Args:
            crops: (B, 1, H, W), sides multiples of 32.
            cells: int64 (K, 2), the (x, y) of the cells of the heat map at which masks are asked.
            owners: int64 (K,), the crop that each belongs to.
            kinds: int64 (K,), its class.

        Returns `heat` (B, C, h, w), `surface` (B, 2, h, w), `masks` (K, window, window) and `quality` (K,), all logits.
        """
        maps = self.maps(crops)
        with torch.autocast(crops.device.type, enabled=False):
            weights, quality = self.ask(maps.levels, cells, owners, kinds)
            masks = self.draw(maps.features, weights, cells, owners)
        return {"heat": maps.heat, "surface": maps.surface, "masks": masks, "quality": quality}

    def maps(self, crops: Tensor) -> Maps:
        """What can be said of images (B, 1, H, W) before any centre is asked."""
        encoded = self.encoder(crops)
        beside = {}
        if self.frozen is not None:
            beside = {stride: self.join[str(stride)](found) for stride, found in self.frozen(crops).items()}
        x, levels = encoded[max(encoded)], []
        for stride, narrow, fuse in zip(self.strides, self.narrow, self.fuse, strict=True):
            x = F.interpolate(narrow(x), [side // stride for side in crops.shape[-2:]], mode="bilinear")
            x = fuse(torch.cat([x, *(found[stride] for found in (encoded, beside) if stride in found)], 1))
            levels.append(x)
        return Maps(levels, self.heat(x).float(), self.features(x).float(), self.surface(x).float())

    def ask(self, levels: list[Tensor], cells: Tensor, owners: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Of each centre the weights of its own mask network (K, N), and the logit of its mask's IoU (K,)."""
        points = (cells + 0.5) * STRIDE
        seen = [sample(level, points / stride, owners) for level, stride in zip(levels, self.strides, strict=True)]
        if self.config.maps > 1:
            seen.append(F.one_hot(kinds, self.config.maps).float())
        said = self.controller(torch.cat(seen, 1))
        return said[:, :-1], said[:, -1]

    def draw(self, features: Tensor, weights: Tensor, cells: Tensor, owners: Tensor) -> Tensor:
        """Logits of each centre's mask in the window about it: (K, window, window)."""
        reach, window = self.config.reach, self.config.window
        shared = Windows.apply(F.pad(features, (reach,) * 4), cells, owners, window)
        axis = torch.arange(-reach, reach + 1, device=features.device) / NEAR
        place = torch.stack(torch.meshgrid(axis, axis, indexing="xy")).expand(len(cells), -1, -1, -1)
        x = torch.cat([place, shared], 1).flatten(2)
        start = 0
        for number, (out, into) in enumerate(self.shapes):
            kernel = weights[:, start : start + out * into].reshape(-1, out, into)
            start += out * into
            x = torch.baddbmm(weights[:, start : start + out, None], kernel, x)
            start += out
            x = F.relu(x) if number < len(self.shapes) - 1 else x
        return x.reshape(-1, window, window)


class Windows(torch.autograd.Function):
    """Windows of maps (B, C, h, w), each with its corner at (x, y) of one of them: (K, C, side, side).

    Indexing would do the same with a gradient that takes far longer on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, corners: Tensor, owners: Tensor, side: int) -> Tensor:
        """Cut them out."""
        ctx.save_for_backward(corners, owners)
        ctx.shape, ctx.side = maps.shape, side
        cut = [maps[b, :, y : y + side, x : x + side] for b, (x, y) in _places(corners, owners)]
        return torch.stack(cut) if cut else maps.new_zeros(0, maps.shape[1], side, side)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Add each window's gradient where it was cut."""
        total, side = gradient.new_zeros(ctx.shape), ctx.side
        for number, (b, (x, y)) in enumerate(_places(*ctx.saved_tensors)):
            total[b, :, y : y + side, x : x + side] += gradient[number]
        return total, None, None, None


def _places(corners: Tensor, owners: Tensor) -> list[tuple[int, list[int]]]:
    return list(zip(owners.tolist(), corners.tolist(), strict=True))


def sample(maps: Tensor, points: Tensor, owners: Tensor) -> Tensor:
    """Maps (B, C, h, w) at points (K, 2), (x, y) in their cells with corners at whole numbers: float32 (K, C).

    Between cells' centres bilinear, beyond the outermost ones as there.
    """
    limits = torch.tensor([maps.shape[-1] - 1, maps.shape[-2] - 1], device=maps.device)
    place = torch.minimum((points - 0.5).clamp(min=0), limits)
    below = place.long()
    above = torch.minimum(below + 1, limits)
    right, down = (place - below).split(1, 1)

    def at(x: Tensor, y: Tensor) -> Tensor:
        return maps[owners, :, y, x].float()

    upper = at(below[:, 0], below[:, 1]) * (1 - right) + at(above[:, 0], below[:, 1]) * right
    lower = at(below[:, 0], above[:, 1]) * (1 - right) + at(above[:, 0], above[:, 1]) * right
    return upper * (1 - down) + lower * down


def _mixed(channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )
