"""Rows of results beside one another and the paper's: means over seeds, intervals, which differences exceed them.

Intervals are of 95 %, by bootstrap over the images of the split; a difference is bootstrapped over the images for both
models at once. Nothing is corrected for how many differences are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from glioma_hf.benchmark.paper import paper_rows
from glioma_hf.benchmark.results import ResultRow
from glioma_hf.metrics.intervals import Interval, mean_ap_interval, paired_interval
from glioma_hf.metrics.matching import Counts

PaperTable = Literal["table2", "table4"]
_OF_PAPER = {"overlapping": "table2", "flattened": "table4"}


@dataclass(frozen=True)
class Line:
    """A model in a group: ours, or the paper's.

    Attributes:
        model: its name.
        values: scores by name, of several seeds their means; none where it failed.
        intervals: of the APs, by name.
        rows: one a seed; none of the paper's.
        failed: why a seed has no scores.
        paper: whether it is the paper's.
    """

    model: str
    values: dict[str, float]
    intervals: dict[str, Interval]
    rows: tuple[ResultRow, ...] = ()
    failed: str | None = None
    paper: bool = False

    @property
    def seeds(self) -> int:
        """How many seeds its values are means of."""
        return sum(row.failed is None for row in self.rows)

    @property
    def seconds(self) -> float | None:
        """Of prediction, an image."""
        return _mean([row.seconds_per_image for row in self.rows])

    @property
    def cpu_seconds(self) -> float | None:
        """Of prediction, an image, of all cores together."""
        return _mean([row.cpu_seconds_per_image for row in self.rows])

    @property
    def train_cpu_seconds(self) -> float | None:
        """Of training with the choice of thresholds, of all cores together; None where nothing was trained."""
        return _mean([row.train_cpu_seconds for row in self.rows if row.recipe is not None])

    @property
    def training_images(self) -> int | None:
        """How many it was trained on."""
        return next((len(row.training_images) for row in self.rows if row.training_images is not None), None)

    @property
    def parameters(self) -> int | None:
        """How many numbers it holds."""
        return next((row.parameters for row in self.rows if row.parameters is not None), None)


@dataclass(frozen=True)
class Difference:
    """By how much the first of two models has the higher AP at the first threshold, and the interval of that."""

    first: str
    second: str
    by: float
    interval: Interval

    @property
    def exceeds(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


@dataclass(frozen=True)
class Group:
    """All models on one split, in one task and mode, the lines in the order of the table, the paper's last."""

    data_set: str
    split: str
    task: str
    mode: str
    lines: tuple[Line, ...]
    differences: tuple[Difference, ...]

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.data_set}, {self.split}: {self.task}, {self.mode}"

    @property
    def ours(self) -> tuple[Line, ...]:
        """The lines of models that were scored here."""
        return tuple(line for line in self.lines if not line.paper and line.values)


def compare(rows: Sequence[ResultRow], paper: PaperTable | None = None) -> list[Group]:
    """Groups of rows that can be compared, in the order in which they come.

    Args:
        rows: of any models, splits, tasks and modes.
        paper: the paper's table whose rows join those of their split, task and mode.
    """
    grouped: dict[tuple[str, str, str, str], dict[str, list[ResultRow]]] = {}
    for row in rows:
        key = (row.data_set, row.split or "", row.task, row.scoring.told())
        grouped.setdefault(key, {}).setdefault(row.model or "", []).append(row)
    groups = []
    for (data_set, split, task, mode), models in grouped.items():
        lines = [_line(model, of_model) for model, of_model in models.items()]
        scored = next(iter(models.values()))[0].scoring.mode
        if paper is not None and _OF_PAPER[scored] == paper:
            lines += [Line(row.model, row.values, {}, paper=True) for row in paper_rows(paper, split, task)]
        groups.append(Group(data_set, split, task, mode, tuple(lines), tuple(_differences(lines))))
    return groups


def ap_names(row: ResultRow) -> list[str]:
    """Names of a row's APs, one per threshold."""
    return [f"ap{100 * threshold:.4g}" for threshold in row.scoring.thresholds]


def _line(model: str, rows: list[ResultRow]) -> Line:
    scored = [row for row in rows if row.failed is None]
    failed = next((row.failed for row in rows if row.failed is not None), None)
    if not scored:
        return Line(model, {}, {}, tuple(rows), failed)
    names = [name for name in scored[0].scores if all(name in row.scores for row in scored)]
    values = {name: float(np.mean([row.scores[name] for row in scored])) for name in names}
    intervals = {
        name: mean_ap_interval([_counts(row, place) for row in scored])
        for place, name in enumerate(ap_names(scored[0]))
    }
    return Line(model, values, intervals, tuple(rows), failed)


def _differences(lines: Sequence[Line]) -> list[Difference]:
    """Of each two models that were scored on the same images, the better one first."""
    found = []
    for one, other in combinations([line for line in lines if line.intervals], 2):
        runs = [[row for row in line.rows if row.failed is None] for line in (one, other)]
        images = {tuple(image.file_name for image in row.images) for side in runs for row in side}
        if len(images) != 1:
            continue
        by, interval = paired_interval([_counts(row, 0) for row in runs[0]], [_counts(row, 0) for row in runs[1]])
        if by < 0:
            one, other, by, interval = other, one, -by, (-interval[1], -interval[0])
        found.append(Difference(one.model, other.model, by, interval))
    return sorted(found, key=lambda difference: -difference.by)


def _counts(row: ResultRow, place: int) -> list[Counts]:
    """Of each image at one threshold."""
    return [image[place] for image in row.counts()]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
