"""The database: SQLite in a file or PostgreSQL, its migrations, and sessions whose changes are recorded first.

A change of a recorded table is written to the durable record after it is flushed and before it is committed: what is
acknowledged is in the record, and the row's lock is held meanwhile, so that both have a row's changes in one order.
What was recorded and not committed, since the process died in between, `catch_up` brings into the database.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, delete, event, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.record import Entry, Record
from glioma_hf.leaderboard.tables import RECORDED, Moment, Recorded

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY = 30  # seconds that a writer waits for another one's end
TABLES = {table.__tablename__: table for table in RECORDED}


class Database:
    """A database at its newest version.

    Example:
        database = Database("board.sqlite", FolderRecord("record"))
        with database.writing() as session:
            session.add(Developer(name="ann"))
    """

    def __init__(self, where: str | Path, record: Record):
        """Open it, made or migrated if need be, and bring it up to the record.

        Args:
            where: a file for SQLite, or an address such as postgresql://user:password@host/name.
            record: where changes go first.

        Raises `InputError` where it can't be opened.
        """
        self.record = record
        self.engine = _engine(address_of(where))
        self._writer = self.engine.execution_options(writes=True)
        try:
            migrate(self.engine)
            self.catch_up()
        except OperationalError as error:
            self.engine.dispose()
            raise _not_opened(error) from None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session to look at one state of the database."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are recorded and committed when the block ends without an error."""
        with Session(self._writer, expire_on_commit=False) as session:
            session.info["record"], session.info["changed"] = self.record, {}
            event.listen(session, "after_flush", _note)
            event.listen(session, "before_commit", _write_down)
            with session.begin():
                yield session

    def catch_up(self) -> int:
        """Changes that were recorded and aren't here, made; how many there were."""
        by_table: dict[str, list[Entry]] = {name: [] for name in TABLES}
        for entry in newest(self.record.entries()):
            by_table[entry.table].append(entry)
        with Session(self._writer) as session, session.begin():
            made = sum(_bring(session, TABLES[name], entries) for name, entries in by_table.items())
            return made + sum(_take(session, TABLES[name], by_table[name]) for name in reversed(by_table))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def rebuild(where: str | Path, record: Record) -> int:
    """Make a database from its record alone; how many rows it has then.

    Raises `InputError` where one is there already: what is in it and not in the record would stay.
    """
    engine = _engine(address_of(where))
    try:
        there = {table.__tablename__ for table in RECORDED} & set(inspect(engine).get_table_names())
    except OperationalError as error:
        raise _not_opened(error) from None
    finally:
        engine.dispose()
    if there:
        raise InputError("a leaderboard's database is there already; give an empty one")
    database = Database(where, record)
    try:
        with database.reading() as session:
            return sum(map(len, content(session).values()))
    finally:
        database.close()


def address_of(where: str | Path) -> URL:
    """The address of a database; a path is that of an SQLite file."""
    text = str(where)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        url = make_url(text)
    except ArgumentError:
        raise InputError("the database's address isn't one; it is like postgresql://user:password@host/name") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"{url.get_backend_name()}: a leaderboard's database is SQLite or PostgreSQL")
    return url


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring a database to a version of its tables, the newest by default."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":  # one at a time, whoever else starts just now
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7014305)")
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def content(session: Session) -> dict[str, list[dict[str, Any]]]:
    """All rows of all recorded tables, as the record has them, in the order of their keys."""
    found = {}
    for table in RECORDED:
        rows = {_key(table, row): row for row in map(row_of, session.scalars(select(table)).unique())}
        found[table.__tablename__] = [rows[key] for key in sorted(rows)]
    return found


def row_of(item: Recorded) -> dict[str, Any]:
    """A row as plain values."""
    values = {column.key: getattr(item, column.key) for column in inspect(type(item)).column_attrs}
    return {k: v.isoformat() if isinstance(v, datetime.datetime) else v for k, v in values.items()}


def newest(entries: Iterator[Entry]) -> list[Entry]:
    """Of each row its last entry: the one of the highest version, of several the later one."""
    last: dict[tuple[str, tuple[Any, ...]], Entry] = {}
    for entry in entries:
        table = TABLES.get(entry.table)
        if table is None:
            raise InputError(f"the record has entries of {entry.table!r}; it is of a newer release of glioma_hf")
        key = (entry.table, _key(table, entry.row))
        known = last.get(key)
        if known is None or entry.row["version"] >= known.row["version"]:
            last[key] = entry
    return list(last.values())


def _not_opened(error: OperationalError) -> InputError:
    reason = " ".join(str(error.orig).split())[:160]
    return InputError(f"the leaderboard's database can't be opened ({reason}); see that it is there")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    if url.database:
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # a file that is called so, say
            raise InputError(f"{folder}: no folder can be made there ({error.strerror}); give another place") from None
    engine = create_engine(url, connect_args={"timeout": BUSY})

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the transactions' beginnings are ours, below
        # What a loss of power takes from the file is in the record still.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: one that begins as a reader may find that it can't have it.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _note(session: Session, _: Any) -> None:
    """Which rows a flush changed."""
    changed = session.info["changed"]
    changed |= dict.fromkeys((item for item in session.new if isinstance(item, Recorded)), False)
    changed |= {i: False for i in session.dirty if isinstance(i, Recorded) and session.is_modified(i)}
    changed |= dict.fromkeys((item for item in session.deleted if isinstance(item, Recorded)), True)


def _write_down(session: Session) -> None:
    session.flush()
    if changed := session.info["changed"]:
        entries = [Entry(item.__tablename__, row_of(item), deleted) for item, deleted in changed.items()]
        session.info["record"].append(entries)
        session.info["changed"] = {}


def _key(table: type[Recorded], row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in inspect(table).primary_key)


def _versions(session: Session, table: type[Recorded]) -> dict[tuple[Any, ...], int]:
    """By the rows' keys."""
    keys = inspect(table).primary_key
    return {tuple(row[:-1]): row[-1] for row in session.execute(select(*keys, table.version))}


def _bring(session: Session, table: type[Recorded], entries: list[Entry]) -> int:
    """Rows to recorded states that are newer than their own."""
    known = _versions(session, table)
    newer = [e for e in entries if not e.deleted and e.row["version"] > known.get(_key(table, e.row), 0)]
    if not newer:
        return 0
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement: Any = insert(table)
    keys = [column.name for column in inspect(table).primary_key]
    others = {c.name: statement.excluded[c.name] for c in table.__table__.columns if c.name not in keys}
    statement = statement.on_conflict_do_update(
        index_elements=keys, set_=others, where=statement.excluded.version > table.version
    )
    session.connection().execute(statement, [_typed(table, entry.row) for entry in newer])
    return len(newer)


def _take(session: Session, table: type[Recorded], entries: list[Entry]) -> int:
    """Rows away that were deleted."""
    known, taken = _versions(session, table), 0
    for entry in entries:
        if entry.deleted and entry.row["version"] >= known.get(key := _key(table, entry.row), entry.row["version"] + 1):
            keys = zip(inspect(table).primary_key, key, strict=True)
            session.execute(delete(table).where(*(column == value for column, value in keys)))
            taken += 1
    return taken


def _typed(table: type[Recorded], row: dict[str, Any]) -> dict[str, Any]:
    """A recorded row as the database takes it."""
    moments = {c.name for c in table.__table__.columns if isinstance(c.type, Moment)}
    return {k: datetime.datetime.fromisoformat(v) if v is not None and k in moments else v for k, v in row.items()}
