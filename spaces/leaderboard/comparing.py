"""The pages that show what several models make of the same images, and the pictures on them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from glioma_hf.benchmark.results import ImageCounts
from glioma_hf.errors import InputError
from glioma_hf.leaderboard.pictures import compared, missed_cell
from glioma_hf.leaderboard.standings import tasks_with
from glioma_hf.leaderboard.tables import CellImage, Model, Performance, Prediction, Scoring, Task, TaskImage
from glioma_hf.leaderboard.words import MODES
from glioma_hf.metrics.matching import Counts

router = APIRouter(include_in_schema=False)
MOST = 6  # models beside one another
MOST_ROWS = 24  # images of a task's page
Models = Annotated[list[str] | None, Query(max_length=MOST)]


@router.get("/compare")
def compare(request: Request, task: str = "", image: str = "", model: Models = None) -> Response:
    """Reference and models on one image; the hardest images first."""
    site = request.app.state.site
    visitor = site.visitor(request)
    with site.board.database.reading() as session:
        tasks = session.scalars(tasks_with(Prediction)).unique().all()
        chosen = next((t for t in tasks if t.id == task), None) or next(iter(tasks), None)
        if chosen is None:
            return site.page(request, "compare", tasks=[], task=None)
        models = seen_models(session, chosen, visitor)
        shown = [m for m in models if m.id in (model or ())] or models[:2]
        counts = counts_of(session, chosen, [m.id for m in shown])
        images = hardest_first(session, chosen, counts)
        looked_at = next((i for i in images if i["id"] == image), None) or next(iter(images), None)
        sides = [(m, counts[m.id].get(looked_at["name"]) if looked_at else None) for m in shown]
        facts: dict[str, Any] = {"tasks": tasks, "task": chosen, "models": models, "images": images, "image": looked_at}
        return site.page(request, "compare", sides=sides, shown={m.id for m in shown}, **facts)


@router.get("/tasks/{task}")
def task_page(
    request: Request, task: str, number: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 4, model: Models = None
) -> Response:
    """A task's images, the hardest first, each with what the models make of it."""
    site = request.app.state.site
    visitor = site.visitor(request)
    with site.board.database.reading() as session:
        found = session.get(Task, task)
        if found is None:
            raise InputError(f"there is no task {task[:80]!r}; the page Tasks lists them")
        models = seen_models(session, found, visitor)
        shown = [m for m in models if m.id in (model or ())] or models[:3]
        counts = counts_of(session, found, [m.id for m in shown])
        images = hardest_first(session, found, counts)
        facts: dict[str, Any] = {"task": found, "models": models, "shown": shown, "counts": counts}
        most = min(MOST_ROWS, len(images))
        return site.page(request, "task", images=images[:number], number=min(number, most), most=most, **facts)


@router.get("/compare/{task}/{model}/{image}.jpg")
def compared_file(request: Request, task: str, model: str, image: str, small: bool = False) -> Response:
    """An image with what became of a model's predictions."""
    where = _looked_up(request, task, model, image)
    return _jpeg(compared(*where, small))


@router.get("/compare/{task}/{model}/{image}/missed/{number}.jpg")
def missed_file(request: Request, task: str, model: str, image: str, number: int) -> Response:
    """A cell that a model missed, the largest first."""
    where = _looked_up(request, task, model, image)
    return _jpeg(missed_cell(*where, number))


def may_see(model: Model, visitor: Any) -> bool:
    """Whether a model is shown to a visitor."""
    return model.published or (visitor is not None and visitor.id == model.developer_id)


def seen_models(session: Session, task: Task, visitor: Any) -> list[Model]:
    """Those with predictions that the visitor may see, the best first."""
    best = select(Model).join(Performance).where(Performance.task_id == task.id, Performance.metric_name == "ap50")
    best = best.where(Performance.mode == MODES[0]).order_by(Performance.score.desc(), Model.name)
    seen = session.scalars(best.where(Model.id.in_(select(Prediction.model_id).filter_by(task_id=task.id)))).unique()
    return [model for model in seen if may_see(model, visitor)]


def counts_of(session: Session, task: Task, models: list[str]) -> dict[str, dict[str, Counts]]:
    """Of each model by image its counts at the first threshold."""
    found: dict[str, dict[str, Counts]] = {model: {} for model in models}
    rows = select(Scoring).where(Scoring.task_id == task.id, Scoring.mode == MODES[0])
    for scoring in session.scalars(rows.where(Scoring.model_id.in_(models))):
        for facts in scoring.row["images"]:
            image = ImageCounts.model_validate(facts)
            found[scoring.model_id][image.file_name] = Counts(image.tp[0], image.fp[0], image.fn[0])
    return found


def ap_of(counts: Counts) -> float | None:
    """The AP of an image; None where there is no cell and none was found, which is no failure."""
    return counts.ap if counts.tp + counts.fp + counts.fn else None


def hardest_first(session: Session, task: Task, counts: dict[str, dict[str, Counts]]) -> list[dict[str, Any]]:
    """The task's images by the mean AP of the models; those where there is nothing, for any of them, at the end."""
    rows = select(CellImage).join(TaskImage).where(TaskImage.task_id == task.id).order_by(TaskImage.position)
    images = []
    for row in session.scalars(rows):
        own = [of[row.file_name] for of in counts.values() if row.file_name in of]
        aps = [ap for found in own if (ap := ap_of(found)) is not None]
        images.append({"id": row.id, "name": row.file_name, "ap": sum(aps) / len(aps) if aps else None})
    return sorted(images, key=lambda i: 2.0 if i["ap"] is None else i["ap"])


def _looked_up(request: Request, task: str, model: str, image: str) -> tuple[Any, ...]:
    """Data set, split, objects, file and predictions of a picture. Raises `InputError` where the visitor has none."""
    site = request.app.state.site
    with site.board.database.reading() as session:
        found = session.get(Prediction, (model, task, image))
        owner = session.get(Model, model)
        if found is None or owner is None or not may_see(owner, site.visitor(request)):
            raise InputError("there is no such picture")
        row, shown, place = session.get_one(CellImage, image), session.get_one(Task, task), found.prediction_url
        session.expunge_all()
    return shown.data_set, row.split, shown.objects, row.file_name, site.board.database.record.get(place)


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})
