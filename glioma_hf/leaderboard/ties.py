"""Which models of a table tie.

Models tie where the data can't tell them apart: the difference of their APs, bootstrapped over the images for both at
once, may be 0. A group begins with the best model that doesn't tie with the first of the group before. That is asked of
scores that follow from each image's counts; others, and the paper's figures, which have no counts, tie where they are
equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from glioma_hf.benchmark.results import ImageCounts
from glioma_hf.leaderboard.tables import Scoring
from glioma_hf.metrics.intervals import paired_interval
from glioma_hf.metrics.matching import Counts

BLOCKS = 200  # of consecutive images, which are drawn together where there are more
_AT = {"ap50": 0, "f1": 0, "ap75": 1, "ap90": 2}  # which of a row's thresholds a score is of
Intervals = Mapping[str, tuple[int, float, float]]


def intervals(session: Session, task: str, mode: str, models: Sequence[str]) -> dict[str, tuple[int, float, float]]:
    """Of each model the version of its scoring and the interval of its AP50."""
    columns = select(Scoring.model_id, Scoring.version, Scoring.low, Scoring.high)
    found = {}
    for start in range(0, len(models), 500):
        part = columns.where(Scoring.task_id == task, Scoring.mode == mode)
        for model, version, low, high in session.execute(part.where(Scoring.model_id.in_(models[start : start + 500]))):
            if low is not None and high is not None:
                found[model] = (version, low, high)
    return found


def ranked(
    session: Session, key: tuple[str, str, str], scores: Mapping[str, float | None], scorings: Intervals
) -> dict[str, tuple[int | None, bool]]:
    """Of each model its rank, and whether others have it too.

    Args:
        key: the task, the mode and the score that is sorted by.
        scores: of that score by model, the best first; None, at the end, where a model lacks it: it has no rank then.
        scorings: of `intervals`.
    """
    ranks: dict[str, int | None] = {}
    leader: str | None = None
    for place, (model, score) in enumerate(scores.items(), start=1):
        if score is None:
            ranks[model] = None
        elif leader is not None and (score == scores[leader] or _tie(session, key, (leader, model), scorings)):
            ranks[model] = ranks[leader]
        else:
            ranks[model], leader = place, model
    number: dict[int | None, int] = {}
    for rank in ranks.values():
        number[rank] = number.get(rank, 0) + 1
    return {model: (rank, rank is not None and number[rank] > 1) for model, rank in ranks.items()}


def _tie(session: Session, key: tuple[str, str, str], pair: tuple[str, str], scorings: Intervals) -> bool:
    """Whether the data can't tell two models apart by the score that is sorted by."""
    task, mode, score = key
    if score not in _AT or not all(model in scorings for model in pair):
        return False
    one, other = (_COUNTS.of(session, (model, task, mode, scorings[model][0])) for model in pair)
    return _within_chance(one, other, _AT[score])


class _Kept:
    """Counts of images by model, task, mode and version."""

    def __init__(self, most: int = 4000):
        self.most, self._found = most, {}  # type: ignore[var-annotated]

    def of(self, session: Session, key: tuple[str, str, str, int]) -> tuple[tuple[tuple[int, int, int], ...], ...]:
        """Per threshold the counts of each block of images."""
        if key not in self._found:
            if len(self._found) >= self.most:
                self._found.clear()
            row = session.get_one(Scoring, key[:3]).row
            self._found[key] = _blocks([ImageCounts.model_validate(image) for image in row["images"]])
        return self._found[key]


_COUNTS = _Kept()


def _blocks(images: Sequence[ImageCounts]) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    size = max(1, -(-len(images) // BLOCKS))
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    thresholds = range(len(images[0].tp) if images else 0)
    return tuple(
        tuple((sum(i.tp[t] for i in p), sum(i.fp[t] for i in p), sum(i.fn[t] for i in p)) for p in parts)
        for t in thresholds
    )


@lru_cache(maxsize=20_000)
def _within_chance(
    one: tuple[tuple[tuple[int, int, int], ...], ...], other: tuple[tuple[tuple[int, int, int], ...], ...], at: int
) -> bool:
    if at >= len(one) or at >= len(other) or len(one[at]) != len(other[at]):
        return False
    sides = [[Counts(*counts) for counts in side[at]] for side in (one, other)]
    _, (low, high) = paired_interval([sides[0]], [sides[1]])
    return low <= 0 <= high
