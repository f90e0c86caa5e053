"""Which run of a visitor goes on: the one that was begun last, until it is cancelled.

Gradio ends a cancelled run only when its present step is over. A visitor who presses the button again before that has
begun another run: the one before then stops by itself at its next word, and says nothing any more.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any


class Going:
    """The runs of one kind, by what they are of: a visitor's folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, object] = {}

    def follow(self, key: str, steps: Generator[Any, None, None]) -> Iterator[Any]:
        """The steps of a new run in place of the one before, until it is cancelled or followed by another."""
        run = object()
        with self._lock:
            self._runs[key] = run
        try:
            with closing(steps):
                for step in steps:
                    if self._runs.get(key) is not run:
                        return
                    yield step
        finally:
            with self._lock:
                if self._runs.get(key) is run:
                    del self._runs[key]

    def stop(self, key: str | None) -> None:
        """Cancel the run, where there is one."""
        with self._lock:
            self._runs.pop(key or "", None)

    def is_on(self, key: str | None) -> bool:
        """Whether there is a run."""
        return (key or "") in self._runs
