"""One run of a model at a time, for everyone: visitors wait in one line and are told their place and the time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from glioma_hf import InputError

TICK = 0.4  # seconds from one look at the line to the next
STALE = 30.0  # seconds after which a visitor of whom nothing is heard is passed over
LONGEST_LINE = 16
FULL = "There are too many visitors just now; try again in some minutes."
SECONDS = {"segment": 4.0, "teach": 150.0}  # of a megapixel or a lesson, until some were seen


class LineFull(InputError):
    """There are too many visitors before this one."""


class Turns:
    """The line before the one process that runs models."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: list[Ticket] = []
        self._seen = dict(SECONDS)

    def ticket(self, kind: str, size: float = 1.0) -> Ticket:
        """A place at the end of the line, for work of a kind and a size; to be used as a context."""
        return Ticket(self, kind, max(size, 0.05))

    def expected(self, kind: str) -> float:
        """Seconds for work of size 1, by what was seen."""
        return self._seen.get(kind, SECONDS["segment"])

    def enter(self, ticket: Ticket) -> None:
        """Take the place. Raises `LineFull`."""
        with self._lock:
            self._sweep()
            if len(self._line) >= LONGEST_LINE:
                raise LineFull(FULL)
            self._line.append(ticket)

    def leave(self, ticket: Ticket, whole: bool) -> None:
        """Give the place back; work that was done whole says how long such work takes."""
        with self._lock:
            if ticket in self._line:
                self._line.remove(ticket)
            if whole and ticket.began:
                took = (time.monotonic() - ticket.began) / ticket.size
                self._seen[ticket.kind] = 0.5 * self.expected(ticket.kind) + 0.5 * took

    def ahead(self, ticket: Ticket) -> tuple[int, float]:
        """(how many are before this one, seconds that they need by what is known)."""
        with self._lock:
            ticket.heard = time.monotonic()
            self._sweep()
            before = self._line[: self._line.index(ticket)] if ticket in self._line else []
            if not before and ticket not in self._line:
                self._line.append(ticket)  # it was silent for too long, and speaks again
                before = self._line[:-1]
            if not before:
                ticket.began = ticket.began or time.monotonic()
            return len(before), sum(other.left() for other in before)

    def _sweep(self) -> None:
        now = time.monotonic()
        self._line = [ticket for ticket in self._line if now - ticket.heard < STALE]


class Ticket:
    """A visitor's place in the line."""

    def __init__(self, turns: Turns, kind: str, size: float):
        self.turns, self.kind, self.size = turns, kind, size
        self.heard, self.began, self.whole = time.monotonic(), 0.0, False

    def __enter__(self) -> Ticket:
        self.heard = time.monotonic()
        self.turns.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.turns.leave(self, self.whole)

    def left(self) -> float:
        """Seconds that its work will still take."""
        expected = self.turns.expected(self.kind) * self.size
        return max(expected - (time.monotonic() - self.began), 1.0) if self.began else expected

    def waiting(self) -> Iterator[str]:
        """A sentence now and then until it is this one's turn."""
        while (told := self.turns.ahead(self))[0]:
            number, seconds = told
            yield f"You are number {number + 1} in line; it is your turn in about {max(round(seconds), 1)} s."
            time.sleep(TICK)

    def follow(self, news: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """The news of a job, while the place is kept."""
        for kind, what in news:
            self.turns.ahead(self)
            if kind == "done":
                self.whole = True
            yield kind, what


TURNS = Turns()
