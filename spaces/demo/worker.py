"""Processes that do the work on what visitors send, each within bounds on memory and time.

A process that passes a bound is killed and another takes its place; the visitor is told in a sentence and nobody else
notices. Between the server and its processes go our own objects alone, pickled; what a visitor sent is never unpickled.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from glioma_hf import InputError

HEAD = struct.Struct(">Q")  # before each message: how many bytes it has
TICK = 0.05  # seconds from one look at a process to the next
GRACE = 5.0  # seconds in which a job that was given up has to end by itself
START = 180.0  # seconds in which a new process has to be ready
IDLE = 0.5  # seconds after which whoever awaits a job is told that there is no news
ELSEWHERE = "give a smaller image, or use this page on a computer of your own"


@dataclass(frozen=True)
class Bounds:
    """What one job may take.

    Attributes:
        megabytes: of memory that its process holds, the libraries included.
        seconds: in all.
        silent: seconds without a word of progress.
        answer: bytes of what it returns.
        rest: megabytes that its process may hold afterwards, more than when it was ready; another takes its place
            where it holds more.
    """

    megabytes: int
    seconds: float
    silent: float
    answer: int = 32 * 2**20
    rest: int = 1024


class Exceeded(InputError):
    """A job passed a bound; its process was killed."""


class Broken(Exception):
    """A job failed in a way that nobody foresaw; the message is its trace."""


class Process:
    """One process that does jobs, one after the other (worker_main.py)."""

    def __init__(self, imports: Sequence[str], folder: Path):
        """Start it, with `imports` made ready (modules, or "module:function" to call), temporary files in `folder`."""
        self.messages: Queue[tuple[str, Any]] = Queue()
        self.ready = 0.0  # megabytes that it held before its first job
        nowhere = folder / "empty"  # where it runs: no name that a visitor gives is a path from there
        nowhere.mkdir(parents=True, exist_ok=True)
        self._most = 2**20  # bytes of a message
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker_main.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=nowhere,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        path = [os.path.abspath(place or ".") for place in sys.path]
        threading.Thread(target=self._listen, daemon=True).start()
        self._send((path, list(imports)))

    def begin(self, job: Callable[..., Any], arguments: tuple, bounds: Bounds) -> None:
        """Send a job: a function of a module that the process can import, which is given `tell` first."""
        self._most = bounds.answer
        # Where the server is killed there is nobody to end the job: it then ends itself.
        self._send((job.__module__, job.__qualname__, arguments, int(bounds.seconds) + 60))

    def cancel(self) -> None:
        """Ask the job to stop at its next word of progress."""
        self._send(None)

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    @property
    def code(self) -> int | None:
        """Its exit code, None while it lives."""
        return self._process.poll()

    def megabytes(self) -> float:
        """Memory that it holds now; 0 where the system doesn't tell."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except (OSError, ValueError, IndexError, AttributeError):
            pass
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            told = subprocess.run(["ps", "-o", "rss=", "-p", str(self._process.pid)], capture_output=True, timeout=5)
            return int(told.stdout) / 2**10
        return 0.0

    def _send(self, message: Any) -> None:
        data = pickle.dumps(message)
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # a dead process is seen by its code
            stdin.write(HEAD.pack(len(data)) + data)
            stdin.flush()

    def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while len(head := stdout.read(HEAD.size)) == HEAD.size:
            (size,) = HEAD.unpack(head)
            if size > self._most:
                self.messages.put(("large", size))
                return
            self.messages.put(pickle.loads(stdout.read(size)))


