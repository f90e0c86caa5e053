"""The encoders of a U-Net: those of the paper by name, and any backbone that gives a pyramid of maps.

`lite0` comes with its ImageNet weights in a package; the others fetch theirs from the Hub once, or begin at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glioma_hf.errors import InputError
from glioma_hf.extras import missing_libraries_named
from glioma_hf.models.checked import check_base_config
from glioma_hf.models.unet.recipe import NetworkConfig
from glioma_hf.models.vision.encoders import VARIANTS, EfficientNetLite
from glioma_hf.models.vision.encoders import pretrained_encoder as packaged_encoder

PROBE = 256  # side of the image by which an encoder's strides are found
TIMM = "timm_backbone"  # how transformers calls what it wraps of timm's


@dataclass(frozen=True)
class Known:
    """An encoder by name.

    Attributes:
        library: whose it is.
        checkpoint: with ImageNet weights, on the Hub, or by timm's name.
        config: `model_type` of transformers, and what differs from that type's defaults.
    """

    library: Literal["transformers", "timm"]
    checkpoint: str
    config: dict[str, Any]


def _timm(name: str, maps: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Known:
    """One of timm's; `maps`: those of its outputs that are of strides 2 to 32."""
    return Known("timm", name, {"model_type": TIMM, "backbone": name, "out_indices": list(maps)})


# The sixteen encoders that the paper tried, by its names.
ENCODERS: dict[str, Known] = {
    "densenet169": _timm("densenet169"),
    "dpn92": _timm("dpn92"),
    "efficientnet-b5": Known(
        "transformers",
        "google/efficientnet-b5",
        {
            "model_type": "efficientnet",
            "width_coefficient": 1.6,
            "depth_coefficient": 2.2,
            "hidden_dim": 2048,
            "image_size": 456,
        },
    ),
    "inception-v4": _timm("inception_v4"),
    "mit-b3": Known(
        "transformers",
        "nvidia/mit-b3",
        {"model_type": "segformer", "depths": [3, 4, 18, 3], "hidden_sizes": [64, 128, 320, 512]},
    ),
    "mobilenet-v2": Known("transformers", "google/mobilenet_v2_1.0_224", {"model_type": "mobilenet_v2"}),
    "resnet50": Known("transformers", "microsoft/resnet-50", {"model_type": "resnet"}),
    "resnext50-32x4d": _timm("resnext50_32x4d"),
    "se-resnet50": _timm("seresnet50"),
    "se-resnext50-32x4d": _timm("seresnext50_32x4d"),
    "gernet-l": _timm("gernet_l"),
    "regnetx-064": _timm("regnetx_064"),
    "res2net50-26w-4s": _timm("res2net50_26w_4s"),
    "resnest50d": _timm("resnest50d"),
    "vgg19": _timm("vgg19", (1, 2, 3, 4, 5)),
    "xception": _timm("legacy_xception"),
}


class Pyramid(nn.Module):
    """A model of transformers or timm, its maps by their stride; of several maps of one stride the last.

    Maps that come out a little smaller than the image divided by their stride (no padding inside) are stretched to it.

    Raises `InputError`, beginning with `where`, for a model whose maps aren't of at least three strides of 2 to 32.
    """

    def __init__(self, model: Any, where: str):
        super().__init__()
        self.model = model
        self.is_backbone = hasattr(model, "out_features") and hasattr(model, "channels")
        with torch.no_grad():
            maps = self._maps(model.eval().to(torch.float32), torch.zeros(1, 3, PROBE, PROBE))
        self.strides = [_stride_of(each) for each in maps]
        if len(set(self.strides) & {2, 4, 8, 16, 32}) < 3 or max(self.strides) > 32:
            found = ", ".join(map(str, dict.fromkeys(self.strides))) or "none"
            raise InputError(
                f"{where} gives no feature pyramid (its maps are of strides {found}); a U-Net needs maps of several "
                "strides from 2 to 32: take another encoder"
            )
        self.channels = {stride: each.shape[1] for stride, each in zip(self.strides, maps, strict=True) if stride > 1}

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """(B, 1 or 3, H, W), sides multiples of 32 -> by stride s (B, channels[s], H / s, W / s)."""
        maps = dict(zip(self.strides, self._maps(self.model, images.expand(-1, 3, -1, -1)), strict=True))
        return {stride: _fitted(each, stride, images.shape[-2:]) for stride, each in maps.items() if stride > 1}

    def _maps(self, model: Any, images: Tensor) -> tuple[Tensor, ...]:
        if self.is_backbone:
            return tuple(model(images).feature_maps)
        return tuple(model(images, output_hidden_states=True).hidden_states)


