"""LoRA on SAM as CellSeg1 has it: queries and values of every attention, keys left alone.

The image encoder computes q, k and v in one fused layer. It is split in three (with the very same
output) so that `peft` can put an adapter of its own on q and on v; `fuse_qkv` undoes that after merging.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedConfig

from glioma_hf.errors import InputError
from glioma_hf.models import EMBEDDED
from glioma_hf.models.adapters import ADAPTER_FILES, load_weights
from glioma_hf.models.checked import check_base_config, check_finite, check_weights_hold
from glioma_hf.models.sam.cell_model import CellModel
from glioma_hf.models.sam.recipe import LoraSettings
from glioma_hf.models.sam.sam import WEIGHTS, CellSam
from glioma_hf.models.sam.sam2 import CellSam2

TARGETS = r".*(vision_encoder|mask_decoder).*\.(q_proj|v_proj)"


class SplitQkv(nn.Module):
    """A fused qkv layer as three layers; same input, same output."""

    def __init__(self, fused: nn.Linear):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (_slice(fused, part) for part in range(3))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., 3C)."""
        return torch.cat([self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden)], -1)

    def fused(self) -> nn.Linear:
        """The one layer again, with whatever was merged into the three."""
        layers = (self.q_proj, self.k_proj, self.v_proj)
        fused = nn.Linear(self.q_proj.in_features, 3 * self.q_proj.out_features, dtype=self.q_proj.weight.dtype)
        with torch.no_grad():
            fused.weight.copy_(torch.cat([layer.weight for layer in layers]))
            fused.bias.copy_(torch.cat([layer.bias for layer in layers]))
        return fused


def _slice(fused: nn.Linear, part: int) -> nn.Linear:
    """One third of a fused qkv layer (SAM's have a bias)."""
    width = fused.out_features // 3
    layer = nn.Linear(fused.in_features, width, dtype=fused.weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(fused.weight[part * width : (part + 1) * width])
        layer.bias.copy_(fused.bias[part * width : (part + 1) * width])
    return layer


def split_qkv(model: CellModel) -> CellModel:
    """Split the fused qkv layers of the image encoder in place; returns the model."""
    for attention in list(model.modules()):
        if isinstance(getattr(attention, "qkv", None), nn.Linear):
            attention.qkv = SplitQkv(attention.qkv)
    return model


def fuse_qkv(model: CellModel) -> CellModel:
    """Undo `split_qkv` in place, once adapters are merged; returns the model, an ordinary SAM again."""
    for attention in list(model.modules()):
        if isinstance(getattr(attention, "qkv", None), SplitQkv):
            attention.qkv = attention.qkv.fused()
    return model


def load_base(name: str | Path = EMBEDDED, tile: int | None = None) -> CellModel:
    """A SAM or SAM 2 by name: `embedded`, a folder, or a repository on the Hub such as `facebook/sam-vit-base`.

    With `tile` its input is of that side, see `CellModel.at_tile`. Safetensors only. Raises `InputError` where there
    is no such model.
    """
    path = WEIGHTS if str(name) == EMBEDDED else Path(name)
    source, where = str(path) if path.is_dir() else str(name), f"the model {name}"
    try:
        config, _ = PreTrainedConfig.get_config_dict(source)
        check_base_config(config, where)
        if path.is_dir() and "model_type" not in config:
            raise InputError(f"{where}: no model lies there; give a folder that train wrote, whole, or a SAM's")
        if not str(config.get("model_type")).startswith("sam"):
            raise InputError(f"{where} is of the type {str(config.get('model_type'))[:40]!r}; give a SAM or a SAM 2")
        kind = CellSam2 if str(config["model_type"]).startswith("sam2") else CellSam
        if path.is_dir():
            with torch.device("meta"):
                empty = kind(kind.config_class.from_dict(config))
            check_weights_hold(path, sum(p.numel() for p in empty.parameters()), where)
        model, loaded = kind.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except InputError:
        raise
    except Exception as error:  # a config that asks for nonsense makes the libraries raise whatever it leads them to
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{where} can't be loaded ({reason}); give 'embedded', a folder or a Hub name") from None
    missing = set(loaded["missing_keys"])
    head = {key for key in missing if key.startswith("centre_head.")}
    if missing - head or (head and len(head) < len(model.centre_head.state_dict())):
        raise InputError(f"{where}: its weights lack {min(missing - head or head)} (and {len(missing) - 1} more)")
    if head:  # a plain SAM: the head isn't trained, whatever the config says
        model.config.centres_trained = False
    check_finite(model.named_parameters(), where)
    return model.eval() if tile is None else model.eval().at_tile(tile)


def add_adapter(model: CellModel, settings: LoraSettings | None = None) -> PeftModel:
    """A fresh LoRA adapter around a base; its forward pass still equals the base's."""
    settings = settings or LoraSettings()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.rank,
        lora_dropout=settings.dropout,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        target_modules=TARGETS,
        modules_to_save=["centre_head"] if settings.centre_head else None,
    )
    return get_peft_model(split_qkv(model), config)


def load_adapter(model: CellModel, folder: str | Path) -> PeftModel:
    """A base with the adapter that lies in `folder`. Raises `InputError` where it doesn't fit or isn't one."""
    folder = Path(folder)
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no adapter ({' and '.join(ADAPTER_FILES)}) lies there")
    adapted = load_weights(
        lambda config: get_peft_model(split_qkv(model), config), folder, TARGETS, ("centre_head",), "model"
    )
    if adapted.peft_config["default"].modules_to_save:
        model.config.centres_trained = True
    return adapted


def unwrap(model: CellModel | PeftModel) -> CellModel:
    """The model inside, whose layers carry the adapter."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def merge(adapted: PeftModel) -> CellModel:
    """The adapter's weights added into the base's: a plain SAM that gives the same masks."""
    return fuse_qkv(adapted.merge_and_unload())
