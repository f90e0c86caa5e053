"""A leaderboard that is full from its first minute: the paper's figures, and models that come with the package.

Models are run on synthetic cells, made here, and on what other data is given. Beside them stand examples that are no
models: the references themselves, cells left out, moved or joined by a known rule, so that what the table makes of
mistakes of each kind can be seen at a glance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sqlalchemy import select

from glioma_hf.benchmark.results import ResultRow
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.data.prepare import prepare
from glioma_hf.instances import Instances
from glioma_hf.leaderboard import bounded
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import add_data_set, begin
from glioma_hf.leaderboard.imports import import_rows, put_row
from glioma_hf.leaderboard.jobs import NAMED, PREDICTIONS, ROWS
from glioma_hf.leaderboard.metrics import EXTRAS
from glioma_hf.leaderboard.predictions import write_predictions
from glioma_hf.leaderboard.submissions import ModelFacts, find_model
from glioma_hf.leaderboard.tables import DataSet, Developer, Model, Scoring, Task, new_id
from glioma_hf.leaderboard.words import MODEL, MODES
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig

SYNTHETIC, EXAMPLES, COMES_ALONG = "synthetic", "examples", "glioma_hf"
_SCENE = SceneConfig(width=512, height=384, cells_per_megapixel=(200, 300))
AT_ONCE = 2  # models that are run


class Words(NamedTuple):
    """What is said of a data set."""

    title: str
    cell_type: str
    modality: str = "phase contrast"
    licence: str = ""


KNOWN = {
    SYNTHETIC: Words("Synthetic cells", "synthetic", "synthetic", "CC0-1.0"),
    "t98g": Words("T98G", "T98G glioblastoma", licence="MIT"),
}
# By the names that `predict --model` takes.
MODELS = {
    "centres:general": ModelFacts(
        "Centres, general",
        "EfficientNet-Lite0",
        "generated scenes, and A549 images with labels of DeepSea's",
        licence="Apache-2.0",
    ),
    "deepsea": ModelFacts(
        "DeepSea",
        "DeepSea",
        "as it was published",
        zero_shot=True,
        licence="MIT",
        code_url="https://github.com/abzargar/DeepSea",
    ),
    "centres:glioblastoma": ModelFacts(
        "Centres, glioblastoma",
        "EfficientNet-Lite0",
        "fifteen training images of T98G, by an adapter",
        licence="Apache-2.0",
    ),
    "embedded": ModelFacts("SAM of the package", "SAM, small", "generated scenes alone", licence="Apache-2.0"),
}
CARD = "An example, no model: the references themselves, spoilt as its name says, so that the table can be read."


def seed(
    board: Board,
    folder: Path,
    data: Mapping[str, Path] | None = None,
    rows: Iterable[Path] = (),
    models: Mapping[str, ModelFacts] = MODELS,
) -> int:
    """Fill a leaderboard, or go on where that was broken off; how much there was to do.

    Args:
        board: what is on it already stays.
        folder: where the synthetic data set is made.
        data: further data sets by name, as `data prepare` leaves them, on whose test images the models are run.
        rows: folders of `glioma-hf benchmark`, whose rows are imported.
        models: which are run.
    """
    begin(board)
    own = folder.absolute() / SYNTHETIC
    if not own.exists():
        with board.work_folder() as work:
            synthesize(work / "dataset.zip", 7, SyntheticArchiveConfig(train=1, valid=1, test=6, gen=1, scene=_SCENE))
            prepare(work / "dataset.zip", own)
    places = {SYNTHETIC: own, **{name: place.absolute() for name, place in (data or {}).items()}}
    here = [name for name, place in places.items() if _add(board, name, place)]
    spoilt = [(objects, name) for objects in ("cells", "soma") for name in SPOILT] if SYNTHETIC in here else []
    done = sum([_add_example(board, own, objects, name) for objects, name in spoilt])
    for place in rows:
        import_rows(board, place, "benchmark")
    todo = [(name, data_set) for data_set in here for name in models]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return done + sum(pool.map(lambda item: _run(board, item[1], item[0], models[item[0]]), todo))


def _add(board: Board, name: str, place: Path) -> bool:
    """A data set with its tasks, unless it is there; False where another one has its name."""
    with board.database.reading() as session:
        there = session.scalars(select(DataSet.place).filter_by(name=name).where(DataSet.place.is_not(None))).first()
    if there is not None:
        return there == str(place)
    objects = ["cells", "soma"] if name == SYNTHETIC else ["cells"]
    splits = ["spec/test"] if name == SYNTHETIC else ["test"]
    add_data_set(board, place, name, *KNOWN.get(name, Words(name, name)), splits, objects)
    return True


def _add_example(board: Board, data: Path, objects: str, name: str) -> int:
    """Score and publish what is left of the references of a task once they are spoilt; whether that was to do."""
    tasks = _tasks(board, SYNTHETIC, objects, EXAMPLES, name)
    if not tasks:
        return 0
    (task,) = tasks
    references = read_references(data, task.split)
    spoilt = {key: SPOILT[name](side) for key, side in references.of_task(objects).items()}
    found = replace(references, instances=spoilt, complete=False)
    names = [references.names[key] for key in references.instances]
    fields = {"data_set": SYNTHETIC, "split": task.split, "task": objects, "model": name}
    rows = []
    for mode in MODES:
        scores = score_sets(references, found, objects, ScoringOptions(mode=mode), EXTRAS)
        rows.append(ResultRow.of(scores, names, **fields))
    with board.work_folder() as work:
        write_predictions(work / PREDICTIONS, found)
        facts = ModelFacts(name, "none", "made from the references by a rule", licence="CC0-1.0", card=CARD)
        _keep(board, EXAMPLES, facts, task, rows, work / PREDICTIONS)
    return 1


def _run(board: Board, data_set: str, name: str, facts: ModelFacts) -> int:
    """Run a model on the cells of a data set and publish its scores; for how many tasks that was to do."""
    tasks = _tasks(board, data_set, "cells", COMES_ALONG, facts.name)
    for task in tasks:
        with board.work_folder() as work:
            (work / NAMED).write_text(json.dumps({"model": name}), encoding="utf-8")
            asked = {"kind": MODEL, "payload": NAMED, "data": task.data_set.place, "split": task.split}
            bounded.run("score", work, {**asked, "objects": task.objects, "model": facts.name}, board.limits.score)
            told = json.loads((work / ROWS).read_text(encoding="utf-8"))
            rows = [ResultRow.model_validate(told[mode]["row"]) for mode in MODES]
            _keep(board, COMES_ALONG, facts, task, rows, work / PREDICTIONS)
    return len(tasks)


def _tasks(board: Board, data_set: str, objects: str, developer: str, model: str) -> list[Task]:
    """Those of a data set for which a model has no scores yet."""
    with board.database.reading() as session:
        scored = select(Scoring.task_id).join(Model, Scoring.model_id == Model.id).join(Developer)
        scored = scored.where(Developer.name == developer, Model.name == model)
        chosen = select(Task).join(DataSet).where(DataSet.name == data_set, Task.objects == objects)
        tasks = session.scalars(chosen.where(DataSet.place.is_not(None), Task.id.not_in(scored)).order_by(Task.name))
        return list(tasks.unique())


def _keep(board: Board, developer: str, facts: ModelFacts, task: Task, rows: list[ResultRow], file: Path) -> None:
    """A model's rows of a task, published, all at once; its predictions go into the record first."""
    payload = f"predictions/{new_id()}.parquet"
    board.database.record.keep(payload, file)
    with board.database.writing() as session:
        who = session.scalars(select(Developer).filter_by(name=developer)).first() or Developer(name=developer)
        session.add(who)
        session.flush()
        model = find_model(session, who.id, facts)
        for row in rows:
            put_row(session, model, task, row, payload)


def _moved(by: int) -> Callable[[Instances], Instances]:
    def move(side: Instances) -> Instances:
        masks = [(mask, (top + by, left + by)) for mask, (top, left) in side.box_masks()]
        return Instances.from_box_masks(masks, side.size, categories=side.categories)

    return move


def _left_out(every: int) -> Callable[[Instances], Instances]:
    return lambda side: side.select(np.arange(len(side)) % every != 0)


SPOILT: dict[str, Callable[[Instances], Instances]] = {
    "Example: every third left out": _left_out(3),
    "Example: every fourth left out": _left_out(4),
    "Example: moved by 2 pixels": _moved(2),
    "Example: moved by 6 pixels": _moved(6),
    "Example: without overlaps": lambda side: side.flatten(),
}
