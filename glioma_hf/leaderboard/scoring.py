"""Scoring, as workers do it: a submission is taken by one of them, scored, and its scores appear all at once.

Who takes a submission leases it, and says so again while it works. What a dead worker held is taken up again, by
anyone, until it was taken up `Limits.attempts` times. A worker whose lease another one has taken over writes nothing.
"""

from __future__ import annotations

import datetime
import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from glioma_hf.benchmark.results import ResultRow
from glioma_hf.errors import InputError
from glioma_hf.leaderboard import bounded
from glioma_hf.leaderboard.board import Board, clear_abandoned, folder_of
from glioma_hf.leaderboard.jobs import PREDICTIONS, ROWS
from glioma_hf.leaderboard.metrics import scores_of
from glioma_hf.leaderboard.tables import (
    CellImage,
    Lease,
    Performance,
    Prediction,
    Scoring,
    Submission,
    TaskImage,
    new_id,
    now,
)
from glioma_hf.leaderboard.words import FAILED, MODEL, RECEIVED, SCORED, SCORING

LOG = logging.getLogger("glioma_hf.leaderboard")
DIED = "the worker that scored it died, more than once; withdraw it and send it again, or tell a maintainer"


class Lost(Exception):
    """The submission isn't this worker's any more: withdrawn, or taken over."""


@dataclass(frozen=True)
class Taken:
    """A submission that a worker has taken, and what it needs to know of it."""

    id: str
    worker: str
    kind: str
    payload: str
    model: str
    task: str
    split: str
    objects: str
    data: Path


class Worker:
    """Scores what is submitted to a board, in threads of this process, each job in a process of its own."""

    def __init__(self, board: Board, number: int = 1):
        self.board, self.number, self._stopped = board, number, threading.Event()

    def start(self) -> None:
        """Begin."""
        self.board.queue.start(self._score, self.number)
        threading.Thread(target=self._keep, name="leaderboard-keeper", daemon=True).start()

    def stop(self) -> None:
        """End, once what is being scored is done."""
        self._stopped.set()
        self.board.queue.stop()

    def _score(self, submission: str) -> None:
        score(self.board, submission)

    def _keep(self) -> None:
        while True:
            try:
                self.board.queue.tend()
                recover(self.board)
                clear_abandoned()
            except Exception:
                LOG.exception("looking for what dead workers left failed; trying again")
            if self._stopped.wait(self.board.limits.lease / 2):
                return


def recover(board: Board) -> list[str]:
    """Have scored what waits and is in no queue, and what dead workers left; their ids."""
    with board.database.writing() as session:
        session.execute(delete(Lease).where(Lease.submission_id.in_(_in_states(session, (RECEIVED, SCORED, FAILED)))))
        live = set(session.scalars(select(Lease.submission_id).where(Lease.until > now())))
        for row in session.scalars(select(Submission).filter_by(state=SCORING).with_for_update(of=Submission)).unique():
            if row.id in live:
                continue
            LOG.warning("submission %s: its worker died, attempt %d", row.id, row.attempts)
            session.execute(delete(Lease).where(Lease.submission_id == row.id))
            if row.attempts < board.limits.attempts:
                row.state = RECEIVED
            else:
                row.state, row.told, row.finished = FAILED, DIED, now()
        session.flush()
        waiting = _in_states(session, (RECEIVED,))
    known = set(board.queue.waiting())
    fresh = [submission for submission in waiting if submission not in known]
    for submission in fresh:
        board.queue.put(submission)
    return fresh


def score(board: Board, submission: str) -> bool:
    """Score a submission that waits; whether it was. One that another worker has, or that waits no more, is left."""
    taken = _take(board, submission)
    if taken is None:
        return False
    with board.work_folder() as folder:
        try:
            found, rows = _run(board, taken, folder)
        except Lost:
            return False
        except InputError as error:
            return _fail(board, taken, str(error))
        except Exception:
            number = new_id()[:8]
            LOG.exception("submission %s failed, number %s", submission, number)
            return _fail(board, taken, f"it can't be scored, by a fault of ours; tell a maintainer the number {number}")
        return _finish(board, taken, found, rows)


def _in_states(session: Session, states: tuple[str, ...]) -> list[str]:
    chosen = select(Submission.id).where(Submission.state.in_(states)).order_by(Submission.created)
    return list(session.scalars(chosen))


