"""Pages to look at: the leaderboard, tasks, cells."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import func, select

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.metrics import COLUMNS
from glioma_hf.leaderboard.pictures import picture
from glioma_hf.leaderboard.standings import TRAINED, Asked, standings, tasks_with, to_csv
from glioma_hf.leaderboard.tables import CellImage, DataSet, Model, Performance, Task, TaskImage
from glioma_hf.leaderboard.words import MODES

router = APIRouter(include_in_schema=False)
MOST_SHOWN = 48  # images of a page


def asked_of(
    request: Request,
    task: str = "",
    mode: str = MODES[0],
    sort: str = "ap50",
    trained: str = "",
    licence: str = "",
    most: str = "",
    page: str = "1",
) -> Asked:
    """What of the table an address asks for. Raises `InputError` for what isn't known."""
    visitor = request.app.state.site.visitor(request)
    if most and not (most.isdecimal() and len(most) < 16):
        raise InputError("the most parameters are a whole number")
    if not (page.isdecimal() and len(page) < 7):
        raise InputError("pages are counted from 1")
    own = None if visitor is None else visitor.id
    return Asked(task[:200], mode, sort, trained, licence[:80], int(most) if most else None, int(page), own)


@router.get("/")
def leaderboard(
    request: Request,
    task: str = "",
    mode: str = MODES[0],
    sort: str = "ap50",
    trained: str = "",
    licence: str = "",
    most: str = "",
    page: str = "1",
) -> Response:
    """The table."""
    site = request.app.state.site
    asked = asked_of(request, task, mode, sort, trained, licence, most, page)
    with site.board.database.reading() as session:
        table = standings(session, asked)
        tasks = session.scalars(tasks_with(Performance)).unique().all()
        given = {"mode": mode, "sort": sort, "trained": trained, "licence": licence, "most": most}
        address = {"task": table.task.id if table.task else "", **{k: v for k, v in given.items() if v}}
        facts = {"table": table, "tasks": tasks, "modes": MODES, "trained": TRAINED, "columns": COLUMNS}
        return site.page(request, "leaderboard", address=address, **facts)


@router.get("/leaderboard.csv")
def leaderboard_csv(
    request: Request,
    task: str = "",
    mode: str = MODES[0],
    sort: str = "ap50",
    trained: str = "",
    licence: str = "",
    most: str = "",
) -> Response:
    """All rows of the table."""
    asked = asked_of(request, task, mode, sort, trained, licence, most)
    with request.app.state.site.board.database.reading() as session:
        text = to_csv(standings(session, asked, whole=True))
    named = {"content-disposition": 'attachment; filename="leaderboard.csv"'}
    return Response(text, media_type="text/csv", headers=named)


@router.get("/tasks")
def tasks_page(request: Request) -> Response:
    """All tasks."""
    site = request.app.state.site
    with site.board.database.reading() as session:
        tasks = session.scalars(select(Task).order_by(Task.name)).unique().all()
        published = select(Performance.task_id, func.count()).join(Model).filter(Performance.metric_name == "ap50")
        published = published.where(Model.published, Performance.mode == MODES[0])
        models = dict(session.execute(published.group_by(Performance.task_id)).all())
        return site.page(request, "tasks", tasks=tasks, models=models)


@router.get("/cells")
def cells_page(
    request: Request,
    task: str = "",
    cell_type: str = "",
    modality: str = "",
    number: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 12,
) -> Response:
    """Images by task, cell type and imaging modality."""
    site = request.app.state.site
    with site.board.database.reading() as session:
        chosen = select(CellImage).order_by(CellImage.split, CellImage.file_name, CellImage.id)
        if task:
            chosen = chosen.join(TaskImage).where(TaskImage.task_id == task)
        if cell_type:
            chosen = chosen.filter_by(cell_type=cell_type)
        if modality:
            chosen = chosen.filter_by(imaging_modality=modality)
        total = session.scalar(select(func.count()).select_from(chosen.subquery()))
        facts: dict[str, Any] = {
            "images": session.scalars(chosen.limit(number)).all(),
            "total": total,
            "tasks": session.scalars(select(Task).where(Task.id.in_(select(TaskImage.task_id)))).unique().all(),
            "types": session.scalars(select(CellImage.cell_type).distinct()).all(),
            "modalities": session.scalars(select(CellImage.imaging_modality).distinct()).all(),
        }
        given = {"task": task, "cell_type": cell_type, "modality": modality, "number": number}
        return site.page(request, "cells", given=given, most=MOST_SHOWN, **facts)


@router.get("/images/{image}.jpg")
def image_file(request: Request, image: str, outlines: str = "") -> Response:
    """An image, small, with the references of a task, or "all", where these may be shown."""
    site = request.app.state.site
    with site.board.database.reading() as session:
        row = session.get(CellImage, image)
        if row is None:
            raise InputError("there is no such image")
        data_set = session.get_one(DataSet, row.data_set_id)
        session.expunge_all()
    if outlines and data_set.hidden:
        raise InputError("the references of this data set are hidden")
    data = picture(data_set, row.split, row.file_name, outlines[:80])
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})
