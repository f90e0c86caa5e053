"""What the tabs share: what visitors choose, how they wait, and what is said when it fails."""

from __future__ import annotations

import html
import logging
import re
import secrets
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import modelling
from offices import models, readers, run
from worker import Broken

from glioma_hf import InputError
from glioma_hf.hub import is_repo
from glioma_hf.models import EMBEDDED as EMBEDDED_BASE

try:  # on ZeroGPU hardware a function asks for its seconds of GPU; elsewhere nothing changes
    from spaces import GPU as gpu
except ImportError:

    def gpu(function: Any = None, **_: Any) -> Any:
        """Without ZeroGPU, nothing."""
        return function if function is not None else lambda wrapped: wrapped


WAIT = (gr.skip(), gr.skip(), gr.skip(), gr.skip())  # no news for an event of four outputs
EMBEDDED = "Embedded model"
OTHER = "SAM from the Hub"
ADAPTER_SILENCE = 60.0  # seconds without a word, where a visitor's adapter is put on a base that is here

LOG = logging.getLogger("glioma_hf.demo")


def patiently(news: Iterator[tuple]) -> Generator[tuple, None, Any]:
    """What a job returns, for an event of four outputs that yields meanwhile, so that Cancel is heard at once."""
    for kind, what in news:
        if kind == "done":
            return what
        yield WAIT


def cancelled() -> str:
    """What the status says once more after Cancel: news that was on its way then may have come after it."""
    time.sleep(0.7)
    return "Cancelled."


def complain(error: Exception | str, *paths: str | None) -> gr.Error:
    """A sentence for the visitor, in which their own file's name stands for its path on the server."""
    text = str(error)
    for path in paths:
        if path:
            text = text.replace(path, Path(path).name)
    text = re.sub(r"(?<![\w.~-])/\S*/", "", text)
    return gr.Error(html.escape(text, quote=False), print_exception=False, title="That didn't work")


def unforeseen(error: BaseException) -> gr.Error:
    """A sentence for the visitor about an error that is ours; its trace goes to the log under the same number."""
    number = secrets.token_hex(4)
    trace = f"\n{error}" if isinstance(error, Broken) else ""
    LOG.error("unforeseen error %s%s", number, trace, exc_info=None if trace else error)
    return complain(f"Something went wrong that is our fault, not yours; please report it with the number {number}")


def choices() -> dict[str, str]:
    """Models to start from that come with the installation: how the page calls them, and `load_segmenter`."""
    return {EMBEDDED if base == EMBEDDED_BASE else f"{name}: {base}": f"{name}:{base}" for name, base in models()}


def choose_base(model: str, hub_name: str | None) -> str:
    """The base that is chosen on the page. Raises `InputError` for what isn't the name of one."""
    return choices().get(model) or on_hub(hub_name, "a model on the Hub, such as facebook/sam-vit-base")


def on_hub(name: str | None, what: str) -> str:
    """A name of the form USER/NAME, never a path. Raises `InputError` for anything else."""
    name = (name or "").strip()
    if not is_repo(name) or Path(name).exists():
        raise InputError(f"{name[:100] or 'nothing'!r} isn't the name of {what}")
    return name


def choose_adapter(
    adapter_file: str | None, adapter_name: str | None, taught: str | None, folder: str | Path
) -> Generator[tuple, None, str | None]:
    """The adapter that is chosen on the page: uploaded (unpacked into `folder`), on the Hub or taught here.

    Yields like `patiently`. Raises `InputError` for what is none.
    """
    if adapter_file:
        target = str(Path(folder) / "adapter" / Path(adapter_file).name)  # its owner knows it by that name
        yield from patiently(run(readers, modelling.unpack, adapter_file, target))
        return target
    if (adapter_name or "").strip():
        return on_hub(adapter_name, "an adapter on the Hub, such as USER/NAME")
    return taught


def silence(base: str, adapter: str | None) -> float | None:
    """How long the model's process may say nothing: what visitors send must load soon, the Hub may take its time."""
    return ADAPTER_SILENCE if adapter and base in choices().values() and Path(adapter).is_absolute() else None
