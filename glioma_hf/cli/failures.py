"""What a command says when it fails: one sentence, and whose fault it is."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from glioma_hf import __version__
from glioma_hf.cli.console import plain, say
from glioma_hf.errors import InputError
from glioma_hf.faults import write_fault

DEBUG = "GLIOMA_HF_DEBUG"  # in the environment: traces are shown
BAD_INPUT, OUR_FAULT = 2, 70  # exit codes; the latter is EX_SOFTWARE of sysexits.h


def explain(error: Exception) -> int:
    """Say what went wrong; returns the exit code."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # of the command line's parser
        return _show_usage(error)
    if isinstance(error, OSError) and error.errno == errno.EPIPE:  # who read our output has read enough
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        return 1
    if os.environ.get(DEBUG):
        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, InputError):
        say(f"glioma-hf: {error}")
        return BAD_INPUT
    if reason := write_fault(error):
        place = f"{error.filename} " if isinstance(error, OSError) and error.filename else "something "
        say(f"glioma-hf: {place}can't be written ({reason}); make room and run the same command again")
        return BAD_INPUT
    if isinstance(error, MemoryError):
        say("glioma-hf: the memory of this machine isn't enough for that; close other programs, or give smaller files")
        return BAD_INPUT
    text = " ".join(f"{type(error).__name__}: {error}".split())
    say(
        f"glioma-hf: this is a fault of glioma-hf, not yours ({text[:300]}); {_saved(error)}: please "
        "report it with that and the command, so that it can be mended"
    )
    return OUR_FAULT


def _show_usage(error: Any) -> int:
    """As typer does, but without what would steer the terminal."""
    error.message = plain(str(error.message))
    try:
        from typer.rich_utils import rich_format_error
    except ImportError:
        error.show()
    else:
        rich_format_error(error)
    return int(error.exit_code)


def _saved(error: Exception) -> str:
    """Where the trace lies now, in words."""
    trace = "".join(traceback.format_exception(error))
    head = f"glioma_hf {__version__}, Python {platform.python_version()}, {platform.platform()}\n{sys.argv!r}\n\n"
    name = f"glioma-hf-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glioma_hf" / "errors"
    for folder in (cache, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(head + trace)
            return f"where it came from is written down in {folder / name}"
    return "where it came from is shown by glioma-hf --debug COMMAND"