def _take(board: Board, submission: str) -> Taken | None:
    worker = new_id()
    with board.database.reading() as session:
        row = session.get(Submission, submission)
        if row is None or row.state != RECEIVED:
            return None
        try:
            data, fault = folder_of(row.task.data_set), None
        except InputError as error:
            data, fault = Path(), str(error)
    with board.database.writing() as session:
        row = session.get(Submission, submission, with_for_update={"of": Submission})
        if row is None or row.state != RECEIVED:
            return None
        if fault is not None:
            row.state, row.told, row.finished = FAILED, fault, now()
            return None
        row.state, row.attempts = SCORING, row.attempts + 1
        session.execute(delete(Lease).where(Lease.submission_id == submission))
        session.add(Lease(submission_id=submission, worker=worker, until=_until(board)))
        task = row.task
        facts = (row.model.name, task.id, task.split, task.objects)
        return Taken(row.id, worker, row.kind, row.payload, *facts, data)


def _run(board: Board, taken: Taken, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    payload = board.database.record.get(taken.payload)
    local = folder / f"submission{payload.suffix}"
    local.write_bytes(payload.read_bytes())
    facts = {"kind": taken.kind, "payload": local.name, "data": str(taken.data), "split": taken.split}
    facts |= {"objects": taken.objects, "model": taken.model}
    said = time.monotonic()

    def alive() -> None:
        nonlocal said
        if time.monotonic() - said > board.limits.lease / 3:
            said = time.monotonic()
            with board.database.writing() as session:
                _held(session, taken).until = _until(board)

    found = bounded.run("score", folder, facts, board.limits.score, alive)
    if taken.kind == MODEL:
        board.database.record.keep(_predictions_of(taken), folder / PREDICTIONS)
    return found, json.loads((folder / ROWS).read_text(encoding="utf-8"))


def _finish(board: Board, taken: Taken, found: dict[str, Any], rows: dict[str, Any]) -> bool:
    """All scores at once, unless the submission isn't this worker's any more."""
    try:
        with board.database.writing() as session:
            row, lease = _own(session, taken)
            key = {"model_id": row.model_id, "task_id": row.task_id}
            for mode, told in rows.items():
                low, high = told["interval"]
                held = {"submission_id": row.id, "low": low, "high": high, "row": told["row"]}
                session.add(Scoring(**key, mode=mode, **held))
                for name, value in scores_of(ResultRow.model_validate(told["row"])).items():
                    session.add(Performance(**key, mode=mode, metric_name=name, score=value))
            images = select(CellImage.id).join(TaskImage).where(TaskImage.task_id == row.task_id)
            for image in session.scalars(images):
                session.add(Prediction(**key, cell_image_id=image, prediction_url=_predictions_of(taken)))
            row.state, row.finished = SCORED, now()
            row.model.num_params = (
                found["parameters"] or row.model.num_params
            )  # what was counted, or else what was said
            session.delete(lease)
    except Lost:
        return False
    return True


def _fail(board: Board, taken: Taken, why: str) -> bool:
    try:
        with board.database.writing() as session:
            row, lease = _own(session, taken)
            session.delete(lease)
            row.state, row.told, row.finished = FAILED, bounded.without_places(why), now()
    except Lost:
        return False
    return True


def _own(session: Session, taken: Taken) -> tuple[Submission, Lease]:
    """The submission and this worker's lease of it, locked. Raises `Lost` where it isn't this worker's any more."""
    row = session.get(Submission, taken.id, with_for_update={"of": Submission})
    if row is None or row.state != SCORING:
        raise Lost
    return row, _held(session, taken)


def _held(session: Session, taken: Taken) -> Lease:
    """This worker's lease. Raises `Lost` where it has none any more."""
    lease = session.get(Lease, taken.id, with_for_update={"of": Lease})
    if lease is None or lease.worker != taken.worker:
        raise Lost
    return lease


def _until(board: Board) -> datetime.datetime:
    return now() + datetime.timedelta(seconds=board.limits.lease)


def _predictions_of(taken: Taken) -> str:
    """Where what is scored lies in the record."""
    return taken.payload if taken.kind != MODEL else f"predictions/{taken.id}.parquet"
