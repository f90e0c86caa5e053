"""The pieces that a table is made of: a model, some images predicted, a cell scored. Each can be done anywhere."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from glioma_hf import __version__
from glioma_hf.benchmark.results import ResultRow
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import InstanceSet, read_predictions, read_references
from glioma_hf.benchmark.table import Cell, ModelEntry, Training
from glioma_hf.data.images import decode_image
from glioma_hf.data.parquet import image_bytes, split_rows
from glioma_hf.data.splits import find_split, load_images
from glioma_hf.errors import InputError
from glioma_hf.metrics.agreement import consensus
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.models import find_base, get_family, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.models.device import device_name
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, ignore
from glioma_hf.workflows.fingerprint import parameters_of
from glioma_hf.workflows.tables.plan import TRAIN, VALIDATION, Maker, loaded
from glioma_hf.workflows.training import as_pairs, train

LIBRARIES = ("torch", "transformers", "peft", "numpy", "scipy", "pycocotools")


class ModelRecord(BaseModel):
    """A model of a table as it was made, `models/KEY.json`.

    Attributes:
        job: see `Maker`.
        folder: of a trained model, beside the record.
        settings: how it predicts; None where nothing was chosen.
        thresholds_from: the data set and split on which that was chosen.
        seconds, cpu_seconds: of training and of choosing thresholds.
        typed: whether one model answers all tasks, by the categories of what it finds.
    """

    model_config = ConfigDict(extra="forbid")

    job: str
    folder: str | None = None
    family: str
    base: str
    settings: dict[str, Any] | None = None
    thresholds_from: str | None = None
    validation_ap50: float | None = None
    recipe: dict[str, Any] | None = None
    seed: int | None = None
    training_images: list[str] | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    typed: bool = False


class SplitRecord(BaseModel):
    """What is known of a model's predictions of a split, beside the COCO results."""

    model_config = ConfigDict(extra="forbid")

    job: str
    images: int
    cells: int
    seconds: float
    cpu_seconds: float | None = None
    device: str
    parameters: int | None


@dataclass(frozen=True)
class Predicting:
    """Images of a split, by their numbers from 1, for a model that was made."""

    maker: Maker
    record: ModelRecord
    folder: str
    split: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """What was found in some images: COCO results, and what it took."""

    results: list[dict[str, Any]]
    seconds: float
    cpu_seconds: float
    device: str
    parameters: int | None


@dataclass(frozen=True)
class Scoring:
    """A cell to be scored: files on both sides, and the fields of its row that are known already."""

    folder: str
    split: str
    annotators: Mapping[str, str]
    predictions: str
    typed: bool
    task: str
    options: ScoringOptions
    extras: tuple[str, ...]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class MadeCell:
    """A cell with its row, and from which files that was scored; None where it wasn't."""

    cell: Cell
    row: ResultRow
    scoring: Scoring | None


def make_model(shared: tuple[str, OnProgress], maker: Maker) -> ModelRecord:
    """Train a model, or choose the thresholds of one for a task; `shared` is the folder of models."""
    started, used = time.perf_counter(), _cpu_seconds()
    record = _as_it_comes(maker) if maker.entry.train is None else _trained(shared, maker, maker.entry.train)
    if maker.data is None:
        return record
    took = {"seconds": time.perf_counter() - started, "cpu_seconds": _cpu_seconds() - used}
    return record.model_copy(update=took)


def _cpu_seconds() -> float:
    """Of all cores, that this process and those that it began and that are over have used."""
    return sum(os.times()[:4])


def _trained(shared: tuple[str, OnProgress], maker: Maker, training: Training) -> ModelRecord:
    models, on_progress = shared
    assert maker.data is not None
    family, base = find_base(training.model)
    task = str(maker.task)
    numbers = training.images
    if numbers == "all":
        numbers = list(range(1, find_split(maker.data, TRAIN).images + 1))
    recipe = family.recipe.model_validate(maker.recipe)
    scores = train(maker.data, numbers, Path(models) / maker.key, training.model, recipe, task, on_progress)
    assert scores is not None
    tuned = scores.validation_ap50 is not None
    return ModelRecord(
        job=maker.job,
        folder=maker.key,
        family=family.name,
        base=base,
        settings=ModelFolder(Path(models) / maker.key).settings().model_dump(mode="json"),
        thresholds_from=_place_of(maker.data, VALIDATION) if tuned else None,
        validation_ap50=scores.validation_ap50,
        recipe=maker.recipe,
        seed=maker.seed,
        training_images=scores.training_images,
        typed=task == "all",
    )


