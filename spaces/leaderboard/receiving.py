"""What is sent with a form, on its way to the board."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fastapi import UploadFile

from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.submissions import ModelFacts, submit

UPLOADS = "GRADIO_TEMP_DIR"  # of the environment: where Gradio puts what is uploaded
MOST_FILES = 20  # of the largest size, that may lie there: a visitor uploads before anybody asks who it is


def has_room(largest: int) -> bool:
    """Whether Gradio may take another file, of `largest` bytes at most."""
    folder = Path(os.environ.get(UPLOADS, ""))
    if not os.environ.get(UPLOADS) or not folder.is_dir():
        return True
    held = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                held += Path(place, name).stat().st_size
            except OSError:  # gone meanwhile
                continue
    return held <= MOST_FILES * largest and shutil.disk_usage(folder).free > 2 * largest


def receive(
    board: Board, developer: str, task: str, kind: str, file: UploadFile | None, by_name: str, facts: ModelFacts
) -> str:
    """The id of a submission of a file, or of a model by its name where no file came."""
    if file is None or not file.filename:
        return submit(board, developer, task, kind, None, facts, by_name)
    with board.work_folder() as folder:
        target = folder / "sent"
        with target.open("wb") as kept:
            shutil.copyfileobj(file.file, kept)
        return submit(board, developer, task, kind, target, facts, file.filename)
