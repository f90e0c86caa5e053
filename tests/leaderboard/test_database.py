from __future__ import annotations

import datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, select
from sqlalchemy.exc import IntegrityError

from glioma_hf import InputError
from glioma_hf.leaderboard.database import Database, content, migrate
from glioma_hf.leaderboard.tables import Base, DataSet, Developer, Metric, Model, Submission, Task, Visit, now

HASH = "$argon2id$" + "x" * 80


def fill(database: Database) -> str:
    """A developer, a task and a model; the model's id."""
    with database.writing() as session:
        ann = Developer(name="Ann", pass_hash=HASH)
        cells = DataSet(name="cells", title="Cells")
        session.add_all([ann, cells])
        session.flush()
        task = Task(name="cells, test", data_set_id=cells.id, split="spec/test", objects="cells", num_images=2)
        model = Model(developer_id=ann.id, name="One")
        session.add_all([task, model])
    return model.id


def submission(database: Database, **fields) -> Submission:
    with database.reading() as session:
        model, task = session.scalars(select(Model)).first(), session.scalars(select(Task)).first()
    given = {"kind": "results", "file_name": "a.json", "payload": "predictions/a.parquet", "sha256": "0" * 64}
    return Submission(developer_id=model.developer_id, model_id=model.id, task_id=task.id, **given | fields)


def test_migrations_make_the_tables_and_take_them_away(database):
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    migrate(database.engine, "base")
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrate(database.engine)
    assert set(Base.metadata.tables) <= set(inspect(database.engine).get_table_names())


@pytest.mark.parametrize(
    "row",
    [
        lambda: Developer(name=None),
        lambda: Developer(name=""),
        lambda: Developer(name="Ann"),  # a second one
        lambda: Developer(name="Bob", pass_hash="secret"),
        lambda: Developer(name="Bob", role="king"),
        lambda: Task(name="none", data_set_id="x", split="test", objects="cells", num_images=0),
        lambda: Model(developer_id="nobody", name="Two"),
        lambda: Metric(name="m", title="M", description="", higher_is_better=None, position=0),
    ],
)
def test_constraints_hold(database, row):
    fill(database)
    with database.reading() as session:
        before = content(session)
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(row())
    with database.reading() as session:
        assert content(session) == before
    assert database.catch_up() == 0, "what was refused isn't in the record"


def test_one_submission_stands_for_a_model_and_task(database):
    fill(database)
    with database.writing() as session:
        session.add(submission(database))
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(submission(database))
    with database.writing() as session:
        session.scalars(select(Submission)).one().state = "withdrawn"
    with database.writing() as session:
        session.add(submission(database))


def test_a_database_is_made_from_the_record_alone(database, new_place, record):
    fill(database)
    with database.writing() as session:
        session.add(submission(database))
        session.add(Metric(name="gone", title="Gone", description="", higher_is_better=True, position=0))
    with database.writing() as session:
        session.scalars(select(Submission)).one().told = "changed"
        session.delete(session.get(Metric, "gone"))
    with database.writing() as session:  # the same key once more
        session.add(Metric(name="gone", title="Back", description="", higher_is_better=True, position=0))
    with database.reading() as session:
        expected = content(session)
    assert expected["metric"][0]["title"] == "Back"
    other = Database(new_place(), record)
    with other.reading() as session:
        assert content(session) == expected
        assert session.scalars(select(Submission)).one().created.tzinfo is datetime.timezone.utc
    other.close()


def test_what_was_recorded_and_not_committed_is_brought_in(database):
    fill(database)

    def die(session):
        raise KeyboardInterrupt

    def broken_off():
        with database.writing() as session:
            session.scalars(select(Model)).one().name = "Renamed"
            session.add(Metric(name="new", title="New", description="", higher_is_better=True, position=0))
            event.listen(session, "before_commit", die)  # behind the record's own

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    with database.reading() as session:
        assert session.scalars(select(Model)).one().name == "One"
    assert database.catch_up() == 2
    assert database.catch_up() == 0
    with database.reading() as session:
        assert session.scalars(select(Model)).one().name == "Renamed"
    # A change after it builds on it, and wins.
    with database.writing() as session:
        session.scalars(select(Model)).one().name = "Again"
    assert database.catch_up() == 0


def test_where_nothing_can_be_recorded_nothing_is_committed(database, monkeypatch):
    fill(database)

    def refuse(entries):
        raise InputError("the record can't be reached")

    monkeypatch.setattr(database.record, "append", refuse)
    with pytest.raises(InputError), database.writing() as session:
        session.scalars(select(Model)).one().name = "Renamed"
    with database.reading() as session:
        assert session.scalars(select(Model)).one().name == "One"


def test_visits_are_not_recorded(database, record):
    fill(database)
    entries = len(list(record.entries()))
    with database.writing() as session:
        ann = session.scalars(select(Developer)).one()
        session.add(Visit(token_hash="0" * 64, developer_id=ann.id, expires=now()))
    assert len(list(record.entries())) == entries


def test_other_databases_and_records_are_refused(tmp_path, record):
    with pytest.raises(InputError, match=r"mysql: a leaderboard's database is SQLite or PostgreSQL"):
        Database("mysql://a@b/c", record)
    with pytest.raises(InputError, match="can't be opened"):
        Database("postgresql://glioma@127.0.0.1:1/none", record)
    (tmp_path / "record" / "journal" / "day").mkdir(parents=True)
    (tmp_path / "record" / "journal" / "day" / "1.jsonl").write_text('{"table": "developer"}\n')
    with pytest.raises(InputError, match=r"1\.jsonl: line 1 isn't an entry"):
        Database(tmp_path / "a.sqlite", record)
