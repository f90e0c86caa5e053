"""What is sent with a form, on its way to the board."""

from __future__ import annotations

import shutil

from fastapi import UploadFile

from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.submissions import ModelFacts, submit


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
