"""Processes for `bounded.run` that begin at once: forks of one that has imported what most work needs.

Importing takes a second, and a check of results some hundredths. The process that is forked (`Nursery`) has none of the
server's secrets, opens nothing that was sent and does one thing: for each piece of work it forks a keeper, which forks
the work, waits for it, kills whatever that has started, and says how it ended. A keeper that hears no more of the
server ends the work too. `multiprocessing`'s forkserver would begin with the server's secrets in its environment.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

LOG = "log.txt"  # in the work's folder: what it prints, and its trace where it fails
MOST = 2**16  # bytes of what is said at once


def _possible() -> bool:
    """Whether work can be forked here: on Linux, where the kernel isn't too old or fenced in."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


POSSIBLE = _possible()


class Nursery:
    """The process that is forked, begun when it is first needed, and again where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, folder: Path, environment: dict[str, str], own: dict[str, str]) -> Fork | None:
        """A process that does what `folder` says; None where none can be had.

        Args:
            environment: of all such processes, as of the first call.
            own: what of it is this one's alone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                asked = json.dumps({"folder": str(folder), "environment": own}).encode()
                socket.send_fds(self.begin(environment), [asked], [theirs.fileno()])
            except OSError:
                ours.close()
                return None
        try:
            return Fork(ours, int(ours.recv(MOST)))
        except (OSError, ValueError):  # it ended
            ours.close()
            return None

    def begin(self, environment: dict[str, str]) -> socket.socket:
        """Have it import, in the background; where to ask it."""
        with self._lock:
            if self._control is None or self._process is None or self._process.poll() is not None:
                if self._control is not None:
                    self._control.close()
                self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "glioma_hf.leaderboard.forks", str(theirs.fileno())],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        pass_fds=[theirs.fileno()],
                        env=environment,
                        start_new_session=True,
                    )
            return self._control


class Fork:
    """A piece of work, with as much of `subprocess.Popen` as is needed."""

    def __init__(self, keeper: socket.socket, pid: int):
        self._keeper, self.pid = keeper, pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            try:
                told = self._keeper.recv(MOST)
            except TimeoutError:
                raise subprocess.TimeoutExpired("work", timeout or 0) from None
            self._keeper.close()
            self.returncode = int(told) if told else -signal.SIGKILL  # its keeper was killed
        return self.returncode

    def end(self) -> None:
        """Kill it and all that it started, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(OSError):  # it has just ended
                self._keeper.shutdown(socket.SHUT_WR)
            self.wait()


def main() -> None:
    """Import, and fork a keeper for each piece of work until nobody is left to ask."""
    import pandas  # noqa: F401 - pyarrow's, when it first makes an array

    from glioma_hf.leaderboard import jobs  # noqa: F401

    gc.freeze()  # what is shared with forks stays shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers leave nothing behind
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        said, descriptors, _, _ = socket.recv_fds(control, MOST, 1)
        if not said:
            return
        with socket.socket(fileno=descriptors[0]) as server:
            if os.fork() == 0:
                try:
                    control.close()
                    _keep(server, json.loads(said))
                finally:
                    os._exit(0)


def _keep(server: socket.socket, asked: dict[str, Any]) -> None:
    """Fork the work, and see that it and all that it started end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        server.close()
        os._exit(_work(asked))
    with contextlib.suppress(OSError):
        server.send(str(pid).encode())
    ends: list[Any] = [server, os.pidfd_open(pid)]
    select.select(ends, [], [])  # the server has gone or wants it to end, or it has ended
    for kill in (os.killpg, os.kill):  # it may not lead its group yet
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        server.send(str(ended).encode())


def _work(asked: dict[str, Any]) -> int:
    """What `python -m glioma_hf.leaderboard.jobs` does, in a process that has imported it."""
    from glioma_hf.leaderboard import jobs

    try:
        os.setsid()
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        tempfile.tempdir = None
        log = os.open(LOG, os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        jobs.main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


if __name__ == "__main__":
    main()
