"""A server without a page, to be killed: it submits, scores and publishes, and says so, until it is.

`python -m tests.leaderboard.living DATABASE FOLDER RESULTS FIRST` sends RESULTS as models FIRST, FIRST + 1 ...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sqlalchemy import select

from glioma_hf.leaderboard.board import Board, Limits
from glioma_hf.leaderboard.scoring import Worker
from glioma_hf.leaderboard.submissions import ModelFacts, publish, submit
from glioma_hf.leaderboard.tables import Developer, Submission
from glioma_hf.leaderboard.words import RECEIVED, SCORING
from tests.leaderboard.made import TASK

LIMITS = Limits(per_day=10_000, lease=2.0, attempts=1000)  # a submission may be killed in every round


def say(*words: object) -> None:
    print(*words, flush=True)


def unfinished(board: Board) -> list[str]:
    with board.database.reading() as session:
        return list(session.scalars(select(Submission.id).where(Submission.state.in_((RECEIVED, SCORING)))))


def main() -> None:
    where, folder, results, first = sys.argv[1:]
    board = Board.open(Path(folder), where, limits=LIMITS)
    Worker(board).start()
    with board.database.reading() as session:
        ann = session.scalars(select(Developer.id).filter_by(name="Ann")).one()
    number = int(first)
    while True:
        say("submitting", number)
        sent = submit(board, ann, TASK, "results", results, ModelFacts(f"Model {number}"))
        say("acknowledged", sent)
        while unfinished(board):
            time.sleep(0.05)
        with board.database.reading() as session:
            model = session.get(Submission, sent).model_id
        say("publishing", model)
        publish(board, ann, model)
        say("published", model)
        number += 1


if __name__ == "__main__":
    main()
