"""Rows that `glioma-hf benchmark` made, on a leaderboard: whole, with the counts of each image.

Where the predictions that a row was scored from lie beside it they come along and are scored here once more: each image
must have the row's counts, and what a table leaves out and a leaderboard shows is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from glioma_hf.benchmark.results import ResultRow, read_row
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import InstanceSet, read_predictions, read_references
from glioma_hf.benchmark.yaml_files import checked_entries, parsed_yaml
from glioma_hf.errors import InputError
from glioma_hf.leaderboard.board import Board, folder_of
from glioma_hf.leaderboard.catalogue import task_name
from glioma_hf.leaderboard.metrics import EXTRAS, scores_of
from glioma_hf.leaderboard.predictions import write_predictions
from glioma_hf.leaderboard.submissions import ModelFacts, find_model
from glioma_hf.leaderboard.tables import (
    CellImage,
    Developer,
    Model,
    Performance,
    Prediction,
    Scoring,
    Submission,
    Task,
    TaskImage,
    new_id,
)
from glioma_hf.leaderboard.words import STANDING
from glioma_hf.metrics.intervals import ap_intervals
from glioma_hf.metrics.scoring_options import ScoringOptions


class About(BaseModel):
    """What is said of a model that its rows don't say."""

    model_config = ConfigDict(extra="forbid")

    backbone: str = ""
    learning_method: str = ""
    zero_shot: bool = False
    licence: str = ""
    paper_url: str = ""
    code_url: str = ""
    card: str = ""


class AboutModels(RootModel[dict[str, About]]):
    """The same by the models' names."""


@dataclass(frozen=True)
class _Found:
    """A row with its file, the model that it is of, and the task.

    Attributes:
        payload: its predictions in the record.
        is_there: whether it was imported before.
    """

    path: Path
    row: ResultRow
    model: str
    task: Task
    payload: str | None = None
    is_there: bool = False


