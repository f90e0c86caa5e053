"""Files of `peft` adapters: written, and read with a list of what their config may say and all weights checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from glioma_hf.errors import InputError
from glioma_hf.jsonfile import read_checked
from glioma_hf.models.checked import check_finite, read_tensors

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # as `peft` calls them

# What an adapter's config tells without changing what it computes.
TOLD = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "megatron_core",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
)


class AdapterConfig(BaseModel):
    """The entries of `adapter_config.json` that are read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    r: int = Field(ge=1, le=1024)
    lora_alpha: float = Field(gt=0, le=4096, allow_inf_nan=False)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: list[str] | None = Field(None, max_length=8)
    target_modules: str | list[str]


def read_adapter_config(folder: Path, targets: str, heads: tuple[str, ...]) -> LoraConfig:
    """The LoRA that an adapter's folder describes.

    Args:
        targets: the pattern that may stand for its target modules; a list of plain names may too. Any other pattern is
            refused: it would be matched with every module's name, however long that takes.
        heads: modules that may be saved whole.

    Raises `InputError` that names the file and the entry for anything that isn't allowed.
    """
    path = folder / ADAPTER_FILES[0]
    try:
        content = json.loads(read_checked(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error}); get the adapter again") from None
    if not isinstance(content, dict) or content.get("peft_type") != "LORA":
        raise InputError(f"{path}: not the config of a LoRA adapter")
    usual = LoraConfig().to_dict()
    rest = {}
    for name, value in content.items():
        if name in AdapterConfig.model_fields:
            rest[name] = value
        elif name not in TOLD and value and value != usual.get(name):
            raise InputError(f"{path}: {name!r} is {str(value)[:40]!r}; adapters that set it aren't read here")
    try:
        config = AdapterConfig.model_validate(rest)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    modules = config.target_modules
    plain = isinstance(modules, list) and len(modules) <= 32 and all(re.fullmatch(r"[\w.]{1,100}", m) for m in modules)
    if modules != targets and not plain:
        raise InputError(f"{path}: target_modules is neither the pattern that is trained here nor a list of names")
    if not set(config.modules_to_save or ()) <= set(heads):
        raise InputError(f"{path}: modules_to_save may hold {', '.join(heads)} alone")
    return LoraConfig(**config.model_dump())


def save_weights(adapted: PeftModel, folder: str | Path) -> None:
    """An adapter's files as `peft` writes them."""
    # No model here has word embeddings; with "auto" `peft` would ask the Hub.
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (Path(folder) / ADAPTER_FILES[1]).chmod(0o644)  # as its neighbours; safetensors leaves it to the owner alone


def load_weights(
    wrap: Callable[[LoraConfig], PeftModel], folder: Path, targets: str, heads: tuple[str, ...], what: str
) -> PeftModel:
    """A model with the adapter that lies in a folder, in evaluation mode.

    Args:
        wrap: puts an adapter of that config around the model.
        targets, heads: see `read_adapter_config`.
        what: errors call the model.

    Raises `InputError` where the adapter isn't one, doesn't fit, or has weights that are no numbers.
    """
    config, path = read_adapter_config(folder, targets, heads), folder / ADAPTER_FILES[1]
    try:
        adapted = wrap(config)
        tensors = read_tensors(path, get_peft_model_state_dict(adapted, save_embedding_layers=False))
        set_peft_model_state_dict(adapted, tensors)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{folder}: the adapter doesn't fit the {what} ({reason}); give the base it was made for"
        ) from None
    check_finite(tensors.items(), str(path))
    return adapted.eval()
