"""Files of `peft` adapters: their names, and what their config may say, which is read by a list of what is allowed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glioma_hf.errors import InputError
from glioma_hf.jsonfile import read_checked

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
