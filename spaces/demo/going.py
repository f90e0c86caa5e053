"""Which run of a visitor goes on, and how it ends: by Cancel, or by another that takes its place.

Gradio's own way to cancel leaves a run where it is, with its place in the line before the model, until somebody
collects it. Here a run ends itself at its next word, and gives back what it held before its visitor begins another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

LONGEST_STEP = 20.0  # seconds from one word of a run to the next; one that is silent for longer is lost


class Run:
    """One run: whether it was stopped, and whether it is over."""

    def __init__(self) -> None:
        self.stopped, self.over = False, threading.Event()


class Going:
    """The runs of one kind, by what they are of: a visitor's folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}

    def follow(self, key: str, steps: Generator[Any, None, None], ending: Callable[[], Any]) -> Iterator[Any]:
        """The steps of a new run, and `ending()` where it was stopped; one that it takes the place of says no more."""
        run = Run()
        with self._lock:
            self._runs[key] = run
        try:
            with closing(steps):
                for step in steps:
                    if run.stopped or self._runs.get(key) is not run:
                        break
                    yield step
            if run.stopped:
                yield ending()
        finally:
            with self._lock:
                if self._runs.get(key) is run:
                    del self._runs[key]
            run.over.set()

    def stop(self, key: str | None) -> bool:
        """Stop the run and await its end; whether there was one that came to it, and so told its visitor."""
        run = self._runs.get(key or "")
        if run is None:
            return False
        run.stopped = True
        if run.over.wait(LONGEST_STEP):
            return True
        with self._lock:
            if self._runs.get(key or "") is run:
                del self._runs[key or ""]
        return False
