"""The network: an encoder, a decoder to stride 2, a heat map of centres, and a mask network for each centre.

The idea is CondInst's (Tian et al., 2020): a controller reads the decoder's maps at a centre and writes the weights of
three 1 x 1 convolutions, which that centre alone uses to draw its mask from maps that all share. Each centre answers
for itself, so masks may overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.models.centres.recipe import NetworkConfig
from glioma_hf.models.vision.config import STRIDE
from glioma_hf.models.vision.trunk import Trunk, mixed

RARE = -4.0  # start value of the heat map's bias: few cells are centres
NEAR = 16.0  # cells: the unit of a mask network's coordinates


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


class CentreNetwork(Trunk):
    """Grey images in standard deviations about their median in, centres and their masks out."""

    config: NetworkConfig

    def __init__(self, config: NetworkConfig, encoder: Any = None):
        super().__init__(config, encoder)
        channels = self.widths[-1]
        heat = nn.Conv2d(channels, config.maps, 1)
        self.heat = nn.Sequential(mixed(channels, channels), heat)
        self.features = nn.Sequential(mixed(channels, channels), nn.Conv2d(channels, config.features, 1))
        self.surface = nn.Conv2d(channels, 2, 1)
        inputs = config.features + 2
        self.shapes = [(config.hidden, inputs), (config.hidden, config.hidden), (1, config.hidden)]
        numbers = sum(out * (into + 1) for out, into in self.shapes)
        last = nn.Linear(config.controller, numbers + 1)
        told = config.maps if config.maps > 1 else 0  # the centre's class, where there are several
        self.controller = nn.Sequential(nn.Linear(sum(self.widths) + told, config.controller), nn.ReLU(), last)
        assert heat.bias is not None
        nn.init.constant_(heat.bias, RARE)
        with torch.no_grad():
            last.weight.mul_(0.5)

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
        levels = self.levels(crops)
        x = levels[-1]
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
