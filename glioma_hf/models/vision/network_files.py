"""The files of a saved network: how it is built, and its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from glioma_hf.errors import InputError
from glioma_hf.jsonfile import problem_of, read_checked
from glioma_hf.models.checked import check_finite, read_tensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def read_config(folder: Path, kind: Any) -> Any:
    """How the network in a folder is built, as `kind` has it, a pydantic model or a union of some.

    Raises `InputError` for a file that doesn't say so.
    """
    path = folder / CONFIG
    try:
        return TypeAdapter(kind).validate_json(read_checked(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({problem_of(error)}); train again") from None


def read_network(folder: Path, build: Callable[[], AnyNetwork]) -> AnyNetwork:
    """A network as `build` makes it, with the weights that lie in a folder, in evaluation mode.

    Raises `InputError` that names what is wrong with them.
    """
    path = folder / WEIGHTS
    with torch.device("meta"):
        expected = build().state_dict()
    try:
        tensors = read_tensors(path, expected)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]}); train again") from None
    network = build()
    network.load_state_dict(tensors)
    check_finite(network.state_dict().items(), str(path))  # as it computes: doubles may be too large for floats
    return network.eval()


def save_network(network: nn.Module, config: BaseModel, folder: Path) -> None:
    """All that prediction needs."""
    (folder / CONFIG).write_text(config.model_dump_json(indent=2))
    save_tensors(network.state_dict(), folder)


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """The file of weights alone."""
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # as its neighbours; safetensors leaves it to the owner alone
