"""The pieces that a study is made of: a network pretrained, a repeat of a variant. Each can be done anywhere."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from glioma_hf.benchmark.study import Resolution, Split
from glioma_hf.benchmark.study_results import Pair, RepeatResult
from glioma_hf.benchmark.yaml_files import there_twice
from glioma_hf.data.splits import LabelledImage, find_split, load_images
from glioma_hf.errors import InputError
from glioma_hf.metrics.foreground import foreground, pixel_loss
from glioma_hf.metrics.pixel_dice import dice_score, resize_bilinear
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import PixelSegmenter, Run
from glioma_hf.models.device import device_name
from glioma_hf.models.saved import ModelFolder, TrainingScores
from glioma_hf.progress import OnProgress, Progress
from glioma_hf.workflows.tables.pieces import versions
from glioma_hf.workflows.training import as_pairs

UNET = "unet"  # the family that is trained
WORK, PRETRAINED, PANELS = "work", "pretrained", "panels"
_LOG = "log.jsonl"

Predict = Callable[[np.ndarray, Resolution], np.ndarray]  # an image, and at which resolution it is seen -> chances


@dataclass(frozen=True)
class PretrainPiece:
    """A network to be pretrained: into the folder `key`, by a recipe, on splits of a data set."""

    key: str
    job: str
    start: str
    recipe: dict[str, Any]
    data: str
    train: str
    validation: str


@dataclass(frozen=True)
class RepeatPiece:
    """A repeat of a variant; `base` is what training starts from, `model` a model as it is instead.

    Predictions of the first `drawn` test images are kept as pictures.
    """

    key: str
    job: str
    variant: str
    repeat: int
    data: str
    splits: tuple[str, ...]
    split: Split
    start: str
    base: str
    recipe: dict[str, Any] | None
    model: str | None
    pairs: tuple[Pair, ...]
    resolutions: dict[str, Resolution]
    drawn: int


def pretrain(shared: tuple[str, OnProgress], piece: PretrainPiece) -> str:
    """Train a whole network and save it, to be started from; returns its key."""
    out, on_progress = shared
    family = get_family(UNET)
    recipe: Any = family.recipe.model_validate(piece.recipe)
    images = [item for item in load_images(piece.data, piece.train) if len(item.instances)]
    checked = load_images(piece.data, piece.validation) if recipe.patience else []
    held = [(item.pixels, foreground(item.instances)) for item in checked]
    on_progress(Progress(f"pretraining {piece.key} on {len(images)} images"))

    def validate(segmenter: Any) -> float:
        return -float(np.mean([pixel_loss(segmenter.probability(pixels), mask) for pixels, mask in held]))

    work = Path(out) / WORK / piece.key
    run = Run(work, on_progress, validate if held else None)
    segmenter = family.train(piece.start, as_pairs(images), recipe, run)
    scores = TrainingScores(
        data=Path(piece.data).name,
        training_images=[item.name for item in images],
        validation_images=[item.name for item in checked],
    )
    ModelFolder(Path(out) / PRETRAINED / piece.key).write(family, segmenter, piece.start, recipe, scores)
    shutil.rmtree(work, ignore_errors=True)
    return piece.key


def repeat(shared: tuple[str, OnProgress], piece: RepeatPiece) -> RepeatResult:
    """Train a variant on a repeat's images and score it on those that it hasn't seen."""
    out, on_progress = shared
    started = time.perf_counter()
    pool = pooled(piece.data, piece.splits)
    train, validation, test = (
        [pool[place] for place in part] for part in (piece.split.train, piece.split.validation, piece.split.test)
    )
    curve: list[tuple[float, float]] = []
    if piece.model is not None:
        predict = _predict_of_model(piece.model)
    else:
        predict, curve = _trained(piece, train, validation, Path(out), on_progress)
    scores: list[list[float]] = [[] for _ in piece.pairs]
    for place, item in enumerate(test):
        mask = foreground(item.instances)
        seen = {first: predict(item.pixels, piece.resolutions[first]) for first in {pair[0] for pair in piece.pairs}}
        for (first, second), values in zip(piece.pairs, scores, strict=True):
            values.append(dice_score(seen[first], mask, piece.resolutions[second]))
        if place < piece.drawn:
            _draw(picture_file(Path(out), piece.key, place), item.pixels, seen[piece.pairs[0][0]])
    return RepeatResult(
        job=piece.job,
        variant=piece.variant,
        repeat=piece.repeat,
        pairs=list(piece.pairs),
        train=[item.name for item in train],
        validation=[item.name for item in validation],
        test=[item.name for item in test],
        scores=scores,
        curve=curve,
        recipe=piece.recipe,
        start=piece.start,
        seconds=time.perf_counter() - started,
        device=device_name(),
        versions=versions(),
    )


def _trained(
    piece: RepeatPiece,
    train: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    out: Path,
    on_progress: OnProgress,
) -> tuple[Predict, list[tuple[float, float]]]:
    """What a network trained on a repeat's images predicts, and its validation loss by epoch."""
    family = get_family(UNET)
    recipe: Any = family.recipe.model_validate(piece.recipe)
    given = piece.resolutions[piece.pairs[0][0]]
    masks = [resize_bilinear(foreground(item.instances), given) > 0 for item in validation]

    def validate(segmenter: Any) -> float:
        losses = [
            pixel_loss(segmenter.probability_at(item.pixels, given), mask)
            for item, mask in zip(validation, masks, strict=True)
        ]
        return -float(np.mean(losses))

    base = str(out / PRETRAINED / piece.base) if piece.base != piece.start else piece.base
    steps = recipe.steps(len(train))

    def note(progress: Progress) -> None:
        nonlocal steps
        if progress.loss is not None:
            steps = int(progress.total)  # more than the recipe's where its batch didn't fit
        on_progress(progress)

    work = out / WORK / piece.key
    run = Run(work, note, validate if validation else None, workers=0)
    segmenter = family.train(base, as_pairs(train), recipe, run)
    curve = _curve(work / _LOG, steps / recipe.epochs)
    shutil.rmtree(work, ignore_errors=True)
    told: set[str] = set()

    def say_once(progress: Progress) -> None:
        if progress.message and progress.message not in told:
            told.add(progress.message)
            on_progress(progress)

    assert isinstance(segmenter, PixelSegmenter)
    return lambda pixels, resolution: segmenter.probability_at(pixels, resolution, say_once), curve


