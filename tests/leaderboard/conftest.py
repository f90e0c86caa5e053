"""Leaderboards on SQLite and, where `make test-postgres` gives one, on PostgreSQL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the extra leaderboard isn't installed")

from glioma_hf.leaderboard.database import Database
from glioma_hf.leaderboard.record import FolderRecord
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
