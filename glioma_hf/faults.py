"""Which errors of the system are about an output, and what they say; libraries wrap them in errors of their own."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glioma_hf.errors import InputError, NotWritten

# What only writing can lead to, whatever it was that was written.
_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# How Rust (safetensors) and C++ (torch, pyarrow) quote the system, and torch where it lost the reason.
_QUOTED = re.compile(r"\[?(?:os error|errno) (\d+)\]?", re.IGNORECASE)
_TORCH = re.compile(r"PytorchStreamWriter failed|file write failed|unexpected pos \d+ vs")


@contextmanager
def told_as(path: str | Path, work: Path) -> Iterator[None]:
    """A block that writes under `work`: what keeps it from doing so becomes a `NotWritten` of `path`.

    Errors that aren't about writing pass as they are.
    """
    try:
        yield
    except NotWritten as error:  # from inside, of a name that only we know
        raise NotWritten(path, error.reason) from error
    except InputError:
        raise
    except Exception as error:
        if (reason := write_fault(error, work)) is None:
            raise
        raise NotWritten(path, reason) from error


def write_fault(error: BaseException, work: Path | None = None) -> str | None:
    """Why something can't be written, in the system's words; None where the error isn't about writing.

    Args:
        error: and what it came from.
        work: an error about a file under it is one about writing, whatever it is.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno is not None:
            if current.errno in _WRITING:
                return os.strerror(current.errno)
            if work is not None and _lies_under(current.filename, work):
                return os.strerror(current.errno)
        if not isinstance(current, InputError):
            text = str(current)
            for match in _QUOTED.finditer(text):
                if int(match[1]) in _WRITING:
                    return os.strerror(int(match[1]))
            if isinstance(current, RuntimeError) and _TORCH.search(text):
                return os.strerror(errno.ENOSPC)
        current = current.__cause__ or current.__context__
    return None


def _lies_under(name: object, work: Path) -> bool:
    if not isinstance(name, str | bytes | os.PathLike):
        return False
    path = os.path.realpath(os.fsdecode(name))
    return path == str(work) or path.startswith(f"{work}{os.sep}")
