"""Which models of a table tie.

Models tie where the data can't tell them apart: the difference of their APs, bootstrapped over the images for both at
once, may be 0. A group begins with the best model that doesn't tie with the first of the group before. That is asked of
scores that follow from each image's counts; others, and the paper's figures, which have no counts, tie where they are
equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from glioma_hf.leaderboard.tables import Scoring
from glioma_hf.metrics.intervals import is_chance, resampled_ap

BLOCKS = 200  # of consecutive images, which are drawn together where there are more
ASKED_AT_ONCE = 500  # models
KEPT = 4000  # models whose draws are kept, 8 kB each
_AT = {"ap50": 0, "f1": 0, "ap75": 1, "ap90": 2}  # which of a row's thresholds a score is of
Intervals = Mapping[str, tuple[int, float, float]]


def parts(models: Sequence[str]) -> Iterator[Sequence[str]]:
    """Models in parts of as many as a database takes in one question."""
    for start in range(0, len(models), ASKED_AT_ONCE):
        yield models[start : start + ASKED_AT_ONCE]


def intervals(session: Session, task: str, mode: str, models: Sequence[str]) -> dict[str, tuple[int, float, float]]:
    """Of each model the version of its scoring and the interval of its AP50."""
    columns = select(Scoring.model_id, Scoring.version, Scoring.low, Scoring.high)
    found = {}
    for some in parts(models):
        part = columns.where(Scoring.task_id == task, Scoring.mode == mode)
        for model, version, low, high in session.execute(part.where(Scoring.model_id.in_(some))):
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
    drawn = _drawn_of(session, key, scores, scorings)
    for place, (model, score) in enumerate(scores.items(), start=1):
        if score is None:
            ranks[model] = None
        elif leader is not None and (score == scores[leader] or _tie(drawn.get(leader), drawn.get(model))):
            ranks[model] = ranks[leader]
        else:
            ranks[model], leader = place, model
    number: dict[int | None, int] = {}
    for rank in ranks.values():
        number[rank] = number.get(rank, 0) + 1
    return {model: (rank, rank is not None and number[rank] > 1) for model, rank in ranks.items()}


class _Drawn(NamedTuple):
    """A model's score in each of the bootstrap's draws, (draws,), and of how many blocks of images these are."""

    blocks: int
    scores: np.ndarray


def _tie(one: _Drawn | None, other: _Drawn | None) -> bool:
    """Whether the data can't tell two models apart, by what was drawn of both."""
    return one is not None and other is not None and one.blocks == other.blocks and is_chance(one.scores, other.scores)


def _drawn_of(
    session: Session, key: tuple[str, str, str], models: Iterable[str], scorings: Intervals
) -> dict[str, _Drawn]:
    """Of each model with counts what is drawn; what was drawn before is kept until its scoring changes."""
    task, mode, score = key
    if score not in _AT:
        return {}
    keys = {model: (task, mode, _AT[score], model, scorings[model][0]) for model in models if model in scorings}
    found = {model: _KEPT.get(kept) for model, kept in keys.items()}
    missing = [model for model, drawn in found.items() if drawn is None]
    rows = select(Scoring.model_id, Scoring.row).where(Scoring.task_id == task, Scoring.mode == mode)
    for some in parts(missing):
        for model, row in session.execute(rows.where(Scoring.model_id.in_(some))):
            found[model] = drawn = _drawn(row["images"], _AT[score])
            if len(_KEPT) >= KEPT:
                _KEPT.clear()
            _KEPT[keys[model]] = drawn
    return {model: drawn for model, drawn in found.items() if drawn is not None and drawn.blocks}


_KEPT: dict[tuple[str, str, int, str, int], _Drawn] = {}


def _drawn(images: Sequence[Mapping[str, Any]], at: int) -> _Drawn:
    """Of a row's images; of no blocks where they have no counts at this threshold."""
    if not images or at >= len(images[0]["tp"]):
        return _Drawn(0, np.zeros(0, np.float32))
    tp, fp, fn = (np.array([image[name][at] for image in images]) for name in ("tp", "fp", "fn"))
    starts = np.arange(0, len(images), max(1, -(-len(images) // BLOCKS)))
    hits, everything = (np.add.reduceat(counts, starts) for counts in (tp, tp + fp + fn))
    return _Drawn(len(starts), resampled_ap(hits, everything).astype(np.float32))
