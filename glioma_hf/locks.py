"""One writer an output: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glioma_hf.errors import InputError

WAIT = 2.0  # seconds for another run to end
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}  # of file systems that have none


@contextmanager
def one_writer(lock: Path, output: str | Path) -> Iterator[None]:
    """The block, while this process alone holds the file `lock`, which is gone afterwards.

    Raises `InputError` that names `output` where another run holds it, and OSError where the file can't be made.
    """
    ends = time.monotonic() + WAIT
    while (held := _take(lock)) is None:
        if time.monotonic() > ends:
            raise InputError(f"{output} is being written by another run; wait until that ends, or give another output")
        time.sleep(0.05)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held: who waits for it looks whether it is still there
            lock.unlink()
        os.close(held)


def is_abandoned(lock: Path) -> bool:
    """Whether a lock lies there that no process holds: of one that was killed."""
    if not lock.is_file() or (held := _take(lock)) is None:
        return False
    os.close(held)
    return True


def _take(lock: Path) -> int | None:
    """A descriptor of the locked file, None where another has it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if _try_lock(descriptor) and _is(lock, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is(lock: Path, descriptor: int) -> bool:
    """Whether the name still means the file that was locked; its last holder deleted it otherwise."""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
