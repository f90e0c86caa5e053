"""A model's page: card, scores on all tasks, where it fails, its files and how to run it."""

from __future__ import annotations

import shlex
from typing import Any

from comparing import counts_of, hardest_first, may_see
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.metrics import COLUMNS
from glioma_hf.leaderboard.tables import Model, Performance, Prediction, Scoring, Submission, Task
from glioma_hf.leaderboard.words import MODEL, MODES, PAPER, SCORED

router = APIRouter(include_in_schema=False)
WORST_IMAGES, WORST_CELLS = 3, 2  # of a task; of an image


@router.get("/models/{model}")
def model_page(request: Request, model: str) -> Response:
    """A model."""
    site = request.app.state.site
    with site.board.database.reading() as session:
        found = _seen(request, session, model)
        rows = select(Performance.task_id, Performance.mode, Performance.metric_name, Performance.score)
        scores: dict[tuple[str, str], dict[str, float]] = {}
        for task, mode, name, score in session.execute(rows.filter_by(model_id=model)):
            scores.setdefault((task, mode), {})[name] = score
        tasks = {task.id: task for task in session.scalars(select(Task)).unique()}
        lines = sorted(
            ((tasks[task], mode, own) for (task, mode), own in scores.items()), key=lambda x: (x[0].name, x[1])
        )
        names = {name for *_, own in lines for name in own}
        sent = select(Submission).filter_by(model_id=model, state=SCORED).order_by(Submission.created)
        submissions = session.scalars(sent).unique().all()
        kept = dict(
            session.execute(select(Prediction.task_id, Prediction.prediction_url).filter_by(model_id=model)).all()
        )
        made = [
            (tasks[s.task_id], s.row) for s in session.scalars(select(Scoring).filter_by(model_id=model, mode=MODES[0]))
        ]
        facts: dict[str, Any] = {
            "columns": [column for column in COLUMNS if column.name in names],
            "lines": lines,
            "submissions": submissions,
            "made": sorted(made, key=lambda pair: pair[0].name),
            "predicted": sorted((tasks[task] for task in kept), key=lambda task: task.name),
            "failures": [
                (tasks[t], _failures(session, tasks[t], found)) for t in sorted(kept, key=lambda t: tasks[t].name)
            ],
            "run_as": _run_as(submissions, [row for _, row in made]),
            "packed": next((s for s in submissions if s.payload.endswith(".zip")), None),
            "is_papers": found.source == PAPER,
        }
        return site.page(request, "model", model=found, **facts)


@router.get("/models/{model}/files/{task}.parquet")
def predictions_file(request: Request, model: str, task: str) -> Response:
    """What a model found in the images of a task, as the record keeps it."""
    with request.app.state.site.board.database.reading() as session:
        found = _seen(request, session, model)
        kept = session.scalars(select(Prediction.prediction_url).filter_by(model_id=model, task_id=task)).first()
        name = found.name
    if kept is None:
        raise InputError("there is no such file")
    return _file(request, kept, f"{name} predictions.parquet")


@router.get("/models/{model}/files/{submission}.zip")
def model_file(request: Request, model: str, submission: str) -> Response:
    """A model that was sent, packed as it was scored."""
    with request.app.state.site.board.database.reading() as session:
        name = _seen(request, session, model).name
        sent = session.get(Submission, submission)
        if sent is None or sent.model_id != model or sent.kind != MODEL or sent.state != SCORED:
            raise InputError("there is no such file")
        payload = sent.payload
    if not payload.endswith(".zip"):
        raise InputError("there is no such file")
    return _file(request, payload, f"{name}.zip")


def _seen(request: Request, session: Session, model: str) -> Model:
    found = session.get(Model, model)
    if found is None or not may_see(found, request.app.state.site.visitor(request)):
        raise InputError("there is no such model, or it isn't published")
    return found


def _file(request: Request, payload: str, name: str) -> Response:
    path = request.app.state.site.board.database.record.get(payload)
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in ".-_" else "_" for c in name)
    return FileResponse(path, filename=plain, media_type="application/octet-stream")


def _failures(session: Session, task: Task, model: Model) -> list[dict[str, Any]]:
    """The images on which a model is worst, and how many of the cells that it missed there are shown."""
    counts = counts_of(session, task, [model.id])
    worst = [image for image in hardest_first(session, task, counts) if image["ap"] is not None and image["ap"] < 1]
    shown = []
    for image in worst[:WORST_IMAGES]:
        own = counts[model.id][image["name"]]
        cells = 0 if task.data_set.hidden else min(own.fn, WORST_CELLS)
        shown.append({**image, "counts": own, "missed": range(cells)})
    return shown


def _run_as(submissions: Any, rows: list[dict[str, Any]]) -> str | None:
    """By which name `glioma-hf predict --model` runs it; None where it has none."""
    for sent in submissions:
        if sent.kind == MODEL and not sent.file_name.endswith(".zip"):
            return shlex.quote(sent.file_name.partition("@")[0])
    for row in rows:
        if not submissions and row.get("family") and row.get("base") and not row.get("recipe"):
            return shlex.quote(f"{row['family']}:{row['base']}")
    return None
