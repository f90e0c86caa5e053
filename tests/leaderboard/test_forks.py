"""Work in forks of a process that has imported it: bounded and without secrets as work in a new process is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glioma_hf import InputError
from glioma_hf.leaderboard import bounded, forks
from glioma_hf.leaderboard.bounded import LOG, Bounds, Broken, Exceeded
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not forks.POSSIBLE, reason="work isn't forked on this system")

BOUNDS = Bounds(120, 3000)
SERVER = """
import sys
from pathlib import Path
from glioma_hf.leaderboard.bounded import Bounds, run
facts = {"kind": "results", "file": "results.json", "data": sys.argv[2], "split": "spec/test", "objects": "cells"}
run("check", Path(sys.argv[1]), facts, Bounds(120, 3000))
"""


@pytest.fixture
def work(tmp_path: Path, results: Path) -> Path:
    (tmp_path / "work").mkdir()
    shutil.copyfile(results, tmp_path / "work" / "results.json")
    return tmp_path / "work"


@pytest.fixture
def facts(folder: Path) -> dict[str, str]:
    return {"kind": "results", "file": "results.json", "data": str(folder), "split": "spec/test", "objects": "cells"}


@pytest.fixture
def nursery(monkeypatch) -> Iterator[forks.Nursery]:
    """One of this test's own, begun beside a secret."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://hush")
    own = forks.Nursery()
    monkeypatch.setattr(bounded, "_NURSERY", own)
    yield own
    own._control.close()
    assert own._process.wait(20) == 0, "it ends where nobody is left to ask it"


def children(pid: int) -> set[int]:
    """Those of a process, theirs too; one that has ended isn't there."""
    found = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= {int(child)} | children(int(child))
    return found


def test_it_is_checked_as_in_a_new_process_and_no_secret_is_there(nursery, work, facts, monkeypatch):
    forked = bounded.run("check", work, facts, BOUNDS)
    assert b"hush" not in Path(f"/proc/{nursery._process.pid}/environ").read_bytes()
    assert (work / LOG).read_text() == ""
    with pytest.raises(InputError, match="the task 'bad' isn't one of its own"):
        bounded.run("check", work, facts | {"objects": "bad"}, BOUNDS)
    (work / "answer.json").unlink()
    with pytest.raises(Broken, match="TypeError"):
        bounded.run("check", work, {"no": "argument"}, BOUNDS)
    monkeypatch.setattr(forks, "POSSIBLE", False)
    assert bounded.run("check", work, facts, BOUNDS) == forked


def test_what_passes_a_bound_is_killed_and_others_go_on(nursery, work, facts):
    kept = (work / "results.json").rename(work / "kept.json")
    os.mkfifo(work / "results.json")  # nobody writes: who reads it waits
    with pytest.raises(Exceeded, match="took longer than 1 s"):
        bounded.run("check", work, facts, Bounds(1, 3000))
    with pytest.raises(Exceeded, match="needed more than 1 MB"):
        bounded.run("check", work, facts, Bounds(60, 1))
    wait_for(lambda: not children(nursery._process.pid), 20)
    assert bounded.run("check", work, facts | {"file": kept.name}, BOUNDS)["called"] == kept.name


def test_work_goes_on_where_the_process_that_is_forked_has_ended(nursery, work, facts):
    bounded.run("check", work, facts, BOUNDS)
    first = nursery._process
    first.kill()
    first.wait()
    for _ in range(2):
        assert bounded.run("check", work, facts, BOUNDS)["called"] == "results.json"
    assert nursery._process.pid != first.pid


def test_nothing_outlives_a_server_that_is_killed(work, facts):
    (work / "results.json").unlink()
    os.mkfifo(work / "results.json")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    server = subprocess.Popen([sys.executable, "-c", SERVER, work, facts["data"]], env=environment)
    wait_for(lambda: len(children(server.pid)) == 3, 60)  # what is forked, a keeper and the work
    started = children(server.pid)
    time.sleep(0.5)
    server.send_signal(signal.SIGKILL)
    server.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 20)
