"""LACSS's published files: a pickle of a network's config and weights, of which numbers and config alone are built."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.errors import InputError

# What arrays and plain functions of a network are pickled by; of `lacss` itself, its modules: fields and no more.
ALLOWED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("jax._src.array", "_reconstruct_array"),
    ("flax.core.frozen_dict", "FrozenDict"),
    ("flax.ids", "FlaxId"),
    ("flax.linen.module", "_ModuleInternalState"),
    ("flax.linen.module", "SetupState"),
    *(("jax._src.nn.functions", name) for name in ("gelu", "relu", "silu")),
}
MODULES = "lacss.modules."


class _Network(pickle.Unpickler):
    """Arrays, dicts and LACSS's own modules alone: any other name in the file is refused, nothing of it is called."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if (module, name) in ALLOWED or module.startswith(MODULES) else None
        if found is None or (module.startswith(MODULES) and not _is_module(found)):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return found


def _is_module(found: Any) -> bool:
    from lacss.modules.common import DefaultUnpicklerMixin

    return isinstance(found, type) and issubclass(found, DefaultUnpicklerMixin)


def read_published(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(config, weights): nested dicts; weights are arrays. Raises `InputError` where the file holds anything else."""
    try:
        with path.open("rb") as file:
            config, weights, *_ = _Network(file).load()
        config = config if isinstance(config, Mapping) else config.get_config()
        weights = weights.get("params", weights)
        return dict(config), _plain(weights)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        ImportError,
        pickle.PickleError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: not read as weights of LACSS ({reason}), since a pickle may hold code; where you trust it, load "
            "it with the package lacss and pickle its config and its weights as a dict of NumPy arrays"
        ) from None


def _plain(weights: Any) -> Any:
    if isinstance(weights, Mapping):
        return {str(name): _plain(value) for name, value in weights.items()}
    return np.asarray(weights, np.float32)
