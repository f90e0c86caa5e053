"""The leaderboard's table: models on one task in one mode, sorted, filtered, with intervals and ties.

Which models tie is said by `ties.py`; what a page shows is cut out of the ranks of the whole table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.metrics import BY_NAME, COLUMNS, Column
from glioma_hf.leaderboard.tables import Model, Performance, Prediction, Task
from glioma_hf.leaderboard.ties import intervals, parts, ranked
from glioma_hf.leaderboard.words import MODES, PAPER

PAGE = 50  # models
_FORMULA = (*"=+-@", *"\uff1d\uff0b\uff0d\uff20")  # what a formula begins with, in some spreadsheets wide
TRAINED = {"": "any", "zero_shot": "zero-shot", "trained": "others"}


@dataclass(frozen=True)
class Asked:
    """What of the leaderboard is asked for.

    Attributes:
        task: its id or name; the one with most models without it.
        mode: "overlapping" or "flattened".
        sort: a score.
        trained: "zero_shot", "trained" or "" for both; licence, most_parameters: further filters, "" and None for all.
        page: from 1 on; the last one where there are fewer.
        viewer: whose own models are shown before they are published.
    """

    task: str = ""
    mode: str = MODES[0]
    sort: str = "ap50"
    trained: str = ""
    licence: str = ""
    most_parameters: int | None = None
    page: int = 1
    viewer: str | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("score", self.sort, BY_NAME),
            ("filter", self.trained, TRAINED),
        ):
            if value not in known:
                raise InputError(f"the {name} {value[:40]!r} isn't known; it is {', '.join(filter(None, known))}")
        if self.page < 1:
            raise InputError("pages are counted from 1")


@dataclass(frozen=True)
class Standing:
    """A model in the table.

    Attributes:
        rank: from 1 on; those that tie have one rank, and who lacks the score that is sorted by has none.
        tied: whether others have it too.
        scores: by name; `bars` the same relative to the best of the models shown, 0 ... 1.
        interval: 95 % of AP50; None where it isn't known.
    """

    model: Model
    rank: int | None
    tied: bool
    scores: Mapping[str, float]
    bars: Mapping[str, float]
    interval: tuple[float, float] | None

    @property
    def is_papers(self) -> bool:
        """Whether its figures are the paper's."""
        return self.model.source == PAPER


@dataclass(frozen=True)
class Standings:
    """A page of the table: its models, which scores any of them has, how many models there are in all."""

    asked: Asked
    task: Task | None
    columns: Sequence[Column] = ()
    rows: Sequence[Standing] = ()
    total: int = 0
    licences: Sequence[str] = ()
    pages: int = field(default=1)


