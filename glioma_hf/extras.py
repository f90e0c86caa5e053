"""What an installation without extras leaves out: which extra brings which library, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from glioma_hf.errors import InputError

# The name that is imported, and the extra of pyproject.toml that brings it.
EXTRA_OF = {
    "accelerate": "models",
    "alembic": "leaderboard",
    "argon2": "leaderboard",
    "cellpose": "flows",
    "distributed": "dask",
    "fastapi": "leaderboard",
    "flax": "lacss",
    "gradio": "demo",
    "gradio_client": "demo",
    "huey": "leaderboard",
    "jax": "lacss",
    "jinja2": "models",
    "keras": "stardist",
    "limits": "leaderboard",
    "matplotlib": "plots",
    "optax": "lacss",
    "peft": "models",
    "psycopg": "leaderboard",
    "safetensors": "models",
    "sqlalchemy": "leaderboard",
    "stardist": "stardist",
    "tensorflow": "stardist",
    "timm": "encoders",
    "torch": "models",
    "torchvision": "encoders",
    "transformers": "models",
    "ultralytics": "yolo",
    "uvicorn": "leaderboard",
    "vedo": "lacss",
}


@contextmanager
def missing_libraries_named(**extras: str) -> Iterator[None]:
    """Around code that imports a library of an extra: where it isn't installed, the error says what brings it.

    Args:
        extras: by library, the extra to name where several bring it.

    Raises `InputError` in place of a `ModuleNotFoundError` of such a library; others pass as they are, and so does one
    that comes from inside a library that is there (that installation is broken, another command mends it).

        with missing_libraries_named():
            import torch
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRA_OF or find_spec(library) is not None:
            raise
        extra = extras.get(library, EXTRA_OF[library])
        raise InputError(f"{library} isn't installed; pip install 'glioma_hf[{extra}]' brings it") from error
