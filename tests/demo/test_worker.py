"""The processes that work for visitors: what passes a bound is killed, and nobody else notices."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

import pytest

from glioma_hf import InputError
from tests.conftest import ROOT
from tests.demo import hostile


@pytest.fixture(scope="module")
def worker():
    """The page's module `worker`, which lies beside its script."""
    sys.path.insert(0, str(ROOT / "spaces" / "demo"))
    import worker

    yield worker
    sys.path.remove(str(ROOT / "spaces" / "demo"))


@pytest.fixture(scope="module")
def workers(worker, tmp_path_factory):
    """Two processes with small bounds."""
    started = worker.Workers(2, worker.Bounds(300, 4, 2, 2**20), ["tests.demo.hostile"])
    started.start(tmp_path_factory.mktemp("temporary"))
    yield started
    started.stop()


def done(workers, job, *arguments):
    """What a job returns that may take its time: others may keep the machine busy."""
    patient = replace(workers.bounds, seconds=120, silent=120)
    return next(what for kind, what in workers.run(job, *arguments, bounds=patient) if kind == "done")


def test_a_job_tells_and_returns(workers):
    news = [(kind, getattr(what, "message", what)) for kind, what in workers.run(hostile.add, 1, 2) if kind != "idle"]
    assert news == [("told", "adding"), ("done", 3)]


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("allocate", "needed more than 300 MB of memory"),
        ("allocate_at_once", "needed more than 300 MB of memory"),
        ("sleep", "took longer than 2 s"),
        ("spin", "took longer than 2 s"),
        ("talk", "took longer than 4 s"),
        ("answer", "an answer of over 1 MB"),
    ],
)
def test_a_job_that_passes_a_bound_is_told_and_the_other_visitor_is_served(workers, worker, job, says):
    told = []
    # Memory may take its time where others keep the machine busy.
    bounds = worker.Bounds(300, 60, 60, 2**20) if job.startswith("allocate") else None

    def hostile_visitor():
        try:
            list(workers.run(getattr(hostile, job), bounds=bounds))
        except InputError as error:
            told.append(error)

    thread = threading.Thread(target=hostile_visitor)
    thread.start()
    served = 0
    while thread.is_alive():
        assert done(workers, hostile.add, 2, 2) == 4
        served += thread.is_alive()
        time.sleep(0.05)
    assert served or job in ("allocate_at_once", "answer")  # which end at once
    assert isinstance(told[0], worker.Exceeded)
    assert says in str(told[0])
    assert [done(workers, hostile.add, 1, i) for i in range(4)] == [1, 2, 3, 4]


def test_errors_are_a_sentence_or_ours(workers, worker):
    with pytest.raises(InputError, match=r"cells\.tif: the file is empty"):
        list(workers.run(hostile.refuse))
    with pytest.raises(worker.Broken, match=r"(?s)Traceback.*nobody foresaw it"):
        list(workers.run(hostile.fail))
    with pytest.raises(worker.Broken, match="code -11"):
        list(workers.run(hostile.crash))
    assert done(workers, hostile.add, 1, 1) == 2


@pytest.mark.parametrize("job", ["talk", "sleep"])
def test_a_job_that_is_given_up_frees_its_process(worker, tmp_path, job, monkeypatch):
    monkeypatch.setattr(worker, "GRACE", 4)
    alone = worker.Workers(1, worker.Bounds(300, 60, 60), ["tests.demo.hostile"])
    alone.start(tmp_path)
    try:
        before = done(alone, hostile.name)
        news = alone.run(getattr(hostile, job))
        next(news)
        started = time.monotonic()
        news.close()
        assert time.monotonic() - started < 2  # not the time of grace: Gradio closes it where it serves everyone
        # One that speaks is stopped, one that is silent is killed.
        assert (done(alone, hostile.name) == before) == (job == "talk")
    finally:
        alone.stop()


@pytest.mark.parametrize(("job", "same"), [("hoard", False), ("forget", True)])
def test_what_a_job_leaves_in_memory_is_bounded(worker, tmp_path, job, same):
    alone = worker.Workers(1, worker.Bounds(1000, 60, 60, rest=200), ["tests.demo.hostile"])
    alone.start(tmp_path)
    try:
        before = done(alone, hostile.name)
        list(alone.run(getattr(hostile, job)))
        assert (done(alone, hostile.name) == before) == same
    finally:
        alone.stop()