def new_encoder(config: NetworkConfig) -> EfficientNetLite | Pyramid:
    """An encoder with start values.

    Raises `InputError` for a name that isn't known and has no config, a config that can't be used, an encoder without
    a pyramid, and where timm is asked for and isn't installed.
    """
    if config.encoder in VARIANTS:
        return EfficientNetLite(config.encoder)
    where, known = f"the encoder {config.encoder}", ENCODERS.get(config.encoder)
    values = config.backbone or (known.config if known is not None else None)
    if values is None:
        raise InputError(
            f"{where} isn't known; it is {', '.join([*VARIANTS, *ENCODERS])}, or with the base imagenet a backbone on "
            "the Hub"
        )
    check_base_config(values, where)
    return _built(where, values)


def pretrained_encoder(config: NetworkConfig) -> tuple[NetworkConfig, EfficientNetLite | Pyramid]:
    """An encoder with ImageNet weights, and the config with what is now known of it.

    Raises `InputError` as `new_encoder`, and where the weights can't be had.
    """
    if config.encoder in VARIANTS:
        known_config, encoder = packaged_encoder(config)
        assert isinstance(encoder, EfficientNetLite)
        return known_config, encoder
    where, known = f"the encoder {config.encoder}", ENCODERS.get(config.encoder)
    if known is not None and known.library == "timm":
        _need_timm()
    try:
        if known is not None and known.library == "timm":
            from transformers import TimmBackbone

            wrapped = TimmBackbone.from_pretrained(known.checkpoint, out_indices=known.config["out_indices"])
            return config, Pyramid(wrapped, where)
        return _from_hub(config, known.checkpoint if known is not None else config.encoder, where)
    except InputError:
        raise
    except Exception as error:  # whatever the library is led to by what it finds there
        raise InputError(
            f"{where}: its ImageNet weights can't be loaded ({_reason(error)}); the Hub must be reached once, or take "
            "the encoder lite0, whose weights come in a package"
        ) from None


def _from_hub(config: NetworkConfig, checkpoint: str, where: str) -> tuple[NetworkConfig, Pyramid]:
    from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig, AutoModel

    found = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    values = found.to_diff_dict()
    check_base_config(values, where)
    kind: Any = AutoModel
    if type(found) in MODEL_FOR_BACKBONE_MAPPING:
        kind, found.out_features = MODEL_FOR_BACKBONE_MAPPING[type(found)], list(found.stage_names)
    model = kind.from_pretrained(checkpoint, config=found, dtype=torch.float32, use_safetensors=True)
    encoder = Pyramid(model, where)
    return config.model_copy(update={"backbone": {**values, "model_type": found.model_type}}), encoder


def _built(where: str, values: dict[str, Any]) -> Pyramid:
    """An encoder by its config, at start values."""
    from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoBackbone, AutoConfig, AutoModel

    if values.get("model_type") == TIMM:
        _need_timm()
    try:
        config = AutoConfig.for_model(**values)
        if values.get("model_type") == TIMM:
            return Pyramid(AutoBackbone.from_config(config), where)
        if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
            return Pyramid(AutoModel.from_config(config), where)
        config.out_features = list(config.stage_names)
        return Pyramid(AutoBackbone.from_config(config), where)
    except InputError:
        raise
    except Exception as error:  # a config that asks for nonsense makes the library raise whatever it leads it to
        raise InputError(f"{where} can't be built ({_reason(error)}); give another one") from None


def _need_timm() -> None:
    """Raise `InputError` where timm isn't installed."""
    with missing_libraries_named():
        import timm  # noqa: F401


def _stride_of(found: Tensor) -> int:
    """The power of two nearest to how many pixels of the probe one of a map is; 0 for what is no map."""
    return 2 ** round(math.log2(PROBE / found.shape[-1])) if found.ndim == 4 else 0


def _fitted(found: Tensor, stride: int, size: Any) -> Tensor:
    sides = [side // stride for side in size]
    if list(found.shape[-2:]) == sides:
        return found
    return F.interpolate(found, sides, mode="bilinear", align_corners=False)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
