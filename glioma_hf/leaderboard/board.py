"""`Board`: a leaderboard that is open, with its database, record, queue and limits."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from glioma_hf import hub
from glioma_hf.errors import InputError
from glioma_hf.leaderboard.bounded import Bounds
from glioma_hf.leaderboard.database import Database
from glioma_hf.leaderboard.queue import Queue
from glioma_hf.leaderboard.record import open_record
from glioma_hf.leaderboard.tables import DataSet
from glioma_hf.locks import is_abandoned, one_writer

PREFIX, LOCK = "glioma-hf-board-", ".lock"  # of folders for pieces of work, and what says that somebody is at work
LINE, PATIENCE = 16, 30.0  # submissions that wait to be checked, at most, and for how many seconds
SETTLES = 5.0  # seconds in which a new folder may not have its lock yet


@dataclass(frozen=True)
class Limits:
    """What a leaderboard takes.

    Attributes:
        per_day: submissions of a developer in 24 hours.
        bytes: of a file.
        check, score: of the processes that look at a submission at once, and that score it.
        checks: submissions that are looked at at once, each within `check`; pages are answered meanwhile.
        lease: seconds without a word after which a worker counts as dead.
        attempts: how often a submission is taken up at most.
    """

    per_day: int = 20
    bytes: int = 200 * 2**20
    check: Bounds = field(default_factory=lambda: Bounds(120, 3000))
    score: Bounds = field(default_factory=lambda: Bounds(3600, 8000))
    checks: int = 4
    lease: float = 60.0
    attempts: int = 2


class Board:
    """A leaderboard.

    Example:
        board = Board.open("leaderboard")
    """

    def __init__(self, database: Database, queue: Queue, limits: Limits | None = None):
        self.database, self.queue, self.limits = database, queue, limits or Limits()
        self._line = threading.BoundedSemaphore(self.limits.checks + LINE)
        self._checks = threading.BoundedSemaphore(self.limits.checks)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        database: str | None = None,
        record: str | None = None,
        limits: Limits | None = None,
    ) -> Board:
        """The leaderboard of a folder, made if need be; what killed processes left behind is cleared away.

        Args:
            folder: holds `board.sqlite`, `queue.sqlite` and `record/`, unless the next two say other places.
            database: an address; that of the environment's DATABASE_URL without it.
            record: a folder, or hf://USER/NAME; that of LEADERBOARD_RECORD without it.

        Raises `InputError` where it can't be opened.
        """
        clear_abandoned()
        folder = Path(folder).absolute()
        where = database or os.environ.get("DATABASE_URL") or str(folder / "board.sqlite")
        kept = open_record(record or os.environ.get("LEADERBOARD_RECORD") or folder / "record")
        opened = Database(where, kept)
        return cls(opened, Queue(opened.engine.url, folder), limits)

    def close(self) -> None:
        """Close database and queue."""
        self.queue.close()
        self.database.close()

    @contextmanager
    def checking(self) -> Iterator[None]:
        """While a submission is looked at, which may take much memory. Raises `InputError` where too many are.

        Who waits keeps one of the server's threads: were there no end to the line, no page would be answered.
        """
        told = "many submissions are being checked just now; send this one again in a minute"
        if not self._line.acquire(blocking=False):
            raise InputError(told)
        try:
            if not self._checks.acquire(timeout=PATIENCE):
                raise InputError(told)
            try:
                yield
            finally:
                self._checks.release()
        finally:
            self._line.release()

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A folder for one piece of work, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
            folder = Path(name)
            with one_writer(folder / LOCK, folder):
                yield folder


def clear_abandoned() -> list[Path]:
    """Delete the folders that killed processes of this user left, and name them."""
    cleared = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            known = folder.lstat()
            own = not hasattr(os, "getuid") or known.st_uid == os.getuid()
            if own and known.st_mtime < time.time() - SETTLES and is_abandoned(folder / LOCK):
                shutil.rmtree(folder)
                cleared.append(folder)
    return cleared


def folder_of(data_set: DataSet) -> Path:
    """Where a data set lies on this machine; one of the Hub is fetched. Raises `InputError` where it can't be had."""
    if data_set.place is None:
        raise InputError(
            f"{data_set.title} isn't on this leaderboard's server: only the paper's figures of it are here"
        )
    folder = Path(data_set.place)
    if folder.is_dir() or not hub.is_repo(data_set.place):
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(data_set.place, repo_type="dataset"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{data_set.place}: the data set can't be fetched from the Hub ({reason})") from None
