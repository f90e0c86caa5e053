"""Jobs of the processes that read visitors' files: images, outlines, scores, and what is shown and downloaded.

Each takes `tell` first; nothing here needs torch or Gradio.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from kept import keep_cells, keep_image, kept_cells, kept_image, kept_size
from samples import sample
from shown import NO_IMAGE, payload

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import read_predictions, read_references
from glioma_hf.data.exports import read_rois
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import read_image
from glioma_hf.data.sources.cocofile import CocoFile
from glioma_hf.jsonfile import parse_json
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.scores import OverlapScores, shown
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.palette import OUTCOME_COLOURS, hex_of
from glioma_hf.progress import OnProgress
from glioma_hf.workflows.outputs import results, write_instances

MOST_TAUGHT = 2**12  # pixels of a side of an image taught on from the page
MOST_OUTLINES = 32 * 2**20  # bytes of JSON with the outlines of one image
MOST_CHOICES = 500  # images of a pair of files that can be looked at
ENDS = ("_coco.json", "_shapes.csv", "_rois.zip", "_labels.tif", "_overlay.png")
OUTCOMES = {kind: hex_of(colour) for kind, colour in OUTCOME_COLOURS.items()}
# The viewer also dashes what was missed.
WORDS = {"tp": "true positives", "fp": "false positives", "fn": "missed"}
ROWS = ("ap", "f1", "precision", "recall", "tp", "fp", "fn")


def open_image(tell: OnProgress, upload: str | None, sample_name: str, folder: str) -> None:
    """Keep the pixels of an upload, or else of a sample, in a visitor's folder."""
    keep_image(folder, read_image(upload) if upload else sample(sample_name)[0])


def show_cells(tell: OnProgress, folder: str, name: str, pixel_size: float, threshold: float) -> tuple[dict, list[str]]:
    """(what the viewer shows of the cells kept as "cells", files to download at a score threshold)."""
    pixels, (cells, _) = kept_image(folder), kept_cells(folder, "cells")
    shown = payload(pixels, cells, pixel_size=pixel_size, threshold=threshold)
    return shown, _write_files(pixels, cells, folder, name, pixel_size, threshold)


def write_files(tell: OnProgress, folder: str, name: str, pixel_size: float, threshold: float) -> list[str]:
    """The downloads at a score threshold: COCO results, shapes, ImageJ regions, label map, overlay."""
    return _write_files(kept_image(folder), kept_cells(folder, "cells")[0], folder, name, pixel_size, threshold)


def as_results(tell: OnProgress, folder: str, threshold: float) -> dict[str, Any]:
    """The cells kept as "cells" from a score on, as programs are given them."""
    cells, _ = kept_cells(folder, "cells")
    cells = cells.select(cells.scores >= threshold)
    return {"width": cells.size[1], "height": cells.size[0], "results": results(cells, 1)}


def _write_files(
    pixels: np.ndarray, cells: Instances, folder: str, name: str, pixel_size: float, threshold: float
) -> list[str]:
    cells = cells.select(cells.scores >= threshold)
    targets = [Path(folder) / f"{name}{end}" for end in ENDS]
    files = dict(zip(("results", "shapes", "rois", "labels", "overlay"), targets, strict=True))
    write_instances(files, pixels, cells, pixel_size=pixel_size or 1.0)
    return [str(target) for target in targets]


def open_lesson(tell: OnProgress, upload: str | None, sample_name: str, folder: str) -> tuple[dict, bool]:
    """Keep an image to teach on; (what the viewer shows, whether its outlines are known: those of a sample are)."""
    if upload:
        pixels, cells = read_image(upload), None
        if max(pixels.shape[:2]) > MOST_TAUGHT:
            raise InputError(f"{Path(upload).name} is larger than {MOST_TAUGHT} pixels; crop it for teaching")
    else:
        pixels, everything = sample(sample_name)
        cells = everything.select(everything.categories != CATEGORIES.index("soma"))
        keep_cells(folder, "given", cells)
    keep_image(folder, pixels)
    return payload(pixels, cells, draw=True), cells is not None


def add_outlines(tell: OnProgress, path: str, folder: str) -> tuple[dict, int]:
    """Keep the outlines of an uploaded file for the image of a lesson; (what the viewer shows, how many)."""
    cells = read_outlines(path, kept_size(folder))
    keep_cells(folder, "given", cells)
    return payload(kept_image(folder), cells, draw=True), len(cells)


def read_outlines(path: str, size: tuple[int, int]) -> Instances:
    """Instances from an uploaded COCO file, COCO results or ImageJ ROI zip, for an image of (height, width)."""
    name, data = Path(path).name, Path(path).read_bytes()
    if data[:2] == b"PK":
        return read_rois(data, size, name)
    try:
        content = parse_json(data, name, MOST_OUTLINES)
    except InputError as error:
        raise InputError(f"{name} is neither COCO JSON nor a zip of ImageJ regions ({error})") from None
    if isinstance(content, dict):
        coco = CocoFile(io.BytesIO(data), name)
        content = [annotation for image in coco.image_ids() for annotation in coco.annotations(image)]
    if not isinstance(content, list) or not all(isinstance(a, dict) for a in content):
        raise InputError(f"{name} isn't a list of COCO results")
    images = len({json.dumps(a.get("image_id")) for a in content})
    if images > 1:
        raise InputError(f"{name} is of {images} images; give the outlines of one")
    # Every category of a visitor's file is a cell.
    outlines = [{**a, "id": i, "category_id": 0} for i, a in enumerate(content, start=1)]
    return Instances.from_coco(outlines, size)


def gather(tell: OnProgress, folder: str, given: bool, drawn: list[list[float]]) -> int:
    """Keep all outlines of a lesson, read and drawn, as "cells"; how many. Raises `InputError` where there are none."""
    size = kept_size(folder)
    cells = kept_cells(folder, "given")[0] if given else Instances.empty(size)
    cells = Instances.from_rles([*cells.rles, *Instances.from_polygons([[o] for o in drawn], size).rles], size)
    cells = cells.select(cells.areas > 0)
    if not len(cells):
        raise InputError("There is no outline yet: upload some, or draw around cells with the pencil.")
    keep_cells(folder, "cells", cells)
    return len(cells)


def score(tell: OnProgress, references: str, predictions: str, flattened: bool, folder: str) -> dict[str, Any]:
    """Score a pair of files and keep each image's outcomes under its number.

    Returns `names` of the images, the `table`, the AP `curve` by IoU threshold and a sentence, `told`.
    """
    options = ScoringOptions(mode="flattened" if flattened else "overlapping")
    reference_set = read_references(references)
    prediction_set = read_predictions(predictions, reference_set)
    scores = score_sets(reference_set, prediction_set, "all", options, extras=["curve"], keep_outcomes=True)
    names = [f"{key}: {reference_set.names[key]}" for key in reference_set.instances]
    for number, outcomes in enumerate((scores.outcomes or ())[:MOST_CHOICES]):
        keep_cells(folder, str(number), *both_sides(outcomes))
    told = f"{scores.images} images, {scores.references} references and {scores.predictions} predictions counted."
    return {"names": names[:MOST_CHOICES], "table": table(scores), "curve": dict(scores.curve or {}), "told": told}


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


def show_outcomes(tell: OnProgress, folder: str, number: int, image: str | None) -> dict[str, Any]:
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
    return payload(pixels, both, kinds, OUTCOMES, legend, counts=list(WORDS.items()))