def _predict_of_model(model: str) -> Predict:
    """The foreground of any model's instances: it sees the image as it is, whatever the resolution."""
    segmenter = load_segmenter(model)
    return lambda pixels, resolution: foreground(segmenter.segment(pixels))


@lru_cache(maxsize=2)
def pooled(folder: str, splits: tuple[str, ...]) -> list[LabelledImage]:
    """All images of some splits, read once for the repeats that a process does one after the other."""
    images = [item for split in splits for item in load_images(folder, find_split(folder, split).name)]
    twice = there_twice(item.name for item in images)
    if twice is not None:
        raise InputError(f"{folder}: {twice} is in two of the splits {', '.join(splits)}; take each image once")
    return images


def _curve(log: Path, steps_an_epoch: float) -> list[tuple[float, float]]:
    """(epoch, validation loss) at each look, from a run's log."""
    if not log.is_file():
        return []
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [(round(row["step"] / steps_an_epoch, 2), -row["eval_score"]) for row in rows if "eval_score" in row]


def picture_file(out: Path, key: str, place: int) -> Path:
    """Where the prediction of a repeat's test image lies, by its place among them."""
    return out / PANELS / f"{key}_{place}.png"


def _draw(path: Path, pixels: np.ndarray, chances: np.ndarray) -> None:
    """A prediction at the size of the image, as a black and white picture."""
    height, width = pixels.shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(resize_bilinear(chances, (width, height)) >= 0.5).save(path, "PNG")
