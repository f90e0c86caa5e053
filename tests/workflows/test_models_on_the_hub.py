"""A saved model on the Hub is loaded by its name, from a server that answers as the Hub does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from glioma_hf import InputError
from glioma_hf.hub import is_repo
from glioma_hf.models import load_segmenter
from glioma_hf.workflows.training import teach
from tests.conftest import ROOT
from tests.models.contract import PAIR

REVISION = "1" * 40
SCRIPT = """
import sys
from glioma_hf import InputError
from glioma_hf.models import FAMILIES, load_segmenter
FAMILIES["dummy"] = "tests.models.dummy"
from tests.models.contract import PAIR
try:
    print(len(load_segmenter(sys.argv[1]).segment(PAIR[0])))
    print(len(load_segmenter("dummy", adapter=sys.argv[1]).segment(PAIR[0])))
except InputError as error:
    print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's HTTP interface as fetching single files asks for."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self) -> None:
        self.server.asked.append(self.path)
        name = self.path.rpartition("/")[2]
        if self.server.refuses:
            return self.reply(403, b"")
        data = self.server.files.get(name) if self.path.startswith("/me/dummy/resolve/") else None
        return self.reply(404, b"") if data is None else self.reply(200, data)

    def reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server(dummy, tmp_path):
    teach(*PAIR, tmp_path / "taught", "dummy")
    running = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    running.files = {p.name: p.read_bytes() for p in (tmp_path / "taught").iterdir()}
    running.files["evil.py"] = b"raise SystemExit(9)"
    running.asked, running.refuses = [], False
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def load(server, cache: Path, name: str = "me/dummy", offline: str = "0") -> list[str]:
    """What the script prints, in a process of its own: libraries read the Hub's address when they load."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": offline,
        "HF_HOME": str(cache),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_is_fetched_by_its_name_and_kept(server, tmp_path):
    expected = [str(len(load_segmenter(tmp_path / "taught").segment(PAIR[0])))] * 2
    assert load(server, tmp_path / "cache") == expected
    names = {path.rpartition("/")[2] for path in server.asked if "/resolve/" in path}
    assert names == {"README.md", "level.json", "model.json", "recipe.json", "scores.json", "thresholds.json"}
    server.asked.clear()
    assert load(server, tmp_path / "cache", offline="1") == expected
    assert server.asked == []


def test_what_the_hub_refuses_or_lacks_is_said(server, tmp_path):
    server.refuses = True
    (line,) = load(server, tmp_path / "cache")
    assert line.startswith("me/dummy: model.json can't be fetched from the Hub")
    server.refuses = False
    del server.files["level.json"]
    (line,) = load(server, tmp_path / "cache")
    assert "no saved model lies there (level.json is missing)" in line
    (line,) = load(server, tmp_path / "empty", offline="1")
    assert "the model me/dummy can't be loaded" in line


@pytest.mark.parametrize("name", ["../folder", "a/..", "./x", "a", "a/b/c", "/etc/passwd", "a b/c", ""])
def test_names_that_are_paths_are_no_repositories(name):
    assert not is_repo(name)
    with pytest.raises(InputError, match="no saved model lies there"):
        load_segmenter("embedded", adapter=name or "nowhere")