def read_about(path: str | Path) -> dict[str, About]:
    """What a YAML file says of models, by their names. Raises `InputError` for what it can't say."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give a YAML file") from None
    return checked_entries(AboutModels, parsed_yaml(data, str(path)), str(path)).root


def import_rows(
    board: Board, place: str | Path, developer: str, about: Mapping[str, About] | None = None
) -> tuple[list[str], list[str]]:
    """Put rows on a board, published, in the place of what the same models had there; the same rows are left.

    Args:
        place: a folder that `benchmark` wrote, or a file of one row.
        developer: by whom the models are; made, without a password, where nobody is called so.
        about: more on the models, by their names in the rows.

    Returns what was imported and which rows have no scores, in words. Raises `InputError`, with nothing imported, for a
    row of a task that isn't there, of other images, scored otherwise than here, or of a model that was submitted.
    """
    about = about or {}
    rows, failed = _rows(Path(place))
    if unknown := set(about) - {row.model for _, row in rows}:
        raise InputError(f"{place}: no row is of a model {sorted(unknown)[0]!r}; name those that there are")
    with board.database.reading() as session:
        placed = [_placed(session, path, row, rows) for path, row in rows]
        found = [replace(item, is_there=_is_there(session, developer, item)) for item in placed]
        images = {item.task.id: _names(session, item.task) for item in found}
    for item in found:
        _check_images(item, images[item.task.id])
    kept: list[str] = []
    try:
        found = list(_with_predictions(board, Path(place), found, kept))
        with board.database.writing() as session:
            who = session.scalars(select(Developer).filter_by(name=developer)).first() or Developer(name=developer)
            session.add(who)
            session.flush()
            left = [_put(session, who.id, item, about.get(str(item.row.model), About())) for item in found]
    except BaseException:
        for payload in kept:
            board.database.record.drop(payload)
        raise
    for payload in set().union(*left):
        board.database.record.drop(payload)
    told = [f"{item.task.name}, {item.row.mode}: {item.model}" for item in found]
    return told, [f"{path.name}: {row.failed}" for path, row in failed]


def _rows(place: Path) -> tuple[list[tuple[Path, ResultRow]], list[tuple[Path, ResultRow]]]:
    """Rows with scores and without. Raises `InputError` where there is none."""
    folder = place / "rows" if (place / "rows").is_dir() else place
    files = [place] if place.is_file() else sorted(folder.glob("*.json"))
    rows = [(path, read_row(path)) for path in files]
    scored = [(path, row) for path, row in rows if row.failed is None]
    if not scored:
        raise InputError(f"{place}: no row with scores lies there; give a folder that glioma-hf benchmark wrote")
    return scored, [(path, row) for path, row in rows if row.failed is not None]


def _placed(session: Session, path: Path, row: ResultRow, rows: list[tuple[Path, ResultRow]]) -> _Found:
    if not row.model:
        raise InputError(f"{path}: it doesn't say of which model it is; give rows of glioma-hf benchmark")
    if row.scoring != ScoringOptions(mode=row.scoring.mode):
        raise InputError(f"{path}: scored with other settings than a leaderboard's; score it with the default ones")
    name = task_name(row.data_set, str(row.split), row.task)
    task = session.scalars(select(Task).filter_by(name=name)).unique().first()
    if task is None:
        raise InputError(f"{path}: there is no task {name!r} here; glioma-hf leaderboard add brings its data set")
    seeds = {other.seed for _, other in rows if other.model == row.model}
    model = row.model if len(seeds) == 1 else f"{row.model}, seed {row.seed}"
    return _Found(path, row, model, task)


def _names(session: Session, task: Task) -> set[str]:
    """The files of a task's images; none where only the paper's figures are known."""
    chosen = select(CellImage.file_name).join(TaskImage).where(TaskImage.task_id == task.id)
    return set(session.scalars(chosen))


def _check_images(item: _Found, images: set[str]) -> None:
    own = {image.file_name for image in item.row.images}
    if len(own) != len(item.row.images) or len(own) != item.task.num_images or (images and own != images):
        raise InputError(f"{item.path}: it isn't of the {item.task.num_images} images of {item.task.name}")


def _with_predictions(board: Board, place: Path, found: list[_Found], kept: list[str]) -> Iterator[_Found]:
    """The rows with their predictions, where these lie beside them and the data set is here; `kept` are all of them."""
    payloads: dict[tuple[Path, str], str] = {}
    for item in found:
        file = None if item.row.predictions is None or place.is_file() else place / item.row.predictions
        if (
            item.is_there
            or file is None
            or item.task.data_set.place is None
            or not file.resolve().is_relative_to(place.resolve())
        ):
            yield item
            continue
        if not file.is_file():
            raise InputError(f"{item.path}: its predictions {file} aren't there; bring the whole folder of the table")
        references = read_references(folder_of(item.task.data_set), item.task.split)
        predictions, row = _scored_again(item, read_predictions(file, references), references)
        key = (file, item.task.id)
        if key not in payloads:
            payloads[key] = f"predictions/{new_id()}.parquet"
            with board.work_folder() as work:
                write_predictions(work / "predictions.parquet", predictions)
                board.database.record.keep(payloads[key], work / "predictions.parquet")
            kept.append(payloads[key])
        yield replace(item, row=row, payload=payloads[key])


def _scored_again(item: _Found, found: InstanceSet, references: InstanceSet) -> tuple[InstanceSet, ResultRow]:
    """The predictions as the row counts them, and the row with all scores. Raises `InputError` for other counts."""
    names = [references.names[key] for key in references.instances]
    said = {name: getattr(item.row, name) for name in ResultRow.model_fields if name not in ("scores", "images")}
    expected = {image.file_name: image for image in item.row.images}
    for side in (found, replace(found, typed=False)):  # of models of one task all objects count
        scores = score_sets(references, side, item.row.task, item.row.scoring, EXTRAS)
        row = ResultRow.of(scores, names, **{k: v for k, v in said.items() if k not in ("scoring", "failed")})
        if {image.file_name: image for image in row.images} == expected:
            return side, row.model_copy(update={"scores": item.row.scores | row.scores})
    raise InputError(f"{item.path}: its predictions have other counts here; see that the data set is the row's")


def put_row(session: Session, model: Model, task: Task, row: ResultRow, payload: str | None) -> set[str]:
    """A row's scores, and predictions of the record, in the place of a model's earlier ones for a task and mode.

    Returns predictions of the record that nothing needs any more. Raises `InputError` where the model was submitted.
    """
    key = {"model_id": model.id, "task_id": task.id}
    stands = select(Submission.id).filter_by(**key).where(Submission.state.in_(STANDING))
    if session.scalars(stands).first() is not None:
        raise InputError(f"{model.name} was submitted for {task.name}; give another developer's name")
    for table in (Performance, Scoring):
        for old in session.scalars(select(table).filter_by(**key, mode=row.mode)):
            session.delete(old)
    left, known = set(), set()
    for before in session.scalars(select(Prediction).filter_by(**key)):
        if before.prediction_url == payload:
            known.add(before.cell_image_id)
        else:
            left.add(before.prediction_url)
            session.delete(before)
    session.flush()
    low, high = ap_intervals(row.counts())[0]
    held = {"submission_id": None, "low": low, "high": high, "row": row.model_dump(mode="json")}
    session.add(Scoring(**key, mode=row.mode, **held))
    for name, value in scores_of(row).items():
        session.add(Performance(**key, mode=row.mode, metric_name=name, score=value))
    if payload is not None:
        for image in session.scalars(select(CellImage.id).join(TaskImage).where(TaskImage.task_id == task.id)):
            if image not in known:
                session.add(Prediction(**key, cell_image_id=image, prediction_url=payload))
    model.published, model.num_params = True, row.parameters or model.num_params
    session.flush()
    return left


def _put(session: Session, developer: str, item: _Found, about: About) -> set[str]:
    facts = ModelFacts(item.model, **{**about.model_dump(), "learning_method": about.learning_method or _learned(item)})
    model = find_model(session, developer, facts)
    return set() if item.is_there else put_row(session, model, item.task, item.row, item.payload)


def _is_there(session: Session, developer: str, item: _Found) -> bool:
    """Whether the developer's model has this very row; scores that were added here don't count."""
    chosen = select(Scoring).join(Model, Scoring.model_id == Model.id).join(Developer)
    chosen = chosen.where(Developer.name == developer, Model.name == item.model, Scoring.mode == item.row.mode)
    there = session.scalars(chosen.where(Scoring.task_id == item.task.id)).first()
    return there is not None and {**there.row, "scores": {}} == {**item.row.model_dump(mode="json"), "scores": {}}


def _learned(item: _Found) -> str:
    """How the model learned, by its row."""
    row = item.row
    if row.recipe is None:
        return ""
    images = "" if row.training_images is None else f" on {len(row.training_images)} images"
    return f"{row.family} from {row.base}{images}"[:200]
