"""Fetching the archive from Zenodo: resumed where it broke off, checked by size and checksum."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from glioma_hf.errors import InputError, NotWritten
from glioma_hf.faults import write_fault
from glioma_hf.locks import one_writer
from glioma_hf.places import beside
from glioma_hf.progress import OnProgress, Progress, ignore

RECORD_URL = "https://zenodo.org/api/records/17352019"
FILE = "dataset.zip"
CHUNK = 2**20
TRIES = 5


@dataclass(frozen=True)
class RemoteFile:
    """A file as the record describes it; `checksum` is "md5:..."."""

    url: str
    size: int
    checksum: str


def find_remote(record_url: str = RECORD_URL, name: str = FILE) -> RemoteFile:
    """Ask Zenodo's record for a file's address, size and checksum. Raises `InputError` where it can't."""
    try:
        with urllib.request.urlopen(record_url, timeout=60) as answer:
            record = json.load(answer)
        entry = next(f for f in record["files"] if f["key"] == name)
        return RemoteFile(entry["links"]["self"], int(entry["size"]), entry["checksum"])
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(
            f"{record_url}: can't be read ({error}); try again, or give the archive by --archive"
        ) from None
    except (KeyError, TypeError, StopIteration):
        raise InputError(f"{record_url}: the record doesn't list {name}; give the archive by --archive") from None


def download(remote: RemoteFile, target: str | Path, on_progress: OnProgress = ignore, wait: float = 2.0) -> Path:
    """Fetch a file unless it is there whole; returns its path. `on_progress` counts bytes.

    What a broken connection left lies in `TARGET.partial` and is gone on with, in this call (up to
    `TRIES` times without a byte of progress, `wait` seconds apart, doubled each time) and in the next.
    Raises `InputError` where the server gives up or the bytes aren't those of the record.
    """
    target = Path(target)
    if target.exists() and target.stat().st_size == remote.size and _checksum(target, remote) == remote.checksum:
        on_progress(Progress(done=remote.size, total=remote.size))
        return target
    if target.exists():
        raise InputError(f"{target} is there already and isn't what {remote.url} gives; give another place for it")
    partial = target.with_name(target.name + ".partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise NotWritten(target, error.strerror or str(error)) from None
    with one_writer(beside(target, ".lock"), target):
        _complete(remote, target, partial, on_progress, wait)
    return target


def _complete(remote: RemoteFile, target: Path, partial: Path, on_progress: OnProgress, wait: float) -> None:
    """What is missing of the file, until it is whole and in its place."""
    partial.touch()  # gone where another run, that we waited for, has ended
    if partial.stat().st_size > remote.size:
        partial.unlink()
        partial.touch()
    failures = 0
    while (done := partial.stat().st_size) < remote.size:
        try:
            _fetch(remote, partial, done, on_progress)
            reason = "the connection ended early"
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            if fault := write_fault(error):
                raise NotWritten(target, fault) from None
            reason = str(error) or type(error).__name__
        if partial.stat().st_size > done:
            failures = 0
        elif (failures := failures + 1) >= TRIES:
            raise InputError(
                f"{remote.url}: stopped after {done} of {remote.size} bytes ({reason}); run it again to go on"
            ) from None
        else:
            time.sleep(wait * 2 ** (failures - 1))
    if partial.stat().st_size != remote.size or _checksum(partial, remote) != remote.checksum:
        partial.unlink()
        raise InputError(
            f"{remote.url}: what arrived isn't what the record describes ({remote.checksum}); run it again"
        )
    partial.replace(target)


def _fetch(remote: RemoteFile, partial: Path, done: int, on_progress: OnProgress) -> None:
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        resumed = answer.status == 206
        with partial.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                on_progress(Progress(done=file.tell(), total=remote.size))


def _checksum(path: Path, remote: RemoteFile) -> str:
    kind = remote.checksum.partition(":")[0]
    try:
        digest = hashlib.new(kind, usedforsecurity=False)
    except ValueError:
        raise InputError(f"{remote.url}: the checksum {remote.checksum} is of an unknown kind") from None
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return f"{kind}:{digest.hexdigest()}"
