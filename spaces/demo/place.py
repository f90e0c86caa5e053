"""Where a server keeps what visitors send and get: one folder, deleted when it stops.

What a server left that was killed is deleted by the next one that starts.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
import threading
import time
from pathlib import Path

from glioma_hf import InputError

try:
    import fcntl
except ImportError:  # Windows: what a killed server left stays
    fcntl = None  # type: ignore[assignment]

PREFIX = "glioma-hf-page-"
MOST_BYTES = 16 * 2**30  # of all that visitors sent and got
LEAST_FREE = 2**30  # bytes that stay free on the disk
SAFE = 300.0  # seconds for which what a visitor sent or got is kept, even where the disk is full
UPLOAD_SILENCE = 120.0  # seconds without a byte, after which an upload counts as broken off


class Place:
    """The folder of one server.

    Attributes:
        root: the folder; `uploads`, `visitors` and `temporary` lie in it.
    """

    def __init__(self) -> None:
        sweep()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        self._lock = open(self.root / "lock", "w")  # noqa: SIM115  (held as long as the server lives)
        if fcntl is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.uploads, self.visitors, self.temporary = (
            self.root / name for name in ("uploads", "visitors", "temporary")
        )
        for folder in (self.uploads, self.visitors, self.temporary):
            folder.mkdir()
        atexit.register(self.remove)
        threading.Thread(target=self._tidy, daemon=True).start()

    def new_folder(self) -> Path:
        """A folder for one visitor, of a name that can't be guessed. Raises `InputError` where the disk is full."""
        if not self.has_room():
            raise InputError("the server's disk is full for now; try again in an hour")
        return Path(tempfile.mkdtemp(dir=self.visitors))

    def has_room(self) -> bool:
        """Whether more can be taken from visitors; where it can't, the oldest of what they sent and got goes first."""
        if self._is_full():
            for folder in sorted([*self.uploads.iterdir(), *self.visitors.iterdir()], key=_age, reverse=True):
                if _age(folder) > SAFE and self._is_full():
                    shutil.rmtree(folder, ignore_errors=True)
        return not self._is_full()

    def _is_full(self) -> bool:
        return shutil.disk_usage(self.root).free < LEAST_FREE or size_of(self.root) > MOST_BYTES

    def tidy(self, silence: float = UPLOAD_SILENCE) -> None:
        """Delete what uploads left that broke off: whole ones lie in folders of their own."""
        for file in self.uploads.iterdir():
            if file.is_file() and _age(file) > silence:
                file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _tidy(self) -> None:
        while self.root.exists():
            with contextlib.suppress(OSError):
                self.tidy()
            time.sleep(30)


def _age(path: Path) -> float:
    """Seconds since something was last written there; 0 where it is deleted meanwhile."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # deleted meanwhile
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def sweep() -> None:
    """Delete the folders of servers that are no more: nobody holds the lock in them."""
    if fcntl is None:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            told = folder.lstat()
            if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.getuid():
                continue
            if not (folder / "lock").exists() and time.time() - told.st_mtime < 60:
                continue  # a server that starts just now
            with open(folder / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
