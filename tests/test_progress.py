"""The lines that a run says of itself."""

from __future__ import annotations

from glioma_hf import progress
from glioma_hf.progress import Progress, to_lines


def told(monkeypatch, runs: list[tuple[range, float, float]]) -> list[str]:
    """The lines of runs, one after the other: steps, seconds a step, seconds before its first step."""
    lines, now = [], 0.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    tell = to_lines(lines.append, every=2)
    for steps, seconds, before in runs:
        now += before
        for step in steps:
            now += seconds
            tell(Progress(done=step, total=4, loss=1.0))
    return lines


def test_the_time_left_is_of_the_run_that_is_told_of(monkeypatch):
    runs = [(range(1, 5), 10.0, 0.0), (range(1, 5), 1.0, 1000.0), (range(3, 5), 1.0, 1000.0)]
    assert told(monkeypatch, runs) == [
        "  step 2 of 4, loss 1.000, about 10 s left",
        "  step 4 of 4, loss 1.000, about 0 s left",
        "  step 2 of 4, loss 1.000, about 1 s left",
        "  step 4 of 4, loss 1.000, about 0 s left",
        "  step 4 of 4, loss 1.000, about 0 s left",
    ]
