"""A leaderboard that is full from its first minute: the paper's figures, and examples on synthetic cells.

The example's models are the references themselves, cells left out, moved or joined by a known rule: what the table
makes of mistakes of each kind can be seen at a glance. They are called examples and are no models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import select

from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.data.prepare import prepare
from glioma_hf.instances import Instances
from glioma_hf.leaderboard import scoring
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import add_data_set, begin, task_name
from glioma_hf.leaderboard.submissions import ModelFacts, publish, submit
from glioma_hf.leaderboard.tables import DataSet, Developer, Model, Submission, Task
from glioma_hf.leaderboard.words import RESULTS, STANDING
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig

SYNTHETIC, EXAMPLES = "synthetic", "examples"
_SCENE = SceneConfig(width=512, height=384, cells_per_megapixel=(200, 300))


def seed(board: Board, folder: Path) -> bool:
    """Fill a new leaderboard, or go on where that was broken off; whether there was something to do.

    Args:
        board: has no data set "synthetic" of somebody else's.
        folder: where the synthetic data set is made.
    """
    begin(board)
    data = folder.absolute() / "synthetic"
    with board.database.reading() as session:
        known = session.scalars(select(DataSet).filter_by(name=SYNTHETIC)).first()
    if known is not None and known.place != str(data):
        return False
    if not data.exists():
        with board.work_folder() as work:
            synthesize(work / "dataset.zip", 7, SyntheticArchiveConfig(train=1, valid=1, test=6, gen=1, scene=_SCENE))
            prepare(work / "dataset.zip", data)
    if known is None:
        words = ("Synthetic cells", "synthetic", "synthetic", "CC0-1.0")
        add_data_set(board, data, SYNTHETIC, *words, ["spec/test"], ["cells", "soma"])
    with board.database.writing() as session:
        who = session.scalars(select(Developer).filter_by(name=EXAMPLES)).first() or Developer(name=EXAMPLES)
        session.add(who)
    todo = [(objects, name) for objects in ("cells", "soma") for name in SPOILT]
    return any([_add_example(board, who.id, data, objects, name) for objects, name in todo])


def _add_example(board: Board, who: str, data: Path, objects: str, name: str) -> bool:
    """Send, score and publish an example, as far as that isn't done."""
    task = task_name(SYNTHETIC, "spec/test", objects)
    with board.database.reading() as session:
        chosen = select(Submission).join(Model).join(Task)
        chosen = chosen.where(Model.developer_id == who, Model.name == name, Task.name == task)
        sent = session.scalars(chosen.where(Submission.state.in_(STANDING))).unique().first()
    if sent is not None and sent.model.published:
        return False
    facts = ModelFacts(
        name,
        backbone="none",
        learning_method="made from the references by a rule",
        licence="CC0-1.0",
        card="An example, no model: the references themselves, spoilt as its name says, so that the table can be read.",
    )
    if sent is None:
        with board.work_folder() as folder:
            file = folder / "example.json"
            file.write_text(json.dumps(list(_spoilt(data, objects, SPOILT[name]))), encoding="utf-8")
            submission = submit(board, who, task, RESULTS, file, facts)
    else:
        submission = sent.id
    scoring.score(board, submission)  # unless a worker has it already
    with board.database.reading() as session:
        model = session.get_one(Submission, submission).model_id
    publish(board, who, model)
    return True


def _spoilt(data: Path, objects: str, spoil: Callable[[Instances], Instances]) -> Iterator[dict[str, object]]:
    """COCO results."""
    references = read_references(data, "spec/test")
    for image, side in references.of_task(objects).items():
        for item in spoil(side).to_coco(int(image)):
            counts = item["segmentation"]["counts"]
            text = counts.decode() if isinstance(counts, bytes) else counts
            mask = {"size": item["segmentation"]["size"], "counts": text}
            yield {"image_id": image, "category_id": item["category_id"], "segmentation": mask, "score": 1.0}


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
