"""How long work tells how far it is: one event, one form of callback.

>>> lines = []
>>> tell = to_lines(lines.append)
>>> tell(Progress("preparing"))
>>> tell(Progress("image 3", done=3, total=12))
>>> lines
['preparing', 'image 3']
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One piece of news from work that takes long.

    Attributes:
        message: a line for people, or "" where the numbers say it all.
        done: how much is done, of `total`: images, steps, bytes.
        total: 0 where it isn't known.
        loss: of a training step, where the work is training.
    """

    message: str = ""
    done: float = 0
    total: float = 0
    loss: float | None = None

    @property
    def share(self) -> float:
        """Of the work that is done, 0 ... 1; 0 where the total isn't known."""
        return self.done / self.total if self.total else 0.0


# Called with news as the work goes on; what it raises stops the work.
OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """An `OnProgress` that says nothing."""


def to_lines(say: Callable[[str], None], every: int = 10) -> OnProgress:
    """An `OnProgress` that says each message, and every tenth training step with the time left."""
    started, first, last = 0.0, 0.0, math.inf

    def tell(progress: Progress) -> None:
        nonlocal started, first, last
        if progress.message:
            say(progress.message)
        if progress.loss is None:
            return
        if progress.done <= last:  # another run; one that goes on doesn't begin at 1
            started, first = time.perf_counter(), progress.done
        last = progress.done
        if progress.done % every == 0 or progress.done == progress.total:
            left = (time.perf_counter() - started) / (progress.done - first + 1) * (progress.total - progress.done)
            say(
                f"  step {progress.done:.0f} of {progress.total:.0f}, loss {progress.loss:.3f}, about {left:.0f} s left"
            )

    return tell
