"""What came out of a study: DiceScore of each test image of each repeat, their means and how sure those are.

Two intervals of 95 %. Over repeats: Student's t of the K means; repeats share images, so that it is narrower than that
of K independent studies. Over images: by bootstrap, images are drawn again with all that they scored in any repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import stdtrit

from glioma_hf.metrics.intervals import RESAMPLES, Interval

Pair = tuple[str, str]  # names of resolutions: of the image as it is given, of the masks as they are compared


class RepeatResult(BaseModel):
    """One repeat of one variant, `repeats/NAME.json`.

    Attributes:
        job: what it was made from, by content.
        train, validation, test: names of the images.
        scores: DS of each test image, a list for each pair of resolutions.
        curve: (epoch, validation loss) at each look.
        recipe: of its training; None of a model as it is.
    """

    model_config = ConfigDict(extra="forbid")

    job: str
    variant: str
    repeat: int
    pairs: list[Pair]
    train: list[str]
    validation: list[str]
    test: list[str]
    scores: list[list[float]]
    curve: list[tuple[float, float]] = []
    recipe: dict | None = None
    start: str = ""
    seconds: float = 0.0
    device: str = ""
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class Average:
    """DiceScoreAV of a variant at a pair of resolutions.

    Attributes:
        dice: the mean over all test images of all repeats.
        repeats: how many there are.
        over_repeats, over_images: 95 % intervals, see the module; None where there is one alone.
        per_repeat: the mean of each.
        paper: the paper's figure.
        failed: why repeats are missing.
    """

    variant: str
    pair: Pair
    dice: float | None
    repeats: int
    over_repeats: Interval | None
    over_images: Interval | None
    per_repeat: tuple[float, ...] = ()
    paper: float | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Difference:
    """By how much a variant's DiceScoreAV is higher than another's, over the repeats that both have."""

    first: str
    second: str
    pair: Pair
    by: float
    over_repeats: Interval | None
    over_images: Interval | None

    @property
    def exceeds(self) -> bool:
        """Whether both intervals leave out 0."""
        found = [each for each in (self.over_repeats, self.over_images) if each is not None]
        return bool(found) and all(low > 0 or high < 0 for low, high in found)


def average(
    variant: str, pair: Pair, results: Sequence[RepeatResult], paper: float | None = None, failed: str | None = None
) -> Average:
    """DiceScoreAV of a variant's repeats at a pair of resolutions."""
    scores = [(_scores(each, pair), each.test) for each in results]
    if not scores:
        return Average(variant, pair, None, 0, None, None, (), paper, failed)
    per_repeat = tuple(float(np.mean(values)) for values, _ in scores)
    everything = np.concatenate([values for values, _ in scores])
    return Average(
        variant,
        pair,
        float(everything.mean()),
        len(scores),
        mean_interval(per_repeat),
        image_interval(scores),
        per_repeat,
        paper,
        failed,
    )


def differences(results: dict[str, Sequence[RepeatResult]], pair: Pair) -> list[Difference]:
    """Of all pairs of variants that were scored at a pair of resolutions on the same images."""
    found = []
    for (first, ones), (second, others) in combinations(results.items(), 2):
        there = {each.repeat: each for each in others}
        both = [(one, there[one.repeat]) for one in ones if one.repeat in there]
        both = [(one, other) for one, other in both if one.test == other.test]
        if not both:
            continue
        gains = [(_scores(one, pair) - _scores(other, pair), one.test) for one, other in both]
        per_repeat = [float(values.mean()) for values, _ in gains]
        by = float(np.concatenate([values for values, _ in gains]).mean())
        found.append(Difference(first, second, pair, by, mean_interval(per_repeat), image_interval(gains)))
    return found


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of a mean by Student's t; None of fewer than two values.

    >>> tuple(round(end, 3) for end in mean_interval([0.8, 0.9]))
    (0.215, 1.485)
    """
    if len(values) < 2:
        return None
    reach = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(len(values)))
    middle = float(np.mean(values))
    return middle - reach, middle + reach


def image_interval(scores: Sequence[tuple[np.ndarray, Sequence[str]]], seed: int = 0) -> Interval | None:
    """The 95 % interval of the mean of all scores by bootstrap over images, each drawn with all its scores.

    Args:
        scores: of each repeat the scores of its images, and their names.

    None of fewer than two images.
    """
    names = sorted({name for _, images in scores for name in images})
    if len(names) < 2:
        return None
    sums, numbers = np.zeros(len(names)), np.zeros(len(names))
    for values, images in scores:
        places = np.searchsorted(names, images)
        np.add.at(sums, places, values)
        np.add.at(numbers, places, 1)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    low, high = np.percentile((drawn @ sums) / (drawn @ numbers), [2.5, 97.5])
    return float(low), float(high)


def _scores(result: RepeatResult, pair: Pair) -> np.ndarray:
    return np.array(result.scores[[tuple(each) for each in result.pairs].index(pair)])