def standings(session: Session, asked: Asked, whole: bool = False) -> Standings:
    """A page of the table, or the whole of it. Raises `InputError` for a task that isn't there."""
    task = find_task(session, asked.task)
    if task is None:
        return Standings(asked, None)
    column = BY_NAME[asked.sort]
    chosen = _chosen(asked, task)
    total = session.scalar(select(func.count()).select_from(chosen.with_only_columns(Model.id).subquery())) or 0
    pages = max(1, -(-total // PAGE))
    asked = replace(asked, page=min(asked.page, pages))
    first, size = (0, total) if whole else (PAGE * (asked.page - 1), PAGE)
    score = chosen.selected_columns.score
    order = score.desc() if column.higher_is_better else score.asc()
    ordered = chosen.order_by(score.is_(None), order, Model.name, Model.id)
    models = [row[0] for row in session.execute(ordered.limit(size).offset(first)).unique()]
    # Who ties with whom follows from all that are better, and one more: a group may go on behind this page.
    above = ordered.with_only_columns(Model.id, score).limit(first + size + 1)
    sorted_by = {model: value for model, value in session.execute(above)}
    scorings = intervals(session, task.id, asked.mode, list(sorted_by))
    ranks = ranked(session, (task.id, asked.mode, asked.sort), sorted_by, scorings)
    scores = _scores(session, task.id, asked.mode, [model.id for model in models])
    best = _best(scores)
    rows = []
    for model in models:
        own, told = scores[model.id], scorings.get(model.id)
        bars = {name: _bar(value, best[name], BY_NAME[name]) for name, value in own.items() if name in best}
        rows.append(Standing(model, *ranks[model.id], own, bars, None if told is None else told[1:]))
    licences = session.scalars(select(Model.licence).where(Model.published, Model.licence != "").distinct())
    shown = [c for c in COLUMNS if c.name in best]
    return Standings(asked, task, shown, rows, total, sorted(licences), pages)


def tasks_with(table: type[Performance] | type[Prediction]) -> Select[Task]:
    """Tasks that have rows in a table, by name.

    One row is looked up for each of the few tasks, in the order of an index: without one, or by EXISTS, PostgreSQL may
    walk through the whole table.
    """
    order = (
        (Performance.mode, Performance.metric_name, Performance.score) if table is Performance else (table.model_id,)
    )
    first = select(table.model_id).where(table.task_id == Task.id).order_by(*order).limit(1).scalar_subquery()
    return select(Task).where(first.is_not(None)).order_by(Task.name)


def find_task(session: Session, task: str) -> Task | None:
    """A task by its id or name; without one the one with most models. Raises `InputError` for another."""
    if not task:
        scored = select(func.count()).where(Performance.task_id == Task.id, Performance.metric_name == "ap50")
        models = scored.where(Performance.mode == MODES[0]).scalar_subquery()
        busiest = session.scalars(select(Task.id).where(models > 0).order_by(models.desc(), Task.name).limit(1)).first()
        return None if busiest is None else session.get(Task, busiest)
    found = session.get(Task, task) or session.scalars(select(Task).filter_by(name=task)).unique().first()
    if found is None:
        raise InputError(f"there is no task {task[:80]!r}; the page Tasks lists them")
    return found


def to_csv(table: Standings) -> str:
    """The rows of a table. Names that a spreadsheet would read as formulas get a quote before them."""
    text = io.StringIO()
    names = [column.name for column in table.columns]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "model", "developer", "from", "zero_shot", "licence", *names, "ap50_low", "ap50_high"])
    for row in table.rows:
        model = row.model
        words = [model.name, model.developer.name, model.source, model.zero_shot, model.licence]
        numbers = [row.scores.get(name, "") for name in names]
        writer.writerow(
            ["" if row.rank is None else row.rank, *map(_plain, words), *numbers, *(row.interval or ("", ""))]
        )
    return text.getvalue()


def _chosen(asked: Asked, task: Task) -> Any:
    """Models that the viewer may see and the filters leave, with the score that they are sorted by, if they have it.

    AP50 is a score that all have. Both are gathered in one walk through the index: a join of scores with scores is
    planned badly by a database that hasn't counted them yet.
    """
    score = func.max(case((Performance.metric_name == asked.sort, Performance.score))).label("score")
    scored = select(Performance.model_id, score).where(Performance.task_id == task.id, Performance.mode == asked.mode)
    by_model = scored.where(Performance.metric_name.in_({"ap50", asked.sort})).group_by(Performance.model_id).subquery()
    shown = Model.published if asked.viewer is None else Model.published | (Model.developer_id == asked.viewer)
    chosen = select(Model, by_model.c.score).join(by_model, by_model.c.model_id == Model.id).where(shown)
    if asked.trained:
        chosen = chosen.where(Model.zero_shot == (asked.trained == "zero_shot"))
    if asked.licence:
        chosen = chosen.where(Model.licence == asked.licence)
    if asked.most_parameters is not None:
        chosen = chosen.where(Model.num_params <= asked.most_parameters)
    return chosen


def _scores(session: Session, task: str, mode: str, models: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {model: {} for model in models}
    columns = select(Performance.model_id, Performance.metric_name, Performance.score)
    for some in parts(models):
        part = columns.where(Performance.task_id == task, Performance.mode == mode)
        for model, name, score in session.execute(part.where(Performance.model_id.in_(some))):
            found[model][name] = score
    return found


def _best(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of each score that any of these models has, the best: the end of its bars."""
    found: dict[str, list[float]] = {}
    for own in scores.values():
        for name, score in own.items():
            found.setdefault(name, []).append(score)
    return {n: max(values) if BY_NAME[n].higher_is_better else min(values) for n, values in found.items()}


def _bar(value: float, best: float, column: Column) -> float:
    """A score relative to the best one, 0 ... 1."""
    part, whole = (value, best) if column.higher_is_better else (best, value)
    return min(1.0, max(0.0, part / whole)) if whole > 0 else float(column.higher_is_better is False)


def _plain(value: object) -> str:
    text = str(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text
