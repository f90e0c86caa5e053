"""Jobs for the tab Score: predictions against references, by the paper's metric. Nothing here needs torch or Gradio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from kept import keep_cells, kept_cells
from shown import NO_IMAGE, payload, several

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import InstanceSet, read_predictions, read_references
from glioma_hf.data.images import read_image
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.scores import OverlapScores, shown
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.palette import OUTCOME_COLOURS, hex_of
from glioma_hf.progress import OnProgress

MOST_CHOICES = 500  # images of a pair of files that can be looked at
OUTCOMES = {kind: hex_of(colour) for kind, colour in OUTCOME_COLOURS.items()}
# The viewer also dashes what was missed.
WORDS = {"tp": "true positives", "fp": "false positives", "fn": "missed"}
ONE = {"tp": "true positive", "fp": "false positive", "fn": "missed"}  # of them
ROWS = ("ap", "f1", "precision", "recall", "tp", "fp", "fn")
FEW = 3  # names that are told


def look_over(tell: OnProgress, references: str, predictions: str) -> list[str]:
    """What is to be known of a pair of files before it is scored, a sentence each."""
    reference_set = read_references(references)
    return sentences(reference_set, read_predictions(predictions, reference_set))


def sentences(references: InstanceSet, predictions: InstanceSet) -> list[str]:
    """How the images of both sides are matched."""
    images = references.instances
    without = [references.names[key] for key in images if not len(predictions.instances[key])]
    total = sum(len(side) for side in predictions.instances.values())
    told = [f"{several(len(images), 'image')} in the references, {several(total, 'prediction')}."]
    if without:
        have = "image has" if len(images) == 1 else "images have"
        told.append(f"{len(without)} of {len(images)} {have} no predictions: {some(without)}.")
    if predictions.unknown:
        told.append(f"Predictions of {some(predictions.unknown)} are left out: the references lack these images.")
    return told


def some(names: Any) -> str:
    """The first of some names."""
    return ", ".join(list(names)[:FEW]) + (" ..." if len(names) > FEW else "")


def left_out(given: InstanceSet, counted: int, what: str, options: ScoringOptions) -> str:
    """Why fewer objects are scored than are in a file; nothing where all are."""
    total = sum(int((~side.crowd).sum()) for side in given.instances.values())
    border = sum(int((side.touching_border(options.border) & ~side.crowd).sum()) for side in given.instances.values())
    if counted == total:
        return ""
    told = f"{total - counted} of {total} {what} aren't scored"
    if border:
        told += (
            f": {border} touch the border of their image ({options.border} pixels), which the paper's metric leaves out"
        )
    return f"{told}."


def score(tell: OnProgress, references: str, predictions: str, flattened: bool, folder: str) -> dict[str, Any]:
    """Score a pair of files and keep each image's outcomes under its number.

    Returns `names` of the images, of their `files` too, the `table`, the AP `curve` by IoU threshold and sentences,
    `told`.
    """
    options = ScoringOptions(mode="flattened" if flattened else "overlapping")
    reference_set = read_references(references)
    prediction_set = read_predictions(predictions, reference_set)
    scores = score_sets(reference_set, prediction_set, "all", options, extras=["curve"], keep_outcomes=True)
    names = [f"{key}: {reference_set.names[key]}" for key in reference_set.instances]
    for number, outcomes in enumerate((scores.outcomes or ())[:MOST_CHOICES]):
        keep_cells(folder, str(number), *both_sides(outcomes))
    sides = f"{several(scores.references, 'reference')} and {several(scores.predictions, 'prediction')}"
    counts = f"{several(scores.images, 'image')}, {sides} scored."
    told = [
        counts,
        *sentences(reference_set, prediction_set)[1:],
        left_out(prediction_set, scores.predictions, "predictions", options),
        left_out(reference_set, scores.references, "references", options),
    ]
    return {
        "names": names[:MOST_CHOICES],
        "files": [str(reference_set.names[key]) for key in reference_set.instances][:MOST_CHOICES],
        "table": table(scores),
        "curve": dict(scores.curve or {}),
        "told": [t for t in told if t],
    }


def both_sides(outcomes: ImageOutcomes) -> tuple[Instances, list[str]]:
    """Predictions and what was missed as one set, and of each what became of it."""
    predictions, missed = outcomes.predictions, outcomes.false_negatives
    ids = np.arange(1, len(predictions) + len(missed) + 1)
    both = Instances.from_rles([*predictions.rles, *missed.rles], predictions.size, ids=ids)
    return both, [*outcomes.kinds, *["fn"] * len(missed)]


def table(scores: OverlapScores) -> dict[str, list[str]]:
    """AP, F1, precision, recall and counts, a column for each IoU threshold."""
    columns = {"score": [name.upper() if len(name) == 2 else name for name in ROWS]}
    for threshold in scores.options.thresholds:
        columns[f"IoU {threshold:.2f}"] = [shown(getattr(scores.at(threshold), name)) for name in ROWS]
    return columns


def show_outcomes(tell: OnProgress, folder: str, number: int, image: str | None) -> str:
    """What the viewer shows of one scored image: true positives, false positives, missed."""
    both, kinds = kept_cells(folder, str(number))
    pixels = NO_IMAGE
    if image:
        pixels = read_image(image)
        if pixels.shape[:2] != both.size:
            raise InputError(
                f"{Path(image).name} is {pixels.shape[1]} x {pixels.shape[0]}, its references are of "
                f"{both.size[1]} x {both.size[0]}"
            )
    legend = [(WORDS[kind], colour) for kind, colour in OUTCOMES.items()]
    return payload(pixels, both, kinds, OUTCOMES, legend, counts=list(WORDS.items()), words=ONE)
