"""`ResultRow`: the scores of one model on one split, with all that tables, intervals and a ranking need."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from glioma_hf import __version__
from glioma_hf.errors import InputError
from glioma_hf.files import new_file
from glioma_hf.jsonfile import parse_json
from glioma_hf.metrics.intervals import Interval, ap_intervals
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.scores import OverlapScores
from glioma_hf.metrics.scoring_options import ScoringOptions

FORMAT = 1


def _versions() -> dict[str, str]:
    return {"glioma_hf": __version__, "python": platform.python_version()}


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


class ImageCounts(BaseModel):
    """One image: TP, FP and FN at each IoU threshold of the row's scoring, in its order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file_name: str
    tp: list[int]
    fp: list[int]
    fn: list[int]


class ResultRow(BaseModel):
    """One model's scores on one split of one data set.

    Attributes:
        format: version of this layout.
        data_set: name of the data set, such as "glioma_c6".
        split: which of its splits was scored, such as "spec/test"; None where it has none.
        task: which objects were scored, such as "cells".
        scoring: the metric's settings: IoU thresholds, mode, border, border rule, least area.
        model, family: name of the model and of its family; None where only its predictions are known.
        recipe: what it was trained with; None where it wasn't trained here.
        thresholds: how its predictions were thresholded; None where that isn't known.
        thresholds_from: on which data those were chosen, such as "spec/validation".
        seed: of the training.
        seconds_per_image, cpu_seconds_per_image: of prediction, by the clock and of all cores together.
        parameters: how many numbers the model holds.
        base: what it was trained from, or the name that it was loaded by.
        training_images: file names.
        train_seconds, train_cpu_seconds: of the training; of a base, of choosing its thresholds.
        validation_ap50: AP at IoU 0.5 where the thresholds were chosen.
        device: on which it predicted.
        versions: of glioma_hf and Python, and of the libraries that matter.
        date: of the scoring.
        job: what the row is made from, by content: a row of the same job needn't be made again.
        predictions: the file of COCO results that was scored, in the folder of the row's table; None where it lies
            elsewhere.
        failed: why there are no scores, in a sentence; None where there are.
        scores: `OverlapScores.to_dict()`.
        images: counts of each image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    data_set: str
    split: str | None = None
    task: str
    scoring: ScoringOptions
    model: str | None = None
    family: str | None = None
    recipe: dict[str, Any] | None = None
    thresholds: dict[str, Any] | None = None
    thresholds_from: str | None = None
    seed: int | None = None
    seconds_per_image: float | None = Field(None, ge=0)
    cpu_seconds_per_image: float | None = Field(None, ge=0)
    parameters: int | None = Field(None, ge=0)
    base: str | None = None
    training_images: list[str] | None = None
    train_seconds: float | None = Field(None, ge=0)
    train_cpu_seconds: float | None = Field(None, ge=0)
    validation_ap50: float | None = None
    device: str | None = None
    versions: dict[str, str] = Field(default_factory=_versions)
    date: datetime.date = Field(default_factory=_today)
    job: str | None = None
    predictions: str | None = None
    failed: str | None = None
    scores: dict[str, int | float]
    images: list[ImageCounts]

    @classmethod
    def of(cls, scores: OverlapScores, file_names: Sequence[str], **fields: Any) -> ResultRow:
        """The row of `scores`; `file_names` are the images', in their order, `fields` the row's others.

        >>> from glioma_hf import Instances
        >>> from glioma_hf.metrics.overlap_ap import overlap_ap
        >>> cell = Instances.from_polygons([[[4, 4, 12, 4, 12, 12, 4, 12]]], (20, 20))
        >>> row = ResultRow.of(overlap_ap([(cell, cell)]), ["a.tif"], data_set="mine", task="cells", model="copy")
        >>> row.scores["ap50"], row.images[0].tp, row.mode
        (1.0, [1, 1, 1], 'overlapping')
        """
        if len(file_names) != scores.images:
            raise InputError(f"{len(file_names)} file names for the scores of {scores.images} images; give one each")
        kept = len(scores.options.thresholds)
        images = [
            ImageCounts(
                file_name=name,
                tp=[c.tp for c in image.counts[:kept]],
                fp=[c.fp for c in image.counts[:kept]],
                fn=[c.fn for c in image.counts[:kept]],
            )
            for name, image in zip(file_names, scores.per_image, strict=True)
        ]
        return cls(scoring=scores.options, scores=scores.to_dict(), images=images, **fields)

    @classmethod
    def of_failure(cls, reason: str, scoring: ScoringOptions, **fields: Any) -> ResultRow:
        """The row of what couldn't be scored; `fields` are the row's others."""
        return cls(failed=reason, scoring=scoring, scores={}, images=[], **fields)

    @property
    def mode(self) -> str:
        """Whether masks were scored "overlapping" or "flattened"."""
        return self.scoring.mode

    def counts(self) -> list[list[Counts]]:
        """Per image its counts at each IoU threshold."""
        return [[Counts(*triple) for triple in zip(i.tp, i.fp, i.fn, strict=True)] for i in self.images]

    def intervals(self, seed: int = 0) -> dict[float, Interval]:
        """95 % interval of the AP at each IoU threshold, as `OverlapScores.intervals` gives it."""
        intervals = ap_intervals(self.counts(), seed) or [(0.0, 0.0)] * len(self.scoring.thresholds)
        return dict(zip(self.scoring.thresholds, intervals, strict=True))

    @model_validator(mode="after")
    def _consistent(self) -> ResultRow:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format} isn't {FORMAT}, which this version of glioma_hf reads")
        number = len(self.scoring.thresholds)
        for image in self.images:
            if {len(image.tp), len(image.fp), len(image.fn)} != {number}:
                raise ValueError(f"{image.file_name} needs {number} counts each, one per IoU threshold")
        for name in ("tp", "fp", "fn") if self.failed is None else ():
            if self.scores.get(name) != sum(getattr(image, name)[0] for image in self.images):
                raise ValueError(f"the images' {name} don't add up to that of the scores")
        return self


def write_row(path: str | Path, row: ResultRow) -> None:
    """Write a row as a JSON file, whole or not at all. Raises `InputError` where the place can't be written."""
    with new_file(path, is_ours=_is_row) as partial:
        partial.write_text(row.model_dump_json(indent=2), encoding="utf-8")


def _is_row(path: Path) -> bool:
    try:
        return bool(read_row(path))
    except InputError:
        return False


def read_row(path: str | Path) -> ResultRow:
    """Read a row that `write_row` wrote. Raises `InputError` for anything else."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise InputError(f"{path} can't be read ({reason}); give a result.json of glioma-hf evaluate") from None
    try:
        row = ResultRow.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{path} isn't a row of results ({place + ': ' if place else ''}{reason}); "
            "give a result.json of glioma-hf evaluate"
        ) from None
    parse_json(text.encode(), str(path))  # a name twice, say
    return row
