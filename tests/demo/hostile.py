"""Jobs that no process may be asked to do: for the bounds of worker.py."""

from __future__ import annotations

import os
import re
import signal
import time

import numpy as np

from glioma_hf import InputError
from glioma_hf.progress import Progress


def add(tell, first, second):
    tell(Progress("adding"))
    return first + second


def refuse(tell):
    raise InputError("cells.tif: the file is empty")


def fail(tell):
    raise KeyError("nobody foresaw it")


def allocate(tell):
    return len([np.ones(2**26, np.uint8) for _ in range(64)])


def allocate_at_once(tell):
    return np.ones(2**45, np.uint8).sum()


def sleep(tell):
    time.sleep(10**6)


def spin(tell):
    return re.match(r"(a|a)*$", "a" * 40 + "b")


def talk(tell):
    while True:
        tell(Progress("still here"))
        time.sleep(0.01)


def answer(tell):
    return bytes(2**22)


def crash(tell):
    os.kill(os.getpid(), signal.SIGSEGV)


def name(tell):
    return os.getpid()


HOARD: list = []


def hoard(tell):
    HOARD.append(np.ones(2**28, np.uint8))


def forget(tell):
    """Many small things, which the allocator doesn't give back by itself."""
    kept = [bytes(1000) for _ in range(300_000)]
    last = kept[-1]
    del kept
    return len(last)
