"""Writing outputs whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glioma_hf.errors import InputError, WorkStopped

_MARKER = ".glioma-hf"


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    A folder that is there is replaced, but only if this function made it (it leaves a marker) or it is
    empty: nobody's own files are deleted. Raises `InputError` where the place can't be written.
    """
    path = Path(path)
    _check_replaceable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        (work / _MARKER).touch()
        yield work
        work.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        work.rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def resumable_folder(path: str | Path, job: str) -> Iterator[Path]:
    """As `new_folder`, but a run that is broken off leaves its temporary folder for the next one to go on in.

    The next run finds it where `job`, a description of what is made from what, is the same; otherwise it
    begins anew. An `InputError` leaves nothing, unless it is `WorkStopped`.
    """
    path = Path(path)
    _check_replaceable(path)
    work = partial_folder(path)
    note = work / _MARKER
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not note.is_file() or note.read_text() != job:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            note.write_text(job)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield work
    except WorkStopped:
        raise
    except InputError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    note.write_text("")
    if path.exists():
        shutil.rmtree(path)
    work.rename(path)


def partial_folder(path: str | Path) -> Path:
    """Where `resumable_folder` works until it is done."""
    return Path(path).with_name(f".{Path(path).name}.partial")


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends without an error."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file for the output")
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise InputError(f"{path} can't be written ({error.strerror}); give another file for the output") from None
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give a folder for the output")
    if path.is_dir() and any(path.iterdir()) and not (path / _MARKER).exists():
        raise InputError(f"{path} holds other files; give a new or empty folder for the output")


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} can't be written ({error.strerror}); give another folder for the output")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
