"""Work on what strangers sent, in a process of its own with bounds on time and memory.

A process that passes a bound is killed; whoever waits is told in a sentence and goes on. What it says comes back as
JSON, nothing is unpickled. Where the waiting process is killed itself, the work ends by its own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glioma_hf.errors import InputError
from glioma_hf.leaderboard import forks

TICK = 0.05  # seconds from one look at the process to the next
JOB, ANSWER, LOG = "job.json", "answer.json", forks.LOG
FETCH = "fetch"  # the work that brings something from elsewhere
# Of the environment, which no work needs; what is fetched from the Hub is what a stranger may have.
_SECRETS = {"DATABASE_URL", "OAUTH_CLIENT_SECRET", "GLIOMA_HF_PASSWORD", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}
_AS_STRANGER = {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
_NURSERY = forks.Nursery()
_PLACES = re.compile(r"(?<![\w.~:/-])/(?:[^/\s]+/)+")  # folders of the server, in sentences; no addresses


@dataclass(frozen=True)
class Bounds:
    """What a piece of work may take: seconds in all, megabytes of memory that its process holds."""

    seconds: float
    megabytes: int


class Exceeded(InputError):
    """A bound was passed; the process was killed."""


class Broken(Exception):
    """The work failed in a way that nobody foresaw; the message is its trace."""


def run(
    work: str, folder: Path, facts: dict[str, Any], bounds: Bounds, alive: Callable[[], None] = lambda: None
) -> Any:
    """What `jobs.WORKS[work]` returns, done in another process that runs in `folder`.

    Args:
        facts: its arguments, plain values.
        alive: called now and then meanwhile; what it raises ends the work.

    Raises `InputError` where the work did, without this machine's folders; `Exceeded` where a bound was passed;
    `Broken` for all else.
    """
    (folder / JOB).write_text(json.dumps({"work": work, "facts": facts, "bounds": vars(bounds)}), encoding="utf-8")
    process = _begun(work, folder)
    try:
        _watch(process, bounds, alive)
    finally:
        _end(process)
    answer = folder / ANSWER
    if not answer.is_file():
        if process.returncode == -signal.SIGKILL:  # the system's own end of memory
            raise Exceeded("it needed more memory than this server has; send less in one file")
        raise Broken((folder / LOG).read_text(errors="replace")[-4000:])
    told = json.loads(answer.read_text(encoding="utf-8"))
    if "refused" in told:
        raise (Exceeded if told.get("exceeded") else InputError)(without_places(told["refused"]))
    return told["value"]


def without_places(text: str) -> str:
    """A sentence for people elsewhere: of this machine's files their names alone.

    >>> without_places("/srv/data/cells/card.md: it isn't there; see https://hub.example/docs/cells")
    "card.md: it isn't there; see https://hub.example/docs/cells"
    """
    return _PLACES.sub("", text)


def prepare() -> None:
    """Have what most work needs imported, in the background, so that the first one needn't wait for it."""
    if forks.POSSIBLE:
        _NURSERY.begin(_environment())


def _begun(work: str, folder: Path) -> subprocess.Popen[bytes] | forks.Fork:
    own = {"TMPDIR": str(folder)}
    with (folder / LOG).open("wb") as log:
        if work == FETCH:  # neither from the server's own cache nor into it, which is settled by an import
            own["HF_HUB_CACHE"] = str(folder / "hub")
        elif forks.POSSIBLE and (fork := _NURSERY.fork(folder, _environment(), own)):
            return fork
        return subprocess.Popen(
            [sys.executable, "-m", "glioma_hf.leaderboard.jobs", "."],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment() | own,
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS} | _AS_STRANGER
    return kept | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _watch(process: subprocess.Popen[bytes] | forks.Fork, bounds: Bounds, alive: Callable[[], None]) -> None:
    """Until the process ends, or passes a bound."""
    until = time.monotonic() + bounds.seconds
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TICK)
            return
        if time.monotonic() > until:
            raise Exceeded(f"it took longer than {bounds.seconds:.0f} s on this server; send less in one file")
        if _megabytes(process.pid) > bounds.megabytes:
            raise Exceeded(f"it needed more than {bounds.megabytes} MB of memory; send less in one file")
        alive()


def _end(process: subprocess.Popen[bytes] | forks.Fork) -> None:
    """The process and all that it started."""
    if isinstance(process, forks.Fork):
        process.end()
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def _megabytes(pid: int) -> float:
    """Memory that a process holds now; 0 where the system doesn't tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
