"""What a new leaderboard fills itself with."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from glioma_hf.leaderboard import examples
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.database import content
from glioma_hf.leaderboard.examples import MODELS, SPOILT, seed
from glioma_hf.leaderboard.queue import Queue
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.tables import DataSet, Prediction
from glioma_hf.synthetic.scenes import SceneConfig
from tests.leaderboard.made import TASK

MODEL = {"deepsea": MODELS["deepsea"]}


@pytest.fixture
def empty(database, tmp_path):
    opened = Board(database, Queue(database.engine.url, tmp_path / "queue"))
    yield opened
    opened.queue.close()


@pytest.fixture
def small(monkeypatch):
    """Little of everything, one after the other: the work changes the folder of the whole process."""
    monkeypatch.setattr(examples, "SPOILT", dict(list(SPOILT.items())[1:3]))
    monkeypatch.setattr(examples, "AT_ONCE", 1)
    monkeypatch.setattr(examples, "_SCENE", SceneConfig(width=256, height=192, cells_per_megapixel=(250, 300)))


@pytest.mark.usefixtures("in_this_process", "small")
def test_a_leaderboard_fills_itself_once(empty, tmp_path, folder):
    assert seed(empty, tmp_path / "home", {"mine": folder}, models=MODEL) == 4 + 1 + 2
    with empty.database.reading() as session:
        table = standings(session, Asked(task=TASK))
        spoilt = [row for row in table.rows if row.model.name in examples.SPOILT]
        assert {row.model.name for row in table.rows} == {*examples.SPOILT, "DeepSea"}
        assert spoilt[0].scores["ap50"] > spoilt[-1].scores["ap50"] > 0
        (run,) = [row for row in table.rows if row.model.name == "DeepSea"]
        assert run.scores["seconds_per_image"] > 0
        assert run.scores["parameters"] == run.model.num_params > 100_000
        assert {"pq", "mhd", "recall_contested"} <= set(run.scores)
        mine = standings(session, Asked(task="mine, gen/test: cells"))
        assert [row.model.name for row in mine.rows] == ["DeepSea"]
        payloads = set(session.scalars(select(Prediction.prediction_url)))
        before = content(session)
    assert len(payloads) == 4 + 1 + 2
    assert all(empty.database.record.get(name).is_file() for name in payloads)
    assert seed(empty, tmp_path / "home", {"mine": folder}, models=MODEL) == 0
    with empty.database.reading() as session:
        assert content(session) == before


@pytest.mark.usefixtures("in_this_process", "small")
def test_a_data_set_of_somebody_elses_stays_alone(empty, tmp_path, folder):
    with empty.database.writing() as session:
        session.add(DataSet(name="synthetic", title="Theirs", place=str(folder)))
    assert seed(empty, tmp_path / "home", models=MODEL) == 0
