"""Runs work that is killed at its n-th call to the file system, for every n or some, and what the next run makes of it.

    python -m tests.doors.kills WORK ARCHIVE OTHER FOLDER EVERY

WORK is prepare, prepare-again (over a data set of OTHER) or train (the dummy on the data set FOLDER). Each run is a
process of its own that ends as by SIGKILL, without a word to anything that would clean up. Prints a line of JSON: how
many calls there were, how many kills, and what went wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from glioma_hf.data import prepare as preparing
from glioma_hf.models import FAMILIES
from glioma_hf.progress import to_lines
from glioma_hf.workflows import training

KILLED = 77
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def in_process(job: Callable[[], object], root: Path, kill_at: int = 0) -> tuple[int, int]:
    """Exit code and number of calls to the file system under `root` of a job in a forked process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        calls = 0

        def count(event: str, arguments: tuple) -> None:
            nonlocal calls
            if event in EVENTS and isinstance(arguments[0], str | os.PathLike) and str(root) in str(arguments[0]):
                calls += 1
                if calls == kill_at:
                    os._exit(KILLED)

        sys.addaudithook(count)
        code = 1
        try:
            job()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os.write(writer, str(calls).encode())
            os._exit(code)
    os.close(writer)
    told = os.read(reader, 20)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(told or 0)


def jobs(kind: str, archive: Path, other: Path, folder: Path, out: Path) -> tuple[Callable, Callable | None]:
    """The work, and what is done before it."""
    if kind == "train":
        FAMILIES["dummy"] = "tests.models.dummy"
        return lambda: training.train(folder, [1], out, "dummy"), None
    preparing.IMAGE_BYTES_PER_FILE = 1  # an image a file
    before = (lambda: preparing.prepare(other, out)) if kind == "prepare-again" else None
    return lambda: preparing.prepare(archive, out, on_progress=to_lines(lambda line: None)), before


def main(kind: str, archive: str, other: str, folder: str, every: str) -> None:
    root = Path(tempfile.mkdtemp()).resolve()
    try:
        out = root / "out"
        job, before = jobs(kind, Path(archive), Path(other), Path(folder), out)
        old = None
        if before is not None:
            assert in_process(before, root)[0] == 0
            old = contents(out)
            shutil.copytree(out, root / "kept")
        code, calls = in_process(job, root)
        assert code == 0
        right = contents(out)
        wrong, points = [], range(1, calls + 1, int(every))
        for point in points:
            shutil.rmtree(out)
            if old is not None:
                shutil.copytree(root / "kept", out)
            if in_process(job, root, point)[0] != KILLED:
                wrong.append(f"{point}: not killed")
            there = next((p for p in (out, root / ".out.old") if p.exists()), None)
            whole = (right,) if old is None else (old, right)
            if there is None and old is not None:
                wrong.append(f"{point}: after the kill neither the old nor the new is there")
            elif there is not None and contents(there) not in whole:
                wrong.append(f"{point}: what is there after the kill isn't whole")
            if in_process(job, root)[0] != 0:
                wrong.append(f"{point}: the next run fails")
            elif contents(out) != right:
                wrong.append(f"{point}: the next run makes something else")
            if left := [p.name for p in root.iterdir() if p.name not in ("out", "kept")]:
                wrong.append(f"{point}: {left} is left")
        print(json.dumps({"calls": calls, "kills": len(points), "wrong": wrong}))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*sys.argv[1:])
