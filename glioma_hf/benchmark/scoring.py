"""Scoring files against files: what `glioma-hf evaluate` and `glioma-hf agreement` do beyond the metric."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from glioma_hf.benchmark.image_names import ImageKey, distinct
from glioma_hf.benchmark.results import ResultRow, write_row
from glioma_hf.benchmark.scoring_files import InstanceSet, read_predictions, read_references
from glioma_hf.data.prepared import PROVENANCE, read_prepared
from glioma_hf.data.sources.rows import Repairs
from glioma_hf.data.splits import find_split
from glioma_hf.errors import InputError
from glioma_hf.executor import Workers
from glioma_hf.files import new_folder
from glioma_hf.instances import Instances
from glioma_hf.metrics.agreement import Agreement, agreement, consensus
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.overlap_ap import ScoredImage, check_extras, overlap_ap, pooled_scores, score_image
from glioma_hf.metrics.scores import OverlapScores
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.palette import OUTCOME_COLOURS
from glioma_hf.progress import OnProgress, Progress, ignore

CONSENSUS = "consensus"
SCORES, AGREEMENT = "scores", "agreement"  # kinds of folders that are written here
IMAGES_A_PIECE = 8  # of work that several processes share
CASES_TOLD = 3  # of each kind of what a file has wrong; all are counted


@dataclass(frozen=True)
class Evaluation:
    """Predictions scored against references, and what they were.

    Attributes:
        scores: over all images.
        names: file name of each image, in the order of `scores.per_image`.
        data_set, split, task: what was scored; no split where the references aren't a prepared data set.
        title: of the plots.
        notes: what should be known of the files, a line each: crowd regions, images without references or
            predictions, images that were passed over, and what `data prepare` would put right.
    """

    scores: OverlapScores
    names: tuple[str, ...]
    data_set: str
    split: str | None
    task: str
    title: str
    notes: tuple[str, ...] = ()

    def row(self) -> ResultRow:
        """The same as a row of results."""
        return ResultRow.of(self.scores, self.names, data_set=self.data_set, split=self.split, task=self.task)

    def write(self, out: str | Path, plot: bool = False, images: str | Path | None = None) -> None:
        """The folder `out`, whole or not at all.

        It holds `scores.json`, `scores.csv`, `result.json` (a `ResultRow`) and, where outcomes were kept,
        `matches.csv`; with `plot` also `ap_curve.png` and an overlay of the outcomes per image, over the images in
        the folder `images` or over plain grey. Raises `InputError` for an image that is missing or of another size.
        """
        values = self.scores.to_dict()
        with new_folder(out, SCORES) as folder:
            (folder / "scores.json").write_text(json.dumps(values, indent=2))
            with (folder / "scores.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("score", "value"), *values.items()])
            write_row(folder / "result.json", self.row())
            if plot:
                self.scores.plot(folder / "ap_curve.png", title=self.title)
            if self.scores.outcomes is None:
                return
            write_matches(folder / "matches.csv", distinct(self.names), self.scores.outcomes)
            if plot:
                stems = distinct([PurePosixPath(name.replace("\\", "/")).stem for name in self.names])
                for name, stem, outcomes in zip(self.names, stems, self.scores.outcomes, strict=True):
                    image = _image_of(name, Path(images), self.names) if images else None
                    draw_outcomes(folder / f"{stem}_outcomes.png", outcomes, image)


def evaluate_files(
    references: str | Path,
    predictions: str | Path,
    task: str = "cells",
    split: str = "test",
    options: ScoringOptions | None = None,
    extras: Sequence[str] = (),
    keep_outcomes: bool = True,
    strict: bool = False,
    on_progress: OnProgress = ignore,
    workers: Workers | None = None,
) -> Evaluation:
    """Score a file or folder of predictions against one of references.

    Args:
        references: a COCO file, a folder of label maps, or a prepared data set, of which `split` is read (see
            `find_split`).
        predictions: COCO results, a COCO file, or a folder of label maps.
        task: of the paper, a category of the references by its own name, or "all".
        options, extras, keep_outcomes: as for `overlap_ap`.
        strict: whether what `data prepare` would put right (outlines outside the image, boxes that miss them ...) is
            an error instead of a note.
        on_progress: hears the notes of the evaluation, and some of the cases behind them.
        workers: who scores the images; this process without them.

    Raises `InputError` for files that can't be read or don't fit each other, for an unknown task, and where there is
    nothing to score.
    """
    repairs = Repairs(strict, on_progress, "noted", CASES_TOLD)
    reference_set = read_references(references, split, repairs)
    prediction_set = read_predictions(predictions, reference_set, repairs)
    notes = [*notes_on(reference_set, prediction_set, task), *_repaired(repairs)]
    for note in notes:
        on_progress(Progress(note))
    scores = score_sets(reference_set, prediction_set, task, options, extras, keep_outcomes, workers)
    prepared = (Path(references) / PROVENANCE).is_file()
    return Evaluation(
        scores,
        tuple(reference_set.names[key] for key in reference_set.instances),
        read_prepared(references).source if prepared else Path(references).name,
        find_split(references, split).name if prepared else None,
        task,
        Path(predictions).name,
        tuple(notes),
    )


def notes_on(references: InstanceSet, predictions: InstanceSet, task: str) -> list[str]:
    """A line with counts of what a pair of files lacks for a task; none where all is there.

    Raises `InputError` for an unknown task and where neither side has an object of it.
    """
    expected, given = references.of_task(task), predictions.of_task(task)
    _check_sizes(expected, given, references.names)
    crowds = [sum(int(image.crowd.sum()) for image in side.values()) for side in (expected, given)]
    empty = [sum(not len(image) for image in side.values()) for side in (expected, given)]
    if empty == [len(expected), len(given)]:
        raise InputError(
            f"{references.path} and {predictions.path}: neither has an object of the task {task!r} in the "
            f"{_count(len(expected), 'image')} that they share; nothing is left to score"
        )
    parts = []
    for count, path in zip(crowds, (references.path, predictions.path), strict=True):
        if count:
            parts.append(f"{_count(count, 'crowd region')} of {path}, ignored with what lies in them")
    if empty[0]:
        parts.append(f"{_count(empty[0], 'image')} without an object of the task {task!r} in the references")
    if empty[1]:
        parts.append(f"{_count(empty[1], 'image')} without predictions of it")
    if predictions.unknown:
        some = ", ".join(predictions.unknown[:3]) + (" ..." if len(predictions.unknown) > 3 else "")
        unknown = _count(len(predictions.unknown), "image")
        parts.append(f"{unknown} of {predictions.path} that the references don't hold, passed over ({some})")
    return [f"{_count(len(expected), 'image')} scored: {'; '.join(parts)}"] if parts else []


def _check_sizes(
    references: Mapping[ImageKey, Instances], predictions: Mapping[ImageKey, Instances], names: Mapping[ImageKey, str]
) -> None:
    for key, side in references.items():
        if predictions[key].size != side.size:
            raise InputError(
                f"image {key} ({names[key]}): the predictions are of size {list(predictions[key].size)}, "
                f"the references of {list(side.size)}"
            )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _repaired(repairs: Repairs) -> list[str]:
    """A line that counts what `data prepare` would put right."""
    found = ", ".join(f"{count} {kind}" for kind, count in repairs.counts.items())
    return [f"noted in all: {found}; --strict refuses them"] if found else []


def score_sets(
    references: InstanceSet,
    predictions: InstanceSet,
    task: str,
    options: ScoringOptions | None = None,
    extras: Sequence[str] = (),
    keep_outcomes: bool = False,
    workers: Workers | None = None,
) -> OverlapScores:
    """`overlap_ap` over all images of one task; sides whose sizes differ are an `InputError` naming the image.

    With `workers` they share the images.
    """
    chosen, predicted = references.of_task(task), predictions.of_task(task)
    if not chosen:
        raise InputError(f"{references.path} holds no image; nothing is left to score")
    _check_sizes(chosen, predicted, references.names)
    pairs = [(predicted[key], side) for key, side in chosen.items()]
    if workers is None or workers.alone:
        return overlap_ap(pairs, options, extras, keep_outcomes=keep_outcomes)
    options = options or ScoringOptions()
    check_extras(extras)
    portions = [pairs[begin : begin + IMAGES_A_PIECE] for begin in range(0, len(pairs), IMAGES_A_PIECE)]
    outcomes = sorted(workers.run(_score_images, portions, (options, extras, keep_outcomes)), key=lambda o: o.position)
    return pooled_scores([image for o in outcomes for image in o.get()], options, extras, keep_outcomes=keep_outcomes)


def _score_images(
    shared: tuple[ScoringOptions, Sequence[str], bool], pairs: Sequence[tuple[Instances, Instances]]
) -> list[ScoredImage]:
    """Some images' part of the scores."""
    return [score_image(predictions, references, *shared) for predictions, references in pairs]


