"""Waiting in tests for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(done: Callable[[], bool], seconds: float = 90) -> None:
    """Until it is done."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it wasn't done in time"
        time.sleep(0.02)
