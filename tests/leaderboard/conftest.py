"""Leaderboards on SQLite and, where `make test-postgres` gives one, on PostgreSQL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra leaderboard isn't installed")

from glioma_hf.leaderboard import bounded, jobs
from glioma_hf.leaderboard.accounts import Doors
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import add_data_set, begin
from glioma_hf.leaderboard.database import Database
from glioma_hf.leaderboard.queue import Queue
from glioma_hf.leaderboard.record import FolderRecord
from glioma_hf.leaderboard.tables import Developer
from glioma_hf.resources import bundled
from tests.leaderboard.made import command, own_results
from tests.postgres import VARIABLE

BACKENDS = ["postgresql"] if VARIABLE in os.environ else ["sqlite"]


@pytest.fixture(params=BACKENDS)
def new_place(request, tmp_path) -> Iterator[Callable[[], str]]:
    """A function that gives the address of an empty database."""
    made: list[str] = []

    def new() -> str:
        if request.param == "sqlite":
            return str(tmp_path / f"{uuid.uuid4().hex}.sqlite")
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        made.append(name)
        return f"{os.environ[VARIABLE].rpartition('/')[0]}/{name}"

    yield new
    if made:
        import psycopg

        with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
            for name in made:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def record(tmp_path: Path) -> FolderRecord:
    return FolderRecord(tmp_path / "record")


@pytest.fixture
def database(new_place, record) -> Iterator[Database]:
    """An empty leaderboard's."""
    opened = Database(new_place(), record)
    yield opened
    opened.close()


@pytest.fixture
def in_this_process(monkeypatch) -> None:
    """Work is done without a process of its own, which takes a second or more to begin."""

    def run(work, folder, facts, bounds, alive=lambda: None):
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            return jobs.WORKS[work](**facts)

    monkeypatch.setattr(bounded, "run", run)


@pytest.fixture
def board(database, tmp_path, folder) -> Iterator[Board]:
    """A leaderboard with the paper's figures and the tasks of a synthetic data set; no worker."""
    opened = Board(database, Queue(database.engine.url, tmp_path / "queue"))
    begin(opened)
    add_data_set(opened, folder, "synthetic", title="Synthetic cells", cell_type="synthetic", objects=["cells", "soma"])
    yield opened
    opened.queue.close()


@pytest.fixture
def site(board, monkeypatch):
    """A function that gives a browser of its own, without JavaScript."""
    from fastapi.testclient import TestClient

    monkeypatch.syspath_prepend(str(bundled("spaces/leaderboard")))
    import site_pages

    app = site_pages.make_site(board, Doors(board, tries=3))
    return lambda: TestClient(app, raise_server_exceptions=False)


def _developer(board: Board, name: str) -> str:
    with board.database.writing() as session:
        row = Developer(name=name)
        session.add(row)
    return row.id


@pytest.fixture
def ann(board) -> str:
    """The id of a developer."""
    return _developer(board, "Ann")


@pytest.fixture
def bob(board) -> str:
    """The id of another."""
    return _developer(board, "Bob")


@pytest.fixture(scope="session")
def results(folder, tmp_path_factory) -> Path:
    """Results for the task of the synthetic data set, most cells right."""
    return own_results(folder, tmp_path_factory.mktemp("results") / "results.json")


@pytest.fixture(scope="session")
def served(folder, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A leaderboard with the tests' synthetic data set, served on SQLite: its address, and its folder."""
    home = tmp_path_factory.mktemp("served") / "board"
    added = ["leaderboard", "add", folder, "--name", "synthetic", "--title", "Synthetic cells"]
    done = command(*added, "--cell-type", "synthetic", "--licence", "CC0-1.0", "--folder", home, "--objects", "cells")
    assert done.stdout == "synthetic, spec/test: cells\nsynthetic, gen/test: cells\n", done.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from glioma_hf.cli import main; main()"
    given = ["leaderboard", "serve", "--folder", str(home), "--port", str(port), "--no-examples"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    server = subprocess.Popen([sys.executable, "-c", code, *given], env=environment, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=5)
                break
            except OSError:
                assert server.poll() is None, server.stderr.read()
                time.sleep(0.5)
        else:
            pytest.fail("the leaderboard didn't start within two minutes")
        yield url, home
    finally:
        server.terminate()
        server.wait(30)
