"""Checkpoints of a training run: which are whole. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path

from glioma_hf.files import checksum, write_text
from glioma_hf.progress import OnProgress, Progress, ignore

CHECKPOINTS = "checkpoints"  # under a work folder
_FILES = "files.json"  # in a checkpoint, written last: SHA-256 by name of its other files


def note_checkpoint(checkpoint: Path) -> None:
    """Say of a checkpoint that it is whole."""
    files = {p.name: checksum(p) for p in sorted(checkpoint.iterdir()) if p.is_file() and p.name != _FILES}
    write_text(checkpoint / _FILES, json.dumps(files))


def last_checkpoint(work: str | Path, on_progress: OnProgress = ignore) -> str | None:
    """The last whole checkpoint under a work folder; one that was cut or changed is told of and deleted."""
    found = [p for p in (Path(work) / CHECKPOINTS).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    for checkpoint in sorted(found, key=lambda p: int(p.name.partition("-")[2]), reverse=True):
        if _is_whole(checkpoint):
            return str(checkpoint)
        on_progress(Progress(f"{checkpoint.name} isn't whole; it is left out"))
        with contextlib.suppress(OSError):
            shutil.rmtree(checkpoint)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        files = json.loads((checkpoint / _FILES).read_text())
        return bool(files) and all(checksum(checkpoint / name) == kept for name, kept in files.items())
    except (OSError, ValueError, AttributeError):
        return False
