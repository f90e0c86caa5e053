"""The commands, against a leaderboard that is served as `glioma-hf leaderboard serve` serves it."""

from __future__ import annotations

import json

import pytest

from glioma_hf.leaderboard.database import Database, content
from glioma_hf.leaderboard.record import FolderRecord
from tests.leaderboard.made import TASK, command

pytestmark = pytest.mark.alone


def test_the_commands_end_to_end(served, results, tmp_path):
    """Account, submission, scores, and the database from its record alone."""
    url, home = served
    done = command("leaderboard", "account", "Ann", "--folder", home, "--maintainer")
    assert done.stdout == "Ann is a maintainer\n", done.stderr
    sent = [
        "leaderboard",
        "submit",
        results,
        "--task",
        TASK,
        "--model",
        "Mine",
        "--name",
        "Ann",
        "--url",
        url,
        "--wait",
    ]
    done = command(*sent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "scored"
    done = command(*sent)
    assert done.returncode == 2
    assert "mine has a submission for this task already" in done.stderr.lower()
    done = command("leaderboard", "rebuild", "--database", tmp_path / "new.sqlite", "--record", home / "record")
    assert done.returncode == 0, done.stderr
    bases = [Database(path, FolderRecord(home / "record")) for path in (tmp_path / "new.sqlite", home / "board.sqlite")]
    contents = []
    for base in bases:
        with base.reading() as session:
            contents.append(content(session))
        base.close()
    assert contents[0] == contents[1]
    assert done.stdout == f"{sum(map(len, contents[0].values()))} rows\n"
    again = command("leaderboard", "rebuild", "--database", tmp_path / "new.sqlite", "--record", home / "record")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_gradio_client_submits(served, results, monkeypatch):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    url, home = served
    assert command("leaderboard", "account", "Greta", "--folder", home).returncode == 0
    done = command("leaderboard", "account", "Greta", "--new-password", "--folder", home)
    assert done.stdout == "Greta has another password\n"
    client = Client(f"{url}/gradio", verbose=False)
    arguments = [handle_file(results), TASK, "results", "By Gradio", "Greta"]
    with pytest.raises(AppError, match="name or password is wrong"):
        client.predict(*arguments, "a wrong password", api_name="/submit")
    assert client.predict(*arguments, "correct horse battery", api_name="/submit").split()[1] == "received"
    table = client.predict("glioma_c6, spec/test: cells", "overlapping", "ap50", api_name="/leaderboard")
    assert table["data"][0][:2] == [1, "Cellpose, fine-tuned"]


def test_a_leaderboard_that_is_not_there_is_told(results):
    sent = ["leaderboard", "submit", results, "--task", TASK, "--model", "Mine", "--name", "Ann"]
    done = command(*sent, "--url", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert "the leaderboard isn't reached" in done.stderr
    assert json.loads(results.read_text())


def test_a_data_set_without_a_name_is_told(folder, tmp_path):
    done = command("leaderboard", "add", folder, "--name", "../x", "--folder", tmp_path / "board")
    assert done.returncode == 2
    assert "is no name for a data set" in done.stderr


def test_a_place_that_holds_no_leaderboard_is_told(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = command("leaderboard", "add", folder, "--name", "x", "--folder", tmp_path / "file")
    assert done.returncode == 2
    assert "no folder can be made there" in done.stderr
    new = tmp_path / "new.sqlite"
    done = command("leaderboard", "rebuild", "--database", new, "--record", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "nowhere: no record of a leaderboard lies there" in done.stderr
    assert not new.exists()
