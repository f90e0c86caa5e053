"""The leaderboard: browse, compare, take part. `python app.py` serves it as a Space does."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the pages beside this file, however it is started

import uvicorn
from receiving import UPLOADS
from site_pages import make_site

from glioma_hf.errors import InputError
from glioma_hf.leaderboard import bounded
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import begin
from glioma_hf.leaderboard.examples import seed
from glioma_hf.leaderboard.scoring import Worker

LOG = logging.getLogger("glioma_hf.leaderboard")
# Connections outlive the pauses of those who read: one that is closed just when it is used again is an error there.
SERVED: dict[str, Any] = {"log_level": "warning", "server_header": False, "timeout_keep_alive": 75}


def launch(
    folder: str | Path,
    port: int,
    host: str = "127.0.0.1",
    workers: int = 1,
    data: Mapping[str, Path] | None = None,
    rows: Iterable[Path] = (),
    examples: bool = True,
) -> None:
    """Serve the leaderboard of a folder, with `workers` that score in this process; 0: others do.

    One that is new begins with the paper's figures, and with `examples` fills itself; see `examples.seed` for `data`
    and `rows`.
    """
    bounded.prepare()
    board = Board.open(folder)
    begin(board)
    if examples:
        given = (board, Path(folder), data, rows)
        threading.Thread(target=_seed, args=given, name="leaderboard-example", daemon=True).start()
    worker = Worker(board, workers) if workers else None
    if worker is not None:
        worker.start()
    try:
        with board.work_folder() as uploads:
            os.environ[UPLOADS] = str(uploads)
            uvicorn.run(make_site(board, gradio=True), host=host, port=port, **SERVED)
    finally:
        if worker is not None:
            worker.stop()
        board.close()


def _seed(board: Board, folder: Path, data: Mapping[str, Path] | None, rows: Iterable[Path]) -> None:
    """The examples, which take up to a minute: the page is there meanwhile."""
    try:
        seed(board, folder, data, rows)
    except InputError as error:
        LOG.error("the leaderboard's examples couldn't be made: %s", error)
    except Exception:
        LOG.exception("the leaderboard's example couldn't be made")


if __name__ == "__main__":
    launch(
        os.environ.get("LEADERBOARD_FOLDER", "leaderboard"),
        int(os.environ.get("PORT", "7860")),
        "0.0.0.0",
        int(os.environ.get("LEADERBOARD_WORKERS", "1")),
        examples=os.environ.get("LEADERBOARD_EXAMPLES", "1") != "0",
    )
