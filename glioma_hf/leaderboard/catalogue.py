"""What a leaderboard is about: its metrics, data sets, tasks and images, and the paper's own figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from glioma_hf.benchmark.paper import FIGURES, paper_rows, paper_source
from glioma_hf.data.prepared import PreparedSplit, read_prepared
from glioma_hf.data.splits import annotated_rows
from glioma_hf.errors import InputError
from glioma_hf.jsonfile import read_json
from glioma_hf.leaderboard.board import Board, folder_of
from glioma_hf.leaderboard.metrics import COLUMNS
from glioma_hf.leaderboard.tables import CellImage, DataSet, Developer, Metric, Model, Performance, Task, TaskImage
from glioma_hf.leaderboard.words import PAPER

GLIOMA = "glioma_c6"
PAPER_AUTHORS = "the paper"
PAPER_URL = "https://arxiv.org/abs/2511.07286"
# Of the published splits, which the paper's figures are of (design: Table 1 of the paper).
_PAPER_IMAGES = {"spec/test": 11, "gen/test": 30}
_MODES = {"table2": "overlapping", "table4": "flattened"}
WORDS = {"cells": "all cells", "soma": "somata", "cell_a": "cells of type A", "cell_b": "cells of type B"}


def begin(board: Board) -> None:
    """A new leaderboard's metrics, and the paper's Tables 2 and 4; what is there already stays as it is."""
    with board.database.writing() as session:
        for position, column in enumerate(COLUMNS):
            if session.get(Metric, column.name) is None:
                facts = {"description": column.description, "higher_is_better": column.higher_is_better}
                session.add(Metric(name=column.name, title=column.title, position=position, **facts))
        if session.scalars(select(Model).filter_by(source=PAPER)).unique().first() is None:
            session.flush()
            _add_paper(session)


def add_data_set(
    board: Board,
    place: str | Path,
    name: str,
    title: str = "",
    cell_type: str = "",
    modality: str = "phase contrast",
    licence: str = "",
    splits: Sequence[str] = ("test",),
    objects: Sequence[str] = ("cells",),
    hidden: bool = False,
) -> list[str]:
    """A data set with its images, and a task for each split and kind of objects that has any.

    Args:
        place: a folder of `data prepare`, or USER/NAME on the Hub.
        name: by which results call it; one that is there already (the paper's) gets the place and more tasks.
        splits: "spec/test", or "test" for all splits of that name.
        objects: "cells", "soma" ...
        hidden: its references leave the server in no form.

    Returns the names of its tasks. Raises `InputError` for a folder that isn't prepared and for what it lacks.
    """
    if not re.fullmatch(r"[\w.-]{1,80}", name):
        raise InputError(f"{name[:80]!r} is no name for a data set; take letters, digits, dots and dashes")
    place = str(Path(place).absolute()) if Path(place).is_dir() else str(place)
    folder = folder_of(DataSet(name=name, title=title or name, place=place))
    prepared = read_prepared(folder)
    chosen = [s for s in prepared.splits if {s.name, s.split} & set(splits)]
    if not chosen:
        told = ", ".join(s.name for s in prepared.splits)
        raise InputError(f"{place}: no {' or '.join(splits)} images; its splits are {told}")
    with board.database.writing() as session:
        data_set = session.scalars(select(DataSet).filter_by(name=name)).first()
        if data_set is not None and data_set.place is not None:
            raise InputError(f"the leaderboard has a data set {name} already; give another name")
        data_set = data_set or DataSet(name=name, title=title or name)
        data_set.place, data_set.hidden = place, hidden
        data_set.title, data_set.licence = title or data_set.title, licence or data_set.licence or ""
        session.add(data_set)
        session.flush()
        made = []
        for split in chosen:
            images = _add_images(session, data_set, folder, split, cell_type or name, modality)
            made += _add_tasks(session, data_set, split, images, objects)
    if not made:
        raise InputError(f"{place}: no {' or '.join(objects)} in its {' and '.join(splits)} images")
    return made


def task_name(data_set: str, split: str, objects: str) -> str:
    """By which a task is called."""
    return f"{data_set}, {split}: {objects}"


def _add_images(
    session: Session, data_set: DataSet, folder: Path, split: PreparedSplit, cell_type: str, modality: str
) -> list[CellImage]:
    images = []
    for row, _ in annotated_rows(folder, split.name):
        address = f"{data_set.place}#{split.name}/{row['file_name']}"
        seen = {"cell_type": cell_type, "imaging_modality": modality}
        where = {"data_set_id": data_set.id, "split": split.name, "file_name": row["file_name"]}
        images.append(CellImage(**where, **seen, image_url=address, label_url="" if data_set.hidden else address))
    session.add_all(images)
    session.flush()
    return images


def _add_tasks(
    session: Session, data_set: DataSet, split: PreparedSplit, images: list[CellImage], objects: Sequence[str]
) -> list[str]:
    from glioma_hf.data.features import TASKS

    made = []
    for what in objects:
        if what not in TASKS:
            raise InputError(f"{what[:40]!r} are no objects of a task; they are {', '.join(TASKS)}")
        if not sum(split.objects.get(category, 0) for category in TASKS[what]):
            continue
        name = task_name(data_set.name, split.name, what)
        task = session.scalars(select(Task).filter_by(name=name)).unique().first()
        task = task or Task(name=name, data_set_id=data_set.id, split=split.name, objects=what)
        task.num_images = len(images)
        task.description = task.description or f"{WORDS.get(what, what)} of {data_set.title}, {split.name}"
        session.add(task)
        session.flush()
        session.add_all(TaskImage(task_id=task.id, cell_image_id=im.id, position=i) for i, im in enumerate(images))
        made.append(name)
    return made


def _add_paper(session: Session) -> None:
    figures = read_json(FIGURES, str(FIGURES))
    authors = Developer(name=PAPER_AUTHORS)
    glioma = session.scalars(select(DataSet).filter_by(name=GLIOMA)).first()
    glioma = glioma or DataSet(name=GLIOMA, title="Glioma C6", licence="CC BY-NC 4.0")
    session.add_all([authors, glioma])
    session.flush()
    models: dict[str, Model] = {}
    tasks: dict[str, Task] = {}
    for table, mode in _MODES.items():
        for split, by_objects in figures[table].items():
            for objects in by_objects:
                name = task_name(GLIOMA, split, objects)
                if name not in tasks:
                    facts = {
                        "description": f"{WORDS[objects]} of Glioma C6, {split}",
                        "num_images": _PAPER_IMAGES[split],
                    }
                    task = session.scalars(select(Task).filter_by(name=name)).unique().first()
                    tasks[name] = task or Task(name=name, data_set_id=glioma.id, split=split, objects=objects, **facts)
                    session.add(tasks[name])
                    session.flush()
                for row in paper_rows(table, split, objects):
                    if row.model not in models:
                        models[row.model] = _paper_model(session, authors, row.model)
                    key = {"model_id": models[row.model].id, "task_id": tasks[name].id, "mode": mode}
                    session.add_all(Performance(**key, metric_name=n, score=v) for n, v in row.values.items())


def _paper_model(session: Session, authors: Developer, name: str) -> Model:
    kind, _, how = name.partition(", ")
    model = Model(
        developer_id=authors.id,
        name=name,
        backbone=kind,
        learning_method=how,
        zero_shot=how == "zero-shot",
        paper_url=PAPER_URL,
        card=f"The paper's own figures ({paper_source()}); not made here.",
        source=PAPER,
        published=True,
    )
    session.add(model)
    session.flush()
    return model
