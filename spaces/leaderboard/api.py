"""The same as JSON: everything that is published, and submitting with a log-in's word."""

from __future__ import annotations

from typing import Annotated, Any

from browsing import asked_of
from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import PlainTextResponse
from guards import place_of
from pydantic import BaseModel
from receiving import receive
from sqlalchemy import select

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.accounts import Visitor
from glioma_hf.leaderboard.hub_results import eval_results, eval_yaml
from glioma_hf.leaderboard.metrics import COLUMNS
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.submissions import ModelFacts, own_submissions, publish, withdraw
from glioma_hf.leaderboard.tables import CellImage, DataSet, Model, Performance, Scoring, Submission, Task, TaskImage

router = APIRouter(prefix="/api")


class LogIn(BaseModel):
    """Name and password."""

    name: str
    password: str


def bearer(request: Request) -> Visitor:
    """Who sends `Authorization: Bearer WORD`; a browser's cookie isn't asked."""
    kind, _, word = request.headers.get("authorization", "").partition(" ")
    visitor = request.app.state.site.doors.visitor(word) if kind.lower() == "bearer" else None
    if visitor is None:
        raise InputError("log in by /api/log-in, and send its word as Authorization: Bearer WORD")
    return visitor


Known = Annotated[Visitor, Depends(bearer)]


@router.get("/metrics")
def metrics() -> list[dict[str, Any]]:
    """The scores that there are."""
    return [vars(column) for column in COLUMNS]


@router.get("/tasks")
def tasks(request: Request) -> list[dict[str, Any]]:
    """All tasks, with their images' names."""
    with request.app.state.site.board.database.reading() as session:
        images: dict[str, list[str]] = {}
        rows = select(TaskImage.task_id, CellImage.file_name).join(CellImage).order_by(TaskImage.position)
        for task, name in session.execute(rows):
            images.setdefault(task, []).append(name)
        return [
            {
                "id": t.id,
                "name": t.name,
                "data_set": t.data_set.name,
                "split": t.split,
                "objects": t.objects,
                "num_images": t.num_images,
                "description": t.description,
                "images": images.get(t.id, []),
            }
            for t in session.scalars(select(Task).order_by(Task.name)).unique()
        ]


@router.get("/leaderboard")
def leaderboard(request: Request, asked: Annotated[Asked, Depends(asked_of)]) -> dict[str, Any]:
    """A page of the table."""
    with request.app.state.site.board.database.reading() as session:
        table = standings(session, asked)
        rows = [
            {
                "rank": row.rank,
                "tied": row.tied,
                "model": row.model.id,
                "name": row.model.name,
                "developer": row.model.developer.name,
                "from": row.model.source,
                "scores": dict(row.scores),
                "ap50_interval": row.interval,
            }
            for row in table.rows
        ]
        return {"task": table.task and table.task.name, "mode": asked.mode, "models": table.total, "rows": rows}


@router.get("/models/{model}")
def model(request: Request, model: str) -> dict[str, Any]:
    """A published model, and its rows of results, whole."""
    with request.app.state.site.board.database.reading() as session:
        found = session.get(Model, model)
        if found is None or not found.published:
            raise InputError("there is no such model, or it isn't published")
        rows = session.scalars(select(Scoring).filter_by(model_id=model)).all()
        fields = ("id", "name", "backbone", "learning_method", "zero_shot", "num_params", "licence", "source", "card")
        facts = {name: getattr(found, name) for name in (*fields, "paper_url", "code_url")}
        return facts | {"developer": found.developer.name, "results": [row.row for row in rows]}


@router.post("/log-in")
def log_in(request: Request, given: LogIn) -> dict[str, str]:
    """A word to send as `Authorization: Bearer WORD`."""
    return {"word": request.app.state.site.doors.log_in(given.name, given.password, place_of(request))}


@router.post("/submissions")
def send(
    request: Request,
    visitor: Known,
    task: Annotated[str, Form()],
    model: Annotated[str, Form()],
    file: Annotated[UploadFile | None, File()] = None,
    kind: Annotated[str, Form()] = "results",
    by_name: Annotated[str, Form()] = "",
) -> dict[str, Any]:
    """Send predictions or a model, as a file; or a model by its name, on the Hub or among those that come along."""
    board = request.app.state.site.board
    sent = receive(board, visitor.id, task, kind, file, by_name, ModelFacts(model.strip()))
    with board.database.reading() as session:
        return _told(session.get_one(Submission, sent))


@router.get("/submissions")
def mine(request: Request, visitor: Known) -> list[dict[str, Any]]:
    """One's own submissions, the newest first."""
    with request.app.state.site.board.database.reading() as session:
        return [_told(row) for row in own_submissions(session, visitor.id)]


@router.delete("/submissions/{submission}")
def take_back(request: Request, visitor: Known, submission: str) -> dict[str, str]:
    """Withdraw a submission of one's own."""
    withdraw(request.app.state.site.board, visitor.id, submission)
    return {"state": "withdrawn"}


@router.post("/models/{model}/publish")
def show(request: Request, visitor: Known, model: str) -> dict[str, bool]:
    """Show a model of one's own to everybody."""
    publish(request.app.state.site.board, visitor.id, model)
    return {"published": True}


def _told(row: Submission) -> dict[str, Any]:
    moments = {"created": row.created.isoformat(), "finished": row.finished and row.finished.isoformat()}
    facts = {"id": row.id, "model": row.model_id, "model_name": row.model.name, "task": row.task.name}
    return facts | {"state": row.state, "told": row.told, "file": row.file_name} | moments


@router.get("/models/{model}/eval_results.yaml", response_class=PlainTextResponse)
def model_eval_results(request: Request, model: str) -> str:
    """The scores of a published model as its repository on the Hub has them; of data sets that are on the Hub."""
    with request.app.state.site.board.database.reading() as session:
        found = session.get(Model, model)
        if found is None or not found.published:
            raise InputError("there is no such model, or it isn't published")
        rows = session.scalars(select(Performance).filter_by(model_id=model)).all()
        known = {task.id: task for task in session.scalars(select(Task)).unique()}
        scores = [(known[row.task_id], row.mode, row.metric_name, row.score) for row in rows]
        return eval_results(scores, found.upload_time.date(), f"{request.base_url}models/{model}")


@router.get("/data_sets/{name}/eval.yaml", response_class=PlainTextResponse)
def data_set_eval(request: Request, name: str) -> str:
    """The tasks of a data set as its repository on the Hub has them."""
    with request.app.state.site.board.database.reading() as session:
        found = session.scalars(select(DataSet).filter_by(name=name)).first()
        if found is None:
            raise InputError("there is no such data set")
        own = select(Task).filter_by(data_set_id=found.id).order_by(Task.name)
        return eval_yaml(found, session.scalars(own).unique())
