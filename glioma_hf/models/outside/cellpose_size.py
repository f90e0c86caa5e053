"""Cellpose's size models, which say how large an image's cells are: a linear model of the network's style vector.

They are published as pickles. Only what such a file needs to hold, dicts of numbers and arrays, is built from them.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.errors import InputError

PARAMETERS = ("A", "smean", "ymean", "diam_mean")
# What NumPy's arrays and numbers are pickled by, under its old and its new name.
ALLOWED = {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Numbers(pickle.Unpickler):
    """Arrays and numbers alone: any other name in the file is refused, and nothing of it is called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def read_parameters(path: Path) -> dict[str, np.ndarray]:
    """The numbers of a size model's file. Raises `InputError` where it holds anything else."""
    try:
        with path.open("rb") as file:
            _skip_header(file)
            held = _Numbers(file).load()
        held = held.item()
        return {name: np.asarray(held[name], np.float64) for name in PARAMETERS}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        IndexError,
        pickle.PickleError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a size model of Cellpose ({reason}); delete the file, get it again") from None


def _skip_header(file: Any) -> None:
    """Of NumPy's format: what follows it is one pickle."""
    read = np.lib.format.read_magic(file)
    if read == (1, 0):
        np.lib.format.read_array_header_1_0(file)
    else:
        np.lib.format.read_array_header_2_0(file)


def read_size_model(models: Any, model: Any, path: Path) -> Any:
    """The package's `SizeModel` around a model, with the numbers of a file that it would unpickle."""
    parameters = read_parameters(path)
    sizes = models.SizeModel(model)
    sizes.params, sizes.diam_mean = parameters, float(parameters["diam_mean"])
    return sizes