def write_matches(path: Path, names: Sequence[str], outcomes: Sequence[ImageOutcomes]) -> None:
    """A CSV file of what became of every scored object, at the first threshold."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["image", "outcome", "prediction", "reference", "iou"])
        table.writeheader()
        for name, image in zip(names, outcomes, strict=True):
            table.writerows(image.rows(image=name))


def draw_outcomes(path: Path, outcomes: ImageOutcomes, image: Path | None = None) -> None:
    """An overlay: true positives green, false positives vermillion, missed references sky blue.

    Raises `InputError` where the image isn't of the references' size.
    """
    from PIL import Image

    from glioma_hf.data.images import read_image, to_uint8
    from glioma_hf.draw import draw_outlines

    size = outcomes.references.size
    grey = to_uint8(read_image(image)) if image else np.full(size, 40, np.uint8)
    if grey.shape != size:
        raise InputError(f"{image} is of size {list(grey.shape)}, its references of {list(size)}")
    picture = Image.fromarray(np.repeat(grey[..., None], 3, 2))
    lost = outcomes.false_negatives
    draw_outlines(picture, lost, [OUTCOME_COLOURS["fn"]] * len(lost))
    draw_outlines(picture, outcomes.predictions, [OUTCOME_COLOURS[kind] for kind in outcomes.kinds])
    picture.save(path)


def _image_of(name: str, folder: Path, names: Sequence[str]) -> Path:
    """Where an image lies: by its own path, or by its base name where no other image has it."""
    own = folder / name.replace("\\", "/")
    if own.is_file() and own.resolve().is_relative_to(folder.resolve()):
        return own
    base = own.name
    if sum(PurePosixPath(other.replace("\\", "/")).name == base for other in names) > 1:
        raise InputError(f"{folder}: {name} isn't there, and {base} may be several images; keep their folders")
    return folder / base


@dataclass(frozen=True)
class FilesAgreement:
    """How far annotations of the same images agree: over all images, and per image by file name.

    `notes` are as those of an `Evaluation`, of each source against the first.
    """

    pooled: Agreement
    names: tuple[str, ...]
    task: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `agreement.json` has it: {"pooled": matrix, "images": {file name: matrix}}, see `Agreement.to_dict`."""
        images = {name: self.pooled.image(i).to_dict() for i, name in enumerate(distinct(self.names))}
        return {"pooled": self.pooled.to_dict(), "images": images}

    def write(self, out: str | Path) -> None:
        """The folder `out` with `agreement.json` and a picture per threshold, whole or not at all."""
        options = next(iter(self.pooled.scores.values())).options
        with new_folder(out, AGREEMENT) as folder:
            (folder / "agreement.json").write_text(json.dumps(self.to_dict(), indent=2))
            for threshold in options.thresholds:
                path = folder / f"agreement_ap{100 * threshold:.4g}.png"
                self.pooled.plot(threshold, path, title=self.task)


