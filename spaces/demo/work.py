"""What the tabs share: which models visitors choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modelling
from offices import models, readers, run

from glioma_hf import InputError
from glioma_hf.hub import is_repo

try:  # on ZeroGPU hardware a function asks for its seconds of GPU; elsewhere nothing changes
    from spaces import GPU as gpu
except ImportError:

    def gpu(function: Any = None, **_: Any) -> Any:
        """Without ZeroGPU, nothing."""
        return function if function is not None else lambda wrapped: wrapped


OTHER = "another one from the Hub"
ADAPTER_SILENCE = 60.0  # seconds without a word, where a visitor's adapter is put on a base that is here


@dataclass(frozen=True)
class Model:
    """A model that is chosen on the page.

    Attributes:
        base, adapter: as `modelling.load` takes them.
        words: what it is called.
    """

    base: str
    adapter: str | None
    words: str

    @property
    def by(self) -> str:
        """What tells it apart from others."""
        return f"{self.base}|{self.adapter or ''}"

    @property
    def silence(self) -> float | None:
        """How long its process may say nothing: what visitors send must load soon, the Hub may take its time."""
        known = self.adapter is not None and self.base in choices().values() and Path(self.adapter).is_absolute()
        return ADAPTER_SILENCE if known else None


def choices() -> dict[str, str]:
    """Models that come with the installation: how the page calls them, and `load_segmenter`; the default first."""
    return {f"{name}: {base}": f"{name}:{base}" for name, base in models()}


def default() -> tuple[str, str]:
    """The first of `choices`."""
    return next(iter(choices().items()))


def choose_base(model: str, hub_name: str | None) -> str:
    """The base that is chosen on the page. Raises `InputError` for what isn't the name of one."""
    return choices().get(model) or on_hub(hub_name, "a model on the Hub, such as facebook/sam-vit-base")


def on_hub(name: str | None, what: str) -> str:
    """A name of the form USER/NAME, never a path. Raises `InputError` for anything else."""
    name = (name or "").strip()
    if not is_repo(name) or Path(name).exists():
        raise InputError(f"{name[:100] or 'nothing'!r} isn't the name of {what}")
    return name


def in_words(
    model: str, hub_name: str | None, adapter_file: str | None, adapter_name: str | None, taught: dict | None, use: bool
) -> str:
    """What the chosen model is called, before anything is checked."""
    if use and taught:
        return f"{taught['words']}, taught by you on {taught['name']}"
    base = _base_in_words(model, hub_name)
    if adapter_file:
        return f"{Path(adapter_file).name} (on {base}, if it is an adapter)"
    return f"{base} with {adapter_name.strip()}" if (adapter_name or "").strip() else base


def _base_in_words(model: str, hub_name: str | None) -> str:
    return model if model in choices() else (hub_name or "").strip() or "none yet"


def choose_model(
    model: str,
    hub_name: str | None,
    adapter_file: str | None,
    adapter_name: str | None,
    taught: dict | None,
    use: bool,
    folder: str | Path,
) -> Iterator[tuple[str, Any]]:
    """News until ("done", the `Model` chosen): a base, with an adapter uploaded (unpacked into `folder`), on the Hub,
    or a whole model uploaded, or, with `use`, what was taught here. Raises `InputError` for what is none.
    """
    words = in_words(model, hub_name, adapter_file, adapter_name, taught, use)
    if use and taught:
        yield "done", Model(taught["base"], taught["adapter"], words)
        return
    base = choose_base(model, hub_name)
    adapter = None
    if adapter_file:
        adapter = str(Path(folder) / f"adapter_{Path(adapter_file).parent.name[:16]}" / Path(adapter_file).name)
        for kind, what in run(readers, modelling.unpack, adapter_file, adapter, base):
            if kind != "done":
                yield kind, what
            else:
                words = f"{Path(adapter_file).name} ({what or f'on {_base_in_words(model, hub_name)}'})"
    elif (adapter_name or "").strip():
        adapter = on_hub(adapter_name, "an adapter on the Hub, such as USER/NAME")
    yield "done", Model(base, adapter, words)
