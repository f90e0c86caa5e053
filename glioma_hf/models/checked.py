"""What a model's files may say: nothing in them is trusted.

A config is read by a list of what is allowed; whatever would run code, fetch something, or ask for memory out of
proportion is refused before a model is built.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from glioma_hf.errors import InputError

CODE = ("quantization_config", "auto_map", "custom_pipelines", "compression_config")  # what libraries act upon
ATTENTION = (None, "eager", "sdpa")  # any other name may be fetched and run
MAX_NUMBER = 2**16
# The largest of each in any published SAM, with room.
MAX_BY_NAME = {"image_size": 4096, "num_hidden_layers": 128, "hidden_size": 8192, "num_attention_heads": 256}
MAX_LIST = 1024
MAX_DEPTH = 8


def read_tensors(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which must be those expected, by name and shape.

    Raises `InputError` that names the file and the first tensor that is missing, left over, of another shape or no
    number of the kind expected.
    """
    tensors = {}
    with safe_open(path, "pt") as file:
        names = set(file.keys())
        for what, differing in (("lacks", set(expected) - names), ("holds the unknown", names - set(expected))):
            if differing:
                raise InputError(f"{path}: it {what} {min(differing)} (and {len(differing) - 1} more)")
        for name, like in expected.items():
            shape = file.get_slice(name).get_shape()
            if list(shape) != list(like.shape):
                raise InputError(f"{path}: {name} is of shape {shape}, expected {list(like.shape)}")
            tensors[name] = file.get_tensor(name)
            if tensors[name].is_floating_point() != like.is_floating_point():
                raise InputError(f"{path}: {name} is of type {tensors[name].dtype}, expected {like.dtype}")
    return tensors


def check_finite(tensors: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raise `InputError` for weights that are no numbers."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"{where}: {name} has weights that aren't finite numbers; get the model again")


def check_base_config(config: Any, where: str, depth: int = 0) -> None:
    """Raise `InputError` for a base's config with entries that run code, or numbers out of all proportion."""
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: its config is nested too deeply")
    entries = config.items() if isinstance(config, dict) else enumerate(config)
    for name, value in entries:
        if name in CODE and value:
            raise InputError(f"{where}: its config sets {name!r}; models that need more than weights aren't loaded")
        if "attn_implementation" in str(name) and value not in ATTENTION:
            raise InputError(f"{where}: its config sets {name!r} to {str(value)[:40]!r}; eager and sdpa are known")
        if isinstance(value, dict | list):
            if len(value) > MAX_LIST:
                raise InputError(f"{where}: its config has {len(value)} entries in {name!r}")
            check_base_config(value, where, depth + 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            limit = MAX_BY_NAME.get(str(name), MAX_NUMBER)
            if not math.isfinite(value) or abs(value) > limit:
                raise InputError(f"{where}: its config has {str(value)[:20]} for {name!r}, at most {limit} is read")


def check_weights_hold(folder: Path, parameters: int, where: str) -> None:
    """Raise `InputError` where a folder's weights are far fewer than the model that its config describes."""
    held = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            held += sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    if parameters > 2 * held + 2**22:  # a head for centres may be missing
        raise InputError(f"{where}: its weights hold {held} numbers, its config asks for {parameters}")
