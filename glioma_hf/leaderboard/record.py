"""The durable record: every change as a line of JSON, and the files that were sent, in a folder or on the Hub.

A database can be made from it alone (`glioma-hf leaderboard rebuild`). Each commit is a file of its own, written whole
or not at all, so that any number of processes and machines write one record. It holds the hashes of passwords and what
isn't published: keep it private.

    journal/2026-11-25/01764080000000000000-5f0c....jsonl     a change a line
    files/predictions/1c9f....parquet                         what was sent
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioma_hf import hub
from glioma_hf.errors import InputError
from glioma_hf.faults import told_as

if TYPE_CHECKING:
    from huggingface_hub import HfApi

JOURNAL, FILES = "journal", "files"
_NAME = re.compile(r"[a-z_]+/[\w-]+\.[a-z]+")


@dataclass(frozen=True)
class Entry:
    """A row of a table as it became, or as it was when it was deleted."""

    table: str
    row: dict[str, Any]
    deleted: bool = False

    def line(self) -> str:
        """As a line of JSON."""
        facts = {"table": self.table, "row": self.row} | ({"deleted": True} if self.deleted else {})
        return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


class Record(ABC):
    """Where changes and files outlive the database."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Write down the changes of one commit; they are safe once this returns."""
        day = time.strftime("%Y-%m-%d", time.gmtime())
        name = f"{JOURNAL}/{day}/{time.time_ns():020d}-{uuid.uuid4().hex}.jsonl"
        self._write(name, "".join(f"{entry.line()}\n" for entry in entries).encode())

    def entries(self) -> Iterator[Entry]:
        """All changes, in their order. Raises `InputError` for a file that isn't what `append` writes."""
        for name, data in self._journal():
            for number, line in enumerate(data.splitlines(), start=1):
                try:
                    facts = json.loads(line)
                    yield Entry(facts["table"], facts["row"], facts.get("deleted", False))
                except (ValueError, KeyError, TypeError):
                    raise InputError(f"{name}: line {number} isn't an entry of a leaderboard's record") from None

    def keep(self, name: str, path: str | Path) -> None:
        """Keep a file under a name such as "predictions/1c9f.parquet"; it is safe once this returns."""
        self._write(f"{FILES}/{_checked(name)}", Path(path).read_bytes())

    @abstractmethod
    def get(self, name: str) -> Path:
        """A file that was kept, as one on this machine. Raises `InputError` where it isn't there."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Keep a file no longer."""

    @abstractmethod
    def _write(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def _journal(self) -> Iterable[tuple[str, bytes]]: ...


class FolderRecord(Record):
    """A record in a folder, which only its owner reads."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).absolute()

    def get(self, name: str) -> Path:
        """Where the file lies."""
        path = self.folder / FILES / _checked(name)
        if not path.is_file():
            raise InputError(f"{name} isn't in the record any more")
        return path

    def drop(self, name: str) -> None:
        """Delete the file."""
        (self.folder / FILES / _checked(name)).unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        target = self.folder / name
        with told_as(self.folder, target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
            for place in (target.parent, target.parent.parent, self.folder):
                _sync_folder(place)

    def _journal(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted((self.folder / JOURNAL).glob("*/*.jsonl")):
            if not path.name.startswith("."):
                yield path.name, path.read_bytes()


class HubRecord(Record):
    """A record in a private data set of the Hub, made if need be."""

    def __init__(self, repo: str, api: HfApi | None = None):
        from huggingface_hub import HfApi

        hub.check_repo(repo)
        self.repo, self._api = repo, api or HfApi()
        with _refusals(repo):
            self._api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)

    def get(self, name: str) -> Path:
        """The file, fetched unless it is in the cache."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with _refusals(self.repo):
                return Path(self._api.hf_hub_download(self.repo, f"{FILES}/{_checked(name)}", repo_type="dataset"))
        except EntryNotFoundError:
            raise InputError(f"{name} isn't in the record any more") from None

    def drop(self, name: str) -> None:
        """Delete the file; git keeps what it was."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with _refusals(self.repo):
                self._api.delete_file(f"{FILES}/{_checked(name)}", self.repo, repo_type="dataset")
        except EntryNotFoundError:
            return

    def _write(self, name: str, data: bytes) -> None:
        with _refusals(self.repo):
            self._api.upload_file(
                path_or_fileobj=data, path_in_repo=name, repo_id=self.repo, repo_type="dataset", commit_message=name
            )

    def _journal(self) -> Iterator[tuple[str, bytes]]:
        with _refusals(self.repo):
            folder = self._api.snapshot_download(self.repo, repo_type="dataset", allow_patterns=f"{JOURNAL}/**")
        yield from FolderRecord(folder)._journal()


def open_record(where: str | Path) -> Record:
    """A record by its place: a folder, or hf://USER/NAME for a data set of the Hub."""
    text = str(where)
    return HubRecord(text.removeprefix("hf://")) if text.startswith("hf://") else FolderRecord(text)


def written_record(where: str | Path) -> Record:
    """A record that holds changes. Raises `InputError` that names the place where none lies."""
    record = open_record(where)
    if next(iter(record.entries()), None) is None:
        raise InputError(f"{where}: no record of a leaderboard lies there; give its folder, or hf://USER/NAME")
    return record


class _refusals:
    """Around calls of the Hub: what it refuses is an `InputError`; that an entry isn't there passes as it is."""

    def __init__(self, repo: str):
        self.repo = repo

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

        if isinstance(error, EntryNotFoundError):
            return
        if isinstance(error, HfHubHTTPError | OfflineModeIsEnabled | OSError):
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"{self.repo}: the leaderboard's record can't be reached on the Hub ({reason})") from None


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name[:80]!r} is no name of a file in the record")
    return name


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name in a folder outlives a loss of power, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
