"""Outputs, whole or not at all: whose a folder is, one writer at a time, nothing lost that we didn't write.

A folder that we wrote has a marker, the file `.glioma-hf`: what it is (its kind) and which files are ours. Only such
a folder, and only one of the same kind, is ever replaced. While it is written it lies beside its place under
`.NAME.partial`, and what it replaces under `.NAME.old` for the moment of the exchange; whatever moment a run is killed
in, the next one finds its way from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glioma_hf import __version__
from glioma_hf.errors import InputError, WorkStopped
from glioma_hf.faults import told_as
from glioma_hf.locks import one_writer
from glioma_hf.places import (
    MARKER,
    Inputs,
    beside,
    check_apart,
    check_file,
    check_folder,
    check_is_folder,
    files_in,
    made,
    other_kind,
    read_marker,
    real,
    strangers,
)
from glioma_hf.progress import OnProgress, Progress, ignore

SCRATCH = ".work"  # in a resumable folder: what it needs only until it is done


@contextmanager
def new_folder(path: str | Path, kind: str, inputs: Inputs = ()) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends without an error.

    Args:
        path: a new or empty folder, a link to one, or one of this kind in which we wrote every file.
        kind: what the folder will be, in words: "statistics".
        inputs: what is read meanwhile; see `check_folder`.

    Raises `InputError` for other places, before anything is done; `NotWritten` where the disk is full or the like.
    """
    with _place(path, kind, inputs) as target:
        work = partial_folder(target)
        with told_as(path, work):
            _begin(work, path, kind, None, None)
            try:
                yield work
                _finish(work, target, path, kind)
            finally:
                _clear(work, ignore_errors=True)


@contextmanager
def resumable_folder(
    path: str | Path,
    kind: str,
    job: str,
    inputs: Inputs = (),
    on_progress: OnProgress = ignore,
    resume: bool = True,
) -> Iterator[Path]:
    """As `new_folder`, but a run that is broken off leaves its temporary folder for the next one to go on in.

    The next run finds it where `job` is the same: what is made from what, known by content, not by place. Otherwise
    it begins anew and says so, as it does without `resume`. An `InputError` leaves nothing, unless it is
    `WorkStopped`. What lies in the folder `SCRATCH` isn't part of the output.
    """
    with _place(path, kind, inputs) as target:
        work = partial_folder(target)
        with told_as(path, work):
            _begin(work, path, kind, job, on_progress if resume else None)
            try:
                yield work
                _finish(work, target, path, kind)
            except WorkStopped:
                raise
            except InputError:
                _clear(work, ignore_errors=True)
                raise


@contextmanager
def growing_folder(path: str | Path, kind: str, inputs: Inputs = ()) -> Iterator[Path]:
    """A folder that files are added to, itself, for one writer at a time; one that stays empty is gone afterwards.

    It may hold others' files, but no input and nothing of another kind that we wrote.
    """
    target = real(path)
    with told_as(path, target):
        check_apart(path, target, inputs)
        check_is_folder(path, target)
        there = read_marker(target)
        if there and there["kind"] != kind:
            raise other_kind(path, there, kind)
        with made(target), one_writer(target / f"{MARKER}.lock", path):
            yield target


@contextmanager
def new_file(
    path: str | Path, inputs: Inputs = (), is_ours: Callable[[Path], bool] = lambda path: True
) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends without an error.

    Args:
        inputs: what is read meanwhile; the output is none of them.
        is_ours: of a file that is there, whether we wrote it; another's is never replaced.

    Raises `InputError` for a place that isn't a file's or holds another's; `NotWritten` where the disk is full or the
    like.
    """
    target = real(path)
    partial = beside(target, ".partial")
    with contextlib.ExitStack() as stack:
        with told_as(path, target.parent):
            check_file(path, target, inputs, is_ours)
            stack.enter_context(made(target.parent))
            stack.enter_context(one_writer(beside(target, ".lock"), path))
        with told_as(path, partial):
            try:
                partial.touch()
                yield partial
                partial.replace(target)
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink()


def partial_folder(path: str | Path) -> Path:
    """Where an output folder is written until it is done."""
    return beside(real(path), ".partial")


def checksum(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """A small file of ours, whole or not at all, in a folder that no other run writes to."""
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def _place(path: str | Path, kind: str, inputs: Inputs) -> Iterator[Path]:
    """The place of an output folder, checked and held, with what a killed run left put right."""
    target = check_folder(path, kind, inputs)
    with contextlib.ExitStack() as stack:
        with told_as(path, target.parent):
            stack.enter_context(made(target.parent))
            stack.enter_context(one_writer(beside(target, ".lock"), path))
            _recover(target)
        check_folder(path, kind, inputs)  # again, since another run may have ended meanwhile
        yield target


def _recover(target: Path) -> None:
    """After a kill in the exchange: the old folder back in its place, or gone where the new one is there."""
    old = beside(target, ".old")
    if not os.path.lexists(old) or (read_marker(old) is None and any(old.iterdir())):
        return
    if os.path.lexists(target):
        _clear(old)
    else:
        old.rename(target)


def _begin(work: Path, path: str | Path, kind: str, job: str | None, tell: OnProgress | None) -> None:
    """The temporary folder, empty, or where there is somebody to tell as the last run of the same job left it."""
    if os.path.lexists(work):
        there = read_marker(work) if work.is_dir() and not work.is_symlink() else None
        if there is None and not (work.is_dir() and {p.name for p in work.iterdir()} <= {f"{MARKER}.new"}):
            raise InputError(f"{work.name} beside {path} wasn't left by glioma-hf; move it away")
        there = there or {}
        if there.get("job") is not None and there["kind"] != kind:
            raise InputError(
                f"{work.name} beside {path} is an unfinished {there['kind']}; finish or delete it, or give another "
                "folder for the output"
            )
        if tell is not None and there.get("job") == job and "files" not in there:
            return
        if tell is not None and there.get("job") not in (None, job):
            tell(Progress("what an earlier run left unfinished was made of other data or settings: beginning anew"))
        _clear(work)
    work.mkdir()
    try:
        write_text(work / MARKER, json.dumps({"kind": kind, "job": job, "glioma_hf": __version__}))
    except BaseException:
        _clear(work, ignore_errors=True)
        raise


def _finish(work: Path, target: Path, path: str | Path, kind: str) -> None:
    """Mark the temporary folder as whole and exchange it for what is there."""
    files = [name for name in files_in(work) if name.split("/")[0] not in (MARKER, f"{MARKER}.new", SCRATCH)]
    write_text(work / MARKER, json.dumps({"kind": kind, "files": files, "glioma_hf": __version__}))
    _clear(work / SCRATCH)
    if not os.path.lexists(target):
        work.rename(target)
        return
    old = beside(target, ".old")
    target.rename(old)
    try:
        if strange := strangers(old, read_marker(old) or {}):  # which came while the work was done
            raise WorkStopped(f"{path} holds {strange[0]}, which came there meanwhile; move it away and run it again")
        work.rename(target)
    except BaseException:
        old.rename(target)
        raise
    _clear(old, ignore_errors=True)


def _clear(folder: Path, ignore_errors: bool = False) -> None:
    """Delete a folder, its marker last: what is left of it after a kill is still known as ours."""
    if not os.path.lexists(folder):
        return
    try:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != MARKER:
                entry.unlink()
        (folder / MARKER).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        if not ignore_errors:
            raise
