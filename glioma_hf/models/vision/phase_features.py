"""Features of phase-contrast images: DeepSea's network (Zargari et al., 2023), beside an encoder, never trained.

Its weights have seen thousands of real cells of other kinds. They are folded when they are read: batch norms that no
longer learn are part of the convolutions before them. Its maps are enlarged from pixel middle to pixel middle, not from
corner to corner as DeepSea does: that would depend on the image's size, and tiles would not agree where they meet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.models.vision.pretrained import load_package

PACKAGE = "deepsea"
GAIN, SHIFT = 0.16, -0.08  # from an image in standard deviations about its median to what the network is used to
BLOCKS = {"res1": (1, 64), "res2": (64, 128), "res3": (128, 256), "res4": (384, 128), "res5": (192, 64)}
CHANNELS = {2: 64 + 4 + 128, 4: 256}  # of the features, by stride


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside one of 1 x 1."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, padding=1)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.short = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w). In place, as no gradient goes through: memory is what takes the time here."""
        return self.second(self.first(x).relu_()).add_(self.short(x)).relu_()


class PhaseFeatures(nn.Module):
    """DeepSea's U-Net without its end: what it knows of an image at strides 2 and 4 of the network's input."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale, self.unit = scale, unit_of(scale)
        self.blocks = nn.ModuleDict({name: ResidualBlock(*channels) for name, channels in BLOCKS.items()})
        self.out = nn.Conv2d(64, 4, 1)  # cell or not, and edge or not
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> PhaseFeatures:
        """Nothing here is ever trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, grey: Tensor) -> dict[int, Tensor]:
        """(B, 1, H, W) in standard deviations about the median -> by stride s (B, CHANNELS[s], H / s, W / s)."""
        height, width = grey.shape[-2:]
        (full_height, full_width), fine, middle, coarse = self._seen(grey)
        at_2, at_4 = ((full_height // stride, full_width // stride) for stride in (2, 4))
        found = {2: [_resized(part, at_2) for part in (fine, self.out(fine), middle)], 4: [_resized(coarse, at_4)]}
        return {
            stride: torch.cat(parts, 1)[..., : height // stride, : width // stride] for stride, parts in found.items()
        }

    @torch.no_grad()
    def cells(self, grey: Tensor) -> Tensor:
        """Logits of what DeepSea itself says, cell or not and edge or not, of (B, 1, H, W): (B, 2, H, W)."""
        size, fine, _, _ = self._seen(grey)
        said = self.out(fine)
        return _resized(said[:, 1::2] - said[:, ::2], size)[..., : grey.shape[-2], : grey.shape[-1]]

    def _seen(self, grey: Tensor) -> tuple[tuple[int, int], Tensor, Tensor, Tensor]:
        """The size to which the input is filled up, and the maps of its finest, middle and coarsest scale."""
        height, width = grey.shape[-2:]
        # Filled up so that it is shrunk by the same factor whatever its size: tiles then agree on what they share.
        wide = F.pad(grey, (0, -width % self.unit, 0, -height % self.unit)) * GAIN + SHIFT
        full_height, full_width = wide.shape[-2:]
        sides = [max(4, round(side * self.scale / 4) * 4) for side in (full_height, full_width)]
        x = F.interpolate(wide, sides, mode="bilinear", antialias=True)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        fine = self.blocks["res1"](x)
        middle = self.blocks["res2"](F.max_pool2d(fine, 2))
        coarse = self.blocks["res3"](F.max_pool2d(middle, 2))
        middle = self.blocks["res4"](torch.cat([middle, _doubled(coarse)], 1))
        fine = self.blocks["res5"](torch.cat([fine, _doubled(middle)], 1))
        return (full_height, full_width), fine, middle, coarse

    def load(self) -> PhaseFeatures:
        """With DeepSea's weights. Raises `InputError` where its package isn't installed or holds others."""
        load_package(PACKAGE, self, folded)
        return self


def unit_of(scale: float) -> int:
    """The least pixels, a multiple of 4, that are scaled to a multiple of 4; 4 where there are none up to 40."""
    return next((unit for unit in range(4, 41, 4) if abs(unit * scale / 4 - round(unit * scale / 4)) < 1e-6), 4)


def folded(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's weights as ours."""
    ours = {}
    for name in BLOCKS:
        gain, shift = _norm(theirs, f"{name}.double_conv.1")
        where = f"blocks.{name}"
        ours[f"{where}.first.weight"] = theirs[f"{name}.double_conv.0.weight"] * gain[:, None, None, None]
        ours[f"{where}.first.bias"] = theirs[f"{name}.double_conv.0.bias"] * gain + shift
        gain, shift = _norm(theirs, f"{name}.bn")
        ours[f"{where}.second.weight"] = theirs[f"{name}.double_conv.4.weight"] * gain[:, None, None, None]
        ours[f"{where}.second.bias"] = theirs[f"{name}.double_conv.4.bias"] * gain + shift
        ours[f"{where}.short.weight"] = theirs[f"{name}.conv1d.weight"] * gain[:, None, None, None]
        ours[f"{where}.short.bias"] = theirs[f"{name}.conv1d.bias"] * gain
    for kind in ("weight", "bias"):
        ours[f"out.{kind}"] = torch.cat([theirs[f"conv3.{kind}"], theirs[f"conv4.{kind}"]])
    return ours


def _norm(theirs: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """What a batch norm that no longer learns multiplies by and adds."""
    gain = theirs[f"{name}.weight"] / (theirs[f"{name}.running_var"] + 1e-5).sqrt()
    return gain, theirs[f"{name}.bias"] - theirs[f"{name}.running_mean"] * gain


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear")