def agree_files(
    sources: Mapping[str, str | Path],
    task: str = "cells",
    voters: Sequence[str] = (),
    options: ScoringOptions | None = None,
    on_progress: OnProgress = ignore,
) -> FilesAgreement:
    """Agreement of several annotations of the same images (Table 3).

    Args:
        sources: files or folders by name; the first names the images and their sizes (COCO, or a prepared data
            set), the others are read as predictions of these.
        task: "cells", "soma", "cell_a", "cell_b", one of the file's own categories, or "all".
        voters: names whose majority vote joins as one more source, "consensus".
        options: as for `overlap_ap`.
        on_progress: hears the notes.

    Raises `InputError` for files that can't be read or hold other images, for an unknown task and an unknown voter,
    and for a source called "consensus" beside a vote.
    """
    if voters and CONSENSUS in sources:
        raise InputError(f"a source is called {CONSENSUS}, as the vote is; give it another name")
    first, *others = sources
    repairs = Repairs(on_progress=on_progress, word="noted", most=CASES_TOLD)
    base = read_references(sources[first], repairs=repairs)
    sets = {first: base} | {name: read_predictions(sources[name], base, repairs) for name in others}
    notes = [note for name in others for note in notes_on(base, sets[name], task)] + _repaired(repairs)
    for note in notes:
        on_progress(Progress(note))
    keys: list[ImageKey] = list(base.instances)
    sides: dict[str, list[Instances]] = {}
    for name, source in sets.items():
        chosen = source.of_task(task)
        sides[name] = [chosen[key] for key in keys]
    if voters:
        missing = [name for name in voters if name not in sides]
        if missing:
            raise InputError(f"the consensus asks for {missing[0]}, which isn't among {', '.join(sides)}")
        sides[CONSENSUS] = [consensus([sides[name][i] for name in voters]) for i in range(len(keys))]
    return FilesAgreement(agreement(sides, options), tuple(base.names[key] for key in keys), task, tuple(notes))
