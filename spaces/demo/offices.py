"""The processes that work for visitors, and where their files lie. Without Gradio, so that they start before it."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import modelling
from place import Place
from worker import Bounds, Workers, follow

from glioma_hf.progress import ignore

# 1: work in the server's own process, without bounds. For ZeroGPU, which gives the GPU to a process of its own making.
IN_PROCESS = "GLIOMA_HF_IN_PROCESS"
readers = Workers(3, Bounds(megabytes=2048, seconds=60, silent=30, rest=200), ["cells", "files", "reading", "scoring"])
modellers = Workers(1, Bounds(megabytes=8192, seconds=3600, silent=600, rest=1000), ["modelling:warm"])


@functools.cache
def place() -> Place:
    """This server's folder."""
    return Place()


def in_process() -> bool:
    """Whether all work is done in this process."""
    return os.environ.get(IN_PROCESS) == "1"


def start(workers: Workers) -> None:
    """Start the processes of some workers; those that aren't started are when they are first needed."""
    if not in_process():
        workers.start(place().temporary)


def run(
    workers: Workers,
    job: Callable[..., Any],
    *arguments: Any,
    silent: float | None = None,
    seconds: float | None = None,
) -> Iterator[tuple]:
    """Do a job of a module that knows no Gradio: see `Workers.run`. `seconds` is all that it may take."""
    if in_process():
        return run_stoppable(lambda tell: job(tell, *arguments))
    start(workers)
    bounds = workers.bounds if seconds is None else replace(workers.bounds, seconds=seconds)
    return workers.run(job, *arguments, silent=silent, bounds=bounds)


def read(job: Callable[..., Any], *arguments: Any, silent: float | None = None) -> Any:
    """What a job of the processes that read returns, awaited."""
    return next(what for kind, what in run(readers, job, *arguments, silent=silent) if kind == "done")


def models() -> list[tuple[str, str]]:
    """(family, base) of the models that come with the installation, the page's default first."""
    return modelling.bases(ignore) if in_process() else _models()


@functools.cache
def _models() -> list[tuple[str, str]]:
    return next(what for kind, what in run(modellers, modelling.bases) if kind == "done")


class Stopped(Exception):
    """The visitor cancelled."""


def run_stoppable(job: Callable[[Callable[[Any], None]], Any]) -> Iterator[tuple[str, Any]]:
    """Run `job(tell)` in a thread of this process, to be followed like `Workers.run`.

    When the iteration is given up, as Gradio does on Cancel, the job is stopped at its next `tell`.
    """

    def serve(told: Any, given_up: threading.Event) -> None:
        def tell(what: Any) -> None:
            if given_up.is_set():
                raise Stopped
            told.put(("told", what))

        told.put(("done", job(tell)))

    return follow(serve)


def new_folder() -> Path:
    """A folder for one visitor, of a name that can't be guessed; Gradio deletes its copies of downloads by itself."""
    return place().new_folder()


def forget(folder: str | Path | None) -> None:
    """Delete a visitor's folder."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
