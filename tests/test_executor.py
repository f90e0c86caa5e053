"""Pieces of work: here, in several processes, on a Dask cluster; a worker that is killed loses nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from glioma_hf.errors import InputError, NotWritten, WorkStopped
from glioma_hf.executor import Workers
from tests.clusters import two_dask_workers
from tests.conftest import free_port


def work(shared: str, piece: object) -> object:
    """Squares; some words make it fail, or kill the process: "once" until the file `shared` is there."""
    if piece == "bad":
        raise InputError("a bad piece")
    if piece == "full":
        raise NotWritten("out", "No space left on device")
    if piece == "always" or (piece == "once" and not Path(shared).exists()):
        Path(shared).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return piece**2 if isinstance(piece, int) else piece


def slow(shared: str, piece: int) -> tuple[int, int]:
    """The square, and by which process."""
    Path(shared, f"{piece}_{os.getpid()}").touch()
    time.sleep(0.2)
    return piece**2, os.getpid()


def test_alone_all_comes_in_order_and_errors_are_told(tmp_path):
    outcomes = list(Workers().run(work, [3, "bad", 4], str(tmp_path / "x")))
    assert [(o.position, o.value) for o in outcomes] == [(0, 9), (1, None), (2, 16)]
    with pytest.raises(InputError, match="a bad piece"):
        outcomes[1].get()
    with pytest.raises(InputError, match="by 1 to 1024 processes, not by 0"):
        Workers(0)


def test_processes_give_the_same_and_survive_a_kill(tmp_path):
    with Workers(2) as workers:
        outcomes = {o.position: o for o in workers.run(work, [3, "once", 4, "bad", "full"], str(tmp_path / "killed"))}
        assert [outcomes[i].value for i in range(3)] == [9, "once", 16]
        assert type(outcomes[3].error) is InputError
        assert isinstance(outcomes[4].error, WorkStopped)  # an error that can't be pickled travels as one of its kind
        assert "No space left on device" in str(outcomes[4].error)
        assert (tmp_path / "killed").exists()
        (last,) = workers.run(work, ["always"], str(tmp_path / "killed"))
        assert "killed again and again" in str(last.error)


def test_without_dask_one_sentence_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"distributed isn't installed; pip install 'glioma_hf\[dask\]' brings it"):
        list(Workers(scheduler="tcp://127.0.0.1:1").run(work, [1]))


def test_a_scheduler_that_isnt_there_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("glioma_hf.executor._CONNECT", "1s")
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=f"{address}: no Dask scheduler answers there"):
        list(Workers(scheduler=address).run(work, [1]))


@pytest.mark.alone
def test_two_dask_workers_of_which_one_is_killed(dask_cluster, tmp_path):
    address, processes = dask_cluster
    killed, values = None, {}
    for outcome in Workers(scheduler=address).run(slow, list(range(12)), str(tmp_path)):
        values[outcome.position], pid = outcome.get()
        if killed is None and pid in processes:
            killed = pid
            os.kill(pid, signal.SIGKILL)
    assert killed is not None
    assert values == {i: i**2 for i in range(12)}
    assert {int(p.name.split("_")[1]) for p in tmp_path.iterdir()} == set(processes)  # both were at work


@pytest.fixture
def dask_cluster(tmp_path):
    """Address of a scheduler on loopback, and the ids of its two workers' processes."""
    pytest.importorskip("distributed")
    with two_dask_workers(tmp_path) as cluster:
        yield cluster
