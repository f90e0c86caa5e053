"""The data sets that can be read into rows: one file each, which ends in `SOURCE = Source(...)`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from glioma_hf.errors import InputError

if TYPE_CHECKING:
    from glioma_hf.data.sources.base import Source

# By the name that `--source` takes.
SOURCES = {
    "dynamicnuclearnet": "glioma_hf.data.sources.dynamicnuclearnet",
    "glioma_c6": "glioma_hf.data.sources.glioma_c6",
    "livecell": "glioma_hf.data.sources.livecell",
    "neurips22": "glioma_hf.data.sources.neurips22",
    "tissuenet": "glioma_hf.data.sources.tissuenet",
}


def get_source(name: str) -> Source:
    """The source of that name. Raises `InputError` that lists the known ones for another."""
    if name not in SOURCES:
        raise InputError(f"the source {name!r} isn't known; it is one of {', '.join(SOURCES)}")
    source: Source = import_module(SOURCES[name]).SOURCE
    return source
