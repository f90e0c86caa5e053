"""The leaderboard's Gradio, asked by hand: what gradio_client would never send."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.leaderboard.made import TASK
from tests.leaderboard.test_site import SECRET


@pytest.fixture
def door(board, monkeypatch, tmp_path):
    """The site with Gradio, and the folder of what is uploaded there."""
    from fastapi.testclient import TestClient

    from glioma_hf.leaderboard.accounts import Doors, add_account
    from glioma_hf.resources import bundled

    uploads = tmp_path / "uploads"
    uploads.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    monkeypatch.syspath_prepend(str(bundled("spaces/leaderboard")))
    import site_pages

    add_account(board, "Ann", SECRET)
    with TestClient(site_pages.make_site(board, Doors(board, tries=30), gradio=True)) as client:
        yield client, uploads


def told(client, name: str, *values) -> str:
    """What an event answers."""
    asked = client.post(f"/gradio/gradio_api/call/{name}", json={"data": list(values)})
    answer = client.get(f"/gradio/gradio_api/call/{name}/{asked.json()['event_id']}").text
    facts = json.loads(answer.rpartition("data: ")[2])
    return facts["error"] if "error" in facts else str(facts)


def file(path, **more) -> dict:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}} | more


def test_files_of_the_server_are_not_read(door, board, results, tmp_path):
    client, uploads = door
    kept = shutil.copy(results, tmp_path / "references.json")
    for given in (file(kept), file("/etc/passwd"), file("http://127.0.0.1/results.json"), {"a": [file(kept)]}):
        sentence = told(client, "submit", given, TASK, "results", "Stolen", "Ann", SECRET)
        assert "upload" in sentence, sentence
        assert "/" not in sentence
    assert not [path for path in uploads.rglob("*.json") if path.is_file()]
    assert not board.queue.waiting()


@pytest.mark.usefixtures("in_this_process")
def test_what_is_uploaded_is_taken_and_nothing_typed_stays(door, board, results):
    from sqlalchemy import func, select

    from glioma_hf.leaderboard.tables import Visit

    client, _ = door
    config = client.get("/gradio/config").json()
    assert not config.get("run_history")
    (place,) = client.post("/gradio/gradio_api/upload", files={"files": ("r.json", results.read_bytes())}).json()
    assert "received" in told(client, "submit", file(place), TASK, "results", "Mine", "Ann", SECRET)
    with board.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Visit)) == 0, "nobody stays logged in"


def test_fields_left_out_are_told(door):
    client, _ = door
    assert told(client, "submit", None, None, None, None, None, None) == "give a file"
    assert "Cellpose, fine-tuned" in told(client, "leaderboard", "glioma_c6, spec/test: cells", None, None)
    assert told(client, "leaderboard", "x", "overlapping", "ap50").startswith("there is no task")
    assert "our fault" in told(client, "submit")


def test_strangers_do_not_fill_the_disk(door, monkeypatch):
    import receiving

    client, uploads = door
    monkeypatch.setattr(receiving, "MOST_FILES", 0)
    sent = {"files": ("r.json", b"[]")}
    assert client.post("/gradio/gradio_api/upload", files=sent).status_code == 200
    (uploads / "more").write_bytes(b"x")
    answer = client.post("/gradio/gradio_api/upload", files=sent)
    assert (answer.status_code, answer.text) == (507, "The server's disk is full for now; try again in an hour.")
