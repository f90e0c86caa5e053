"""What the page holds doesn't grow with the number of visitors: benchmarks/demo_memory.py does the same for an hour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.demo.hour import images, megabytes, processes, rounds
from tests.demo.visitor import Visitor

if not Path("/proc/self/statm").exists():
    pytest.skip("how much a process holds is read from /proc", allow_module_level=True)
pytestmark = pytest.mark.long

VISITORS = 6  # half of those who come
PICTURE = (1200, 1600)  # of noise, which is shown by 2 MB
RUNS = 4  # half of those of a model


def test_what_visitors_were_shown_is_let_go_of(started, tmp_path):
    """Nobody's picture stays in the server, not even that of one who cancels and one who leaves without a word."""
    address, server = started
    noise = np.random.default_rng(1).integers(0, 255, PICTURE, np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")

    def come() -> None:
        visitor = Visitor(address)
        file = visitor.upload(tmp_path / "noise.png")
        shown = visitor.send("segment-upload", "upload", [file])["viewer"]
        assert len(shown["image"]) > 1_900_000
        visitor.send("teach-upload", "upload", file)
        visitor.cancel("find", "cancel", visitor.first_model, "", None, "", False)

    held = []
    for _ in range(3):
        for _ in range(VISITORS):
            come()
        held.append(megabytes(server))
    print("the server holds", ", ".join(f"{value:.0f}" for value in held), "MB")
    # One picture kept of each would be 12 MB of each row.
    assert held[2] < held[1] + 8


def test_runs_on_images_of_any_size_leave_nothing_behind(started, tmp_path):
    address, server = started
    sizes = [(260 + 40 * i, 220 + 20 * (i * 7 % 11)) for i in range(2 * RUNS)]
    held = []
    for path in images(tmp_path, sizes):
        visitor = Visitor(address)
        visitor.send("segment-upload", "upload", [visitor.upload(path)])
        visitor.send("find", "click", visitor.first_model, "", None, "", False)
        held.append({name: megabytes(pid) for name, pid in processes(server).items()})
    print(held[RUNS - 1], held[-1])
    assert sum(held[-1].values()) < 1.15 * sum(held[RUNS - 1].values())


def test_what_a_visitor_does_in_some_minutes_is_possible(server, tmp_path):
    """The actions of the hour that the benchmark measures."""
    done = [name for name, act in next(rounds(server, images(tmp_path, [(200, 150)]), 0)) if not act() or True]
    assert len(set(done)) > 10