class Workers:
    """Some processes for jobs of one kind; a job takes one that is free."""

    def __init__(self, number: int, bounds: Bounds, imports: Sequence[str]):
        self.bounds = bounds
        self._number, self._imports = number, imports
        self._folder: Path | None = None
        self._free: Queue[Process] = Queue()
        self._all: set[Process] = set()
        self._lock = threading.Lock()
        self._ended = False

    def start(self, folder: Path) -> None:
        """Start the processes, which leave what is temporary in `folder`; once started, nothing happens."""
        with self._lock:
            if self._folder is None:
                self._folder = folder
                atexit.register(self.stop)
                for _ in range(self._number):
                    self._free.put(self._new())

    def stop(self) -> None:
        """End all processes; no other takes their place."""
        self._ended = True
        for process in list(self._all):
            process.kill()

    def run(
        self, job: Callable[..., Any], *arguments: Any, silent: float | None = None, bounds: Bounds | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Do a job: yields ("told", progress) and now and then ("idle", None), then ("done", what it returned).

        When the iteration is given up the job is stopped at its next word, or killed.

        Args:
            job: called with a callback for progress and the arguments.
            silent: seconds without a word of progress, where the usual ones don't fit.
            bounds: others than those of these workers.

        Raises `InputError` where the job did, `Exceeded` where it passed a bound and `Broken` for all else.
        """
        bounds = bounds or self.bounds
        if silent is not None:
            bounds = replace(bounds, silent=silent)
        return follow(lambda told, given_up: self._serve(job, arguments, bounds, told, given_up))

    def _new(self) -> Process:
        assert self._folder is not None, "the workers aren't started"
        process = Process(self._imports, self._folder)
        self._all.add(process)
        return process

    def _serve(
        self, job: Callable[..., Any], arguments: tuple, bounds: Bounds, told: Queue, given_up: threading.Event
    ) -> None:
        process = self._take(given_up)
        if process is None:
            return
        try:
            told.put(self._converse(process, job, arguments, bounds, told, given_up))
        except BaseException:
            process.kill()
            raise
        finally:
            if process.megabytes() > process.ready + bounds.rest:  # what a job left behind is not to be the next one's
                process.kill()
            self._free.put(self._living(process))

    def _take(self, given_up: threading.Event) -> Process | None:
        """A free process, None where the job was given up before there was one."""
        while not given_up.is_set():
            with contextlib.suppress(Empty):
                return self._living(self._free.get(timeout=IDLE))
        return None

    def _living(self, process: Process) -> Process:
        if process.code is None or self._ended:
            return process
        self._all.discard(process)
        return self._new()

    def _converse(
        self,
        process: Process,
        job: Callable[..., Any],
        arguments: tuple,
        bounds: Bounds,
        told: Queue,
        given_up: threading.Event,
    ) -> tuple[str, Any]:
        """Have a job done; returns the last message of `follow`. A process that passed a bound is dead afterwards."""
        process.begin(job, arguments, bounds)
        ready, until = False, time.monotonic() + START
        spoke, cancelled = time.monotonic(), False
        while True:
            try:
                kind, what = process.messages.get(timeout=TICK)
            except Empty:
                kind, what = "", None
            now = time.monotonic()
            if kind == "begun":
                ready, until, spoke = True, now + (GRACE if cancelled else bounds.seconds), now
                process.ready = process.ready or process.megabytes()
            elif kind == "told":
                spoke = now
                told.put((kind, what))
            elif kind == "large":
                return _killed(process, f"it gave an answer of over {bounds.answer >> 20} MB")
            elif kind == "memory":
                return _killed(process, f"it needed more than {bounds.megabytes} MB of memory on this server")
            elif kind:
                return kind, what
            if ready and process.megabytes() > bounds.megabytes:
                return _killed(process, f"it needed more than {bounds.megabytes} MB of memory on this server")
            if ready and now - spoke > bounds.silent and not cancelled:
                return _killed(process, f"it took longer than {bounds.silent:.0f} s on this server")
            if now > until:
                return _killed(
                    process, f"it took longer than {bounds.seconds if ready else START:.0f} s on this server"
                )
            if process.code == -9 and not cancelled:  # the system's own end of memory
                return _killed(process, "it needed more memory than this server has")
            if process.code is not None and process.messages.empty():
                return "failed", Broken(f"the process ended with code {process.code}")
            if given_up.is_set() and not cancelled:
                cancelled = True
                process.cancel()
                if ready:  # one that is still starting goes on: the next job wants it
                    until = now + GRACE


def _killed(process: Process, why: str) -> tuple[str, Any]:
    process.kill()
    return "failed", Exceeded(f"{why}; {ELSEWHERE}")


def follow(serve: Callable[[Queue, threading.Event], None]) -> Iterator[tuple[str, Any]]:
    """What `serve(told, given_up)`, run in a thread, puts into `told`, until ("done", what); ("failed", error) raises.

    ("idle", None) where there is no news for a while. Giving the iteration up takes no time: `given_up` is set then.
    """
    told: Queue[tuple[str, Any]] = Queue()
    given_up = threading.Event()

    def run() -> None:
        try:
            serve(told, given_up)
        except BaseException as error:
            told.put(("failed", error))

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            try:
                kind, what = told.get(timeout=IDLE)
            except Empty:
                yield "idle", None
                continue
            if kind == "failed":
                raise what
            yield kind, what
            if kind == "done":
                return
    finally:
        given_up.set()