def _as_it_comes(maker: Maker) -> ModelRecord:
    """A model by name or folder, with thresholds for a task where the maker names data to choose them on."""
    segmenter = loaded(maker.entry)
    family, base = segmenter.origin.split(":", 1)
    record = ModelRecord(job=maker.job, family=family, base=base, settings=segmenter.settings.model_dump(mode="json"))
    saved = ModelFolder(str(maker.entry.model))
    if saved.is_saved():
        known = saved.scores()
        recipe = saved.recipe()
        changes: dict[str, Any] = {"typed": saved.info().task == "all"}
        if recipe is not None:
            changes |= {"recipe": recipe.model_dump(mode="json"), "seed": recipe.seed}
        if known is not None:
            changes["training_images"] = known.training_images
            if known.validation_ap50 is not None:
                changes |= {"thresholds_from": f"{known.data}, validation", "validation_ap50": known.validation_ap50}
        record = record.model_copy(update=changes)
    if maker.data is None:
        return record
    images = load_images(maker.data, VALIDATION, str(maker.task))
    tuned, ap = get_family(family).tune(segmenter, as_pairs(images), ignore)
    chosen = {"settings": tuned.settings.model_dump(mode="json"), "validation_ap50": ap}
    return record.model_copy(update={**chosen, "thresholds_from": _place_of(maker.data, VALIDATION)})


def predict_images(models: str, piece: Predicting) -> Found:
    """What a model finds in some images of a split; `models` is the folder of models."""
    segmenter = _loaded(models, piece.maker.entry.model_dump_json(), piece.record.model_dump_json())
    rows = split_rows(piece.folder, find_split(piece.folder, piece.split), piece.folder, piece.numbers, image=True)
    results: list[dict[str, Any]] = []
    seconds = cpu_seconds = 0.0
    for row in rows:
        pixels = decode_image(image_bytes(row, piece.folder), f"{piece.folder}: {row['file_name']}")
        started, used = time.perf_counter(), _cpu_seconds()
        cells = segmenter.segment(pixels)
        seconds += time.perf_counter() - started
        cpu_seconds += _cpu_seconds() - used
        if cells.size != pixels.shape[:2]:
            raise InputError(
                f"{piece.maker.entry.name} gave masks of {cells.size[1]} x {cells.size[0]} pixels for an image of "
                f"{pixels.shape[1]} x {pixels.shape[0]} ({row['file_name']})"
            )
        found = cells.to_coco(row["image_id"])
        results += [{k: v for k, v in item.items() if k not in ("id", "iscrowd")} for item in found]
    return Found(results, seconds, cpu_seconds, device_name(), parameters_of(segmenter))


@lru_cache(maxsize=1)
def _loaded(models: str, entry: str, record: str) -> Segmenter:
    """The model of a record, loaded once for the images that a process predicts one after the other."""
    made = ModelRecord.model_validate_json(record)
    if made.folder is not None:
        segmenter = load_segmenter(Path(models) / made.folder)
    else:
        segmenter = loaded(ModelEntry.model_validate_json(entry))
    return segmenter.with_settings(**made.settings) if made.settings is not None else segmenter


def score_cell(shared: None, piece: Scoring) -> ResultRow:
    """The row of a cell."""
    references, predictions = sides_of(piece)
    scores = score_sets(references, predictions, piece.task, piece.options, piece.extras)
    names = [references.names[key] for key in references.instances]
    return ResultRow.of(scores, names, **piece.fields)


def sides_of(piece: Scoring) -> tuple[InstanceSet, InstanceSet]:
    """References and predictions of a cell, of all tasks."""
    references = _references(piece.folder, piece.split, tuple(find_split(piece.folder, piece.split).checksums))
    predictions = read_predictions(piece.predictions, references)
    if not piece.typed:  # all that it found is of the task that it was made for
        predictions = replace(predictions, typed=False)
    if piece.annotators:
        references = _voted(references, piece.annotators, piece.task)
    return references, predictions


@lru_cache(maxsize=4)
def _references(folder: str, split: str, checksums: tuple[str, ...]) -> InstanceSet:
    """Read once for the cells that a process scores one after the other, as long as the files are the same."""
    return read_references(folder, split)


def _voted(base: InstanceSet, annotators: Mapping[str, str], task: str) -> InstanceSet:
    """The majority vote of annotators on each image, in the place of the data set's own annotations."""
    sides = [read_predictions(place, base).of_task(task) for place in annotators.values()]
    votes = {key: consensus([side[key] for side in sides]) for key in base.instances}
    return replace(base, instances=votes, typed=False, complete=False)


def versions() -> dict[str, str]:
    """Of what rows are made with."""
    found = {"glioma_hf": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _place_of(folder: str, split: str) -> str:
    return f"{Path(folder).name}, {find_split(folder, split).name}"
