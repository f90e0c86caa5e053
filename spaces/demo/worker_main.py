"""What a process of worker.py runs: jobs from its standard input, answers to its standard output."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
from queue import Queue
from typing import Any, BinaryIO

HEAD = struct.Struct(">Q")


class Stopped(Exception):
    """The visitor gave up."""


class Line:
    """The connection to the server: messages as worker.py sends and takes them."""

    def __init__(self) -> None:
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb")
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # what a library prints goes to the server's log
        self.jobs: Queue[Any] = Queue()
        self.cancelled = threading.Event()

    def receive(self) -> Any:
        """The next message. Ends the process where the server is gone."""
        head = self._in.read(HEAD.size)
        if len(head) < HEAD.size:
            os._exit(0)
        return pickle.loads(self._in.read(HEAD.unpack(head)[0]))

    def send(self, kind: str, what: Any = None) -> None:
        """Send a message."""
        data = pickle.dumps((kind, what))
        self._out.write(HEAD.pack(len(data)) + data)
        self._out.flush()

    def listen(self) -> None:
        """Take jobs and cancellations as they come, for ever."""
        while True:
            message = self.receive()
            if message is None:
                self.cancelled.set()
            else:
                self.cancelled.clear()  # here: a job may be given up before this process has begun it
                self.jobs.put(message)

    def tell(self, progress: Any) -> None:
        """Send progress. Raises `Stopped` where the job was given up."""
        if self.cancelled.is_set():
            raise Stopped
        self.send("told", progress)


def do(line: Line, module: str, name: str, arguments: tuple) -> tuple[str, Any]:
    """Do a job; returns the answer."""
    from glioma_hf import InputError

    try:
        if line.cancelled.is_set():
            return "stopped", None
        return "done", getattr(importlib.import_module(module), name)(line.tell, *arguments)
    except Stopped:
        return "stopped", None
    except InputError as error:
        return "failed", InputError(str(error))
    except MemoryError:
        return "memory", None
    except BaseException:
        from worker import Broken

        return "failed", Broken(traceback.format_exc())


def give_back() -> None:
    """Give the system back what the job took: the allocator keeps it else, for jobs that may never come."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # where the system has no such thing
        ctypes.CDLL(None).malloc_trim(0)


def prepare(imports: list[str]) -> None:
    """Import modules; of "module:function" the function is called. Jobs tell what went wrong here."""
    for name in imports:
        module, _, function = name.partition(":")
        try:
            imported = importlib.import_module(module)
            if function:
                getattr(imported, function)()
        except Exception:
            traceback.print_exc()


def main() -> None:
    """Do jobs until the server is gone."""
    line = Line()
    sys.path[:], imports = line.receive()
    prepare(imports)
    with contextlib.suppress(OSError, AttributeError):  # where the system has no such thing
        os.nice(5)  # the server answers first
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")  # where memory ends it is this process that ends
    threading.Thread(target=line.listen, daemon=True).start()
    alarm = getattr(signal, "alarm", lambda seconds: None)
    while True:
        module, name, arguments, seconds = line.jobs.get()
        line.send("begun")
        alarm(seconds)
        answer = do(line, module, name, arguments)
        alarm(0)
        give_back()
        line.send(*answer)


if __name__ == "__main__":
    main()
