"""What a segmenter is: by content, whether two runs of `predict` used the same one, and how large it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from glioma_hf.models.base import Segmenter


def fingerprint(segmenter: Segmenter) -> str:
    """SHA-256 of everything that a segmenter holds but its settings and its origin: weights above all."""
    digest = hashlib.sha256(f"{type(segmenter).__module__}.{type(segmenter).__qualname__}".encode())
    for name, value in sorted(vars(segmenter).items()):
        if name not in ("settings", "origin"):
            digest.update(name.encode())
            _add(digest, value)
    _add(digest, segmenter.arrays())
    return digest.hexdigest()


def parameters_of(segmenter: Segmenter) -> int | None:
    """How many numbers the networks hold that a segmenter is made of; None where it has none."""
    values = vars(segmenter).values()
    parts = [part for value in values for part in (value if isinstance(value, list | tuple) else [value])]
    held = [part for part in parts if hasattr(part, "parameters")]
    finders = [part for part in parts if isinstance(part, Segmenter)]
    sizes = {id(tensor): tensor.numel() for module in held for tensor in module.parameters()}
    below = [parameters_of(finder) or 0 for finder in finders]
    others = [int(array.size) for array in segmenter.arrays().values()]
    return sum(sizes.values()) + sum(below) + sum(others) if held or others else None


def _add(digest: Any, value: Any) -> None:
    """A value of a kind that segmenters are made of; of others the type counts alone."""
    if isinstance(value, Segmenter):  # a finder
        _add(digest, [fingerprint(value), value.settings.model_dump_json()])
    elif hasattr(value, "state_dict"):  # a torch module
        _add(digest, value.state_dict())
    elif hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().contiguous()
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(type_of_bytes()).numpy().data)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _add(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _add(digest, item)
    elif isinstance(value, str | bytes | int | float | bool | None):
        digest.update(repr(value).encode())
    else:
        digest.update(type(value).__qualname__.encode())


def type_of_bytes() -> Any:
    """torch's uint8, imported only where there are tensors."""
    import torch

    return torch.uint8
