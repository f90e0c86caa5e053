"""Where outputs may go: whose a folder is, what lies in the way, and names beside it.

A folder that we wrote has a marker, the file `.glioma-hf`: what it is (its kind) and which files are ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glioma_hf.errors import InputError, NotWritten
from glioma_hf.faults import told_as

MARKER = ".glioma-hf"
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what systems leave in folders that were looked at
LONGEST_NAME = 255  # bytes, on every system

Inputs = Sequence[str | Path | None]


def check_folder(path: str | Path, kind: str, inputs: Inputs = ()) -> Path:
    """Where an output folder really lies, links followed.

    Raises `InputError` for a place that can't become a folder of this kind: one that is an input, holds one or lies in
    one that we wrote; the folder one is in; a folder of another kind, or with a file that we didn't write.
    """
    target = real(path)
    with told_as(path, target):
        check_apart(path, target, inputs)
        check_is_folder(path, target)
        if _same(target, Path.cwd()) or target in Path.cwd().parents:
            raise InputError(f"{path} is the folder that you are in; give a new one for the output")
        if os.path.ismount(target):
            raise InputError(f"{path} is a disk of its own; give a folder in it for the output")
        if not target.is_dir() or not any(target.iterdir()):
            return target
        marker = read_marker(target)
        if marker is None or "files" not in marker:
            raise InputError(f"{path} holds other files; give a new or empty folder for the output")
        if marker["kind"] != kind:
            raise other_kind(path, marker, kind)
        if strange := strangers(target, marker):
            raise InputError(
                f"{path} holds {strange[0]}, which isn't of the run that made the folder; move it away or give another "
                "folder for the output"
            )
    return target


def read_marker(folder: Path) -> dict[str, Any] | None:
    """What a folder's marker says, {} where it can't be read, None where there is none."""
    try:
        with (folder / MARKER).open(encoding="utf-8") as file:
            content = json.loads(file.readline(16 * 2**20) or "{}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        return {}
    names = content.get("files", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return {}
    return content


def check_apart(path: str | Path, target: Path, inputs: Inputs) -> None:
    """Refuse an output that is an input or holds one, or that would lie in one that is a folder of ours."""
    for given in inputs:
        if given is None or not os.path.lexists(given):
            continue
        read = real(given)
        if _same(target, read):
            raise InputError(f"{path} is read itself; give another place for the output")
        if any(_same(target, parent) for parent in read.parents):
            raise InputError(f"{path} holds {given}, which is read; give another place for the output")
        if read_marker(read) is not None and any(_same(read, parent) for parent in target.parents):
            raise InputError(f"{path} lies in {given}, which is read; give another place for the output")


def check_is_folder(path: str | Path, target: Path) -> None:
    """Refuse a place that is no folder's."""
    if len(os.fsencode(target.name)) > LONGEST_NAME:
        raise InputError(f"{path}: the name is longer than {LONGEST_NAME} bytes; give a shorter one for the output")
    if os.path.lexists(target) and not target.is_dir():
        raise InputError(f"{path} is a file; give a folder for the output")


def check_file(path: str | Path, target: Path, inputs: Inputs, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a place that is no file's, or an input's, or one where a file lies that isn't ours."""
    if len(os.fsencode(target.name)) > LONGEST_NAME:
        raise InputError(f"{path}: the name is longer than {LONGEST_NAME} bytes; give a shorter one for the output")
    if target.is_dir():
        raise InputError(f"{path} is a folder; give a file for the output")
    if os.path.lexists(target) and not target.is_file():
        raise InputError(f"{path} is a device or the like; give a file for the output")
    check_apart(path, target, inputs)
    if target.is_file() and target.stat().st_size and not is_ours(target):
        raise InputError(
            f"{path} is there already and isn't a file that this command wrote; give another file for the output"
        )


def other_kind(path: str | Path, marker: dict[str, Any], kind: str) -> InputError:
    """What is said of a folder that we wrote, but as something else."""
    return InputError(
        f"{path} was written as {marker.get('kind')}, not as {kind}; give a new or empty folder for the output"
    )


def files_in(folder: Path) -> list[str]:
    """Everything under a folder but folders, by relative name with forward slashes; links aren't followed."""
    found = []
    for place, folders, names in os.walk(folder):
        names += [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)


def strangers(folder: Path, marker: dict[str, Any]) -> list[str]:
    """Files of a folder that its marker doesn't know of."""
    ours = {MARKER, *marker.get("files", [])}
    return [name for name in files_in(folder) if name not in ours and name.rsplit("/", 1)[-1] not in LITTER]


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """A folder, made with its parents if need be; those that stay empty are gone afterwards."""
    new = [p for p in (folder, *folder.parents) if not os.path.lexists(p)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(folder, error.strerror or str(error)) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for place in new:
                place.rmdir()


def beside(target: Path, ending: str) -> Path:
    """A hidden name of ours beside an output, never too long."""
    name = f".{target.name}{ending}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}{ending}"
    return target.with_name(name)


def real(path: str | Path) -> Path:
    """Where a path leads, links followed."""
    return Path(os.path.realpath(path))


def _same(one: Path, other: Path) -> bool:
    """Whether two names mean one place; on some systems by more than their letters."""
    if one == other:
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False
