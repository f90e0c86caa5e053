"""A reader with every fault that the harness is to notice."""

from __future__ import annotations

import os
import time

from glioma_hf.errors import InputError


def misbehave(data: bytes) -> bytes:
    """What the harness is to notice, by the input."""
    if data == b"fails":
        raise KeyError("x")
    if data == b"slow":
        end = time.process_time() + 2.3
        while time.process_time() < end:
            pass
    if data == b"large":
        return b"x" * (600 * 2**20)
    if data == b"huge":
        return bytes(10 * 2**30)
    if data == b"dies":
        os.abort()
    if data == b"bad":
        raise InputError("x: not good; give a good one")
    return data
