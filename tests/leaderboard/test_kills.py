"""A server that is killed at random moments: nothing acknowledged is lost, and nothing is scored twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import add_data_set, begin
from glioma_hf.leaderboard.database import Database, content
from glioma_hf.leaderboard.scoring import Worker
from glioma_hf.leaderboard.tables import Developer, Model, Scoring, Submission
from tests.conftest import ROOT
from tests.leaderboard.living import LIMITS, unfinished
from tests.waiting import wait_for

pytestmark = pytest.mark.alone

MOMENTS = ("submitting", "acknowledged", "publishing")  # after which word of the server it is killed, or a little later
LATER = 1.5  # seconds


def killed(where: str, folder: Path, results: Path, number: int, moment: str, later: float) -> list[list[str]]:
    """Run a server until it says a word, then kill it; all that it said."""
    command = [sys.executable, "-m", "tests.leaderboard.living", where, folder, results, number]
    server = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    said = []
    for line in server.stdout:
        said.append(line.split())
        if said[-1][0] == moment:
            break
    time.sleep(later)
    server.send_signal(signal.SIGKILL)
    said += [line.split() for line in server.stdout]
    server.wait()
    return said


def survive(rounds: int, seed: int, new_place, tmp_path: Path, folder: Path, results: Path) -> None:
    where, home, chance = new_place(), tmp_path / "board", random.Random(seed)
    board = Board.open(home, where, limits=LIMITS)
    begin(board)
    add_data_set(board, folder, "synthetic")
    with board.database.writing() as session:
        session.add(Developer(name="Ann"))
    board.close()
    said, moments = [], Counter()
    for number in range(rounds):
        moment, later = MOMENTS[number % len(MOMENTS)], chance.uniform(0, LATER)
        said += killed(where, home, results, 100 * number, moment, later)
        moments[said[-1][0]] += 1
    board = Board.open(home, where, limits=LIMITS)
    worker = Worker(board)
    worker.start()
    try:
        wait_for(lambda: not unfinished(board), 120)
    finally:
        worker.stop()
    acknowledged = {words[1] for words in said if words[0] == "acknowledged"}
    published = {words[1] for words in said if words[0] == "published"}
    with board.database.reading() as session:
        states = dict(session.execute(select(Submission.id, Submission.state)).all())
        kept = set(session.scalars(select(Model.id).filter_by(published=True)))
        scorings = Counter(session.scalars(select(Scoring.submission_id)))
        everything = content(session)
    times = Counter(
        entry.row["id"]
        for entry in board.database.record.entries()
        if entry.table == "submission" and entry.row["state"] == "scored"
    )
    board.close()
    print(f"{rounds} kills, last words {dict(moments)}: {len(acknowledged)} acknowledged, {len(published)} published")
    assert acknowledged <= set(states)
    assert set(states.values()) == {"scored"}
    assert published <= kept
    assert set(times.values()) == {1}, "nothing is scored twice"
    assert set(scorings.values()) == {2}, "once in each mode"
    again = Database(new_place(), board.database.record)
    with again.reading() as session:
        assert content(session) == everything
    again.close()


@pytest.mark.slow
def test_three_kills(new_place, tmp_path, folder, results):
    survive(3, 1, new_place, tmp_path, folder, results)


@pytest.mark.exhaustive
def test_twenty_kills(new_place, tmp_path, folder, results):
    survive(20, int(os.environ.get("SEED", "2")), new_place, tmp_path, folder, results)
