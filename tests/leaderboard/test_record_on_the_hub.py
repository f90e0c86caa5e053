"""The durable record as a private data set of the Hub, against a server that speaks as the Hub does."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import HfApi, constants
from sqlalchemy import select

from glioma_hf import InputError
from glioma_hf.leaderboard import scoring
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import add_data_set, begin
from glioma_hf.leaderboard.database import Database, content
from glioma_hf.leaderboard.queue import Queue
from glioma_hf.leaderboard.record import HubRecord
from glioma_hf.leaderboard.submissions import ModelFacts, publish, submit, withdraw
from glioma_hf.leaderboard.tables import Developer, Submission
from tests.leaderboard.hub import hub_server
from tests.leaderboard.made import TASK


@pytest.fixture
def server():
    with hub_server() as running:
        yield running


@pytest.fixture
def record(server, tmp_path, monkeypatch):
    """A record in a data set of that Hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return HubRecord("me/record", HfApi(endpoint=server.url, token="hf_test"))


@pytest.mark.usefixtures("in_this_process")
def test_a_leaderboard_lives_on_the_hub(server, record, new_place, tmp_path, folder, results):
    database = Database(new_place(), record)
    board = Board(database, Queue(database.engine.url, tmp_path / "queue"))
    begin(board)
    add_data_set(board, folder, "synthetic")
    with database.writing() as session:
        ann = Developer(name="Ann")
        session.add(ann)
    kept = submit(board, ann.id, TASK, "results", results, ModelFacts("Kept"))
    gone = submit(board, ann.id, TASK, "results", results, ModelFacts("Gone"))
    assert scoring.score(board, kept)
    withdraw(board, ann.id, gone)
    with database.reading() as session:
        rows = {row.id: row for row in session.scalars(select(Submission)).unique()}
        publish(board, ann.id, rows[kept].model_id)
    with database.reading() as session:
        expected = content(session)
    board.queue.close()
    database.close()
    names = sorted(server.files)
    assert [name for name in names if name.startswith("files/")] == [f"files/{rows[kept].payload}"]
    assert server.large == {f"files/{row.payload}" for row in rows.values()}
    journal = [name for name in names if name.startswith("journal/")]
    assert all(json.loads(line)["table"] for name in journal for line in server.files[name].splitlines())
    assert {token for _, token in server.asked} == {"Bearer hf_test"}
    anew = Database(new_place(), HubRecord("me/record", HfApi(endpoint=server.url, token="hf_test")))
    with anew.reading() as session:
        assert content(session) == expected
    anew.close()


def test_files_are_kept_given_and_dropped(server, record, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    record.keep("predictions/a.parquet", tmp_path / "a.parquet")
    assert record.get("predictions/a.parquet").read_bytes() == b"PAR1"
    record.drop("predictions/a.parquet")
    with pytest.raises(InputError, match=r"predictions/a\.parquet isn't in the record any more"):
        record.get("predictions/a.parquet")
    with pytest.raises(InputError, match="no name of a file in the record"):
        record.keep("../a.parquet", tmp_path / "a.parquet")


def test_a_hub_that_refuses_is_told(server, record):
    server.refuses = True
    with pytest.raises(InputError, match=r"me/record: the leaderboard's record can't be reached on the Hub"):
        record.append([])
