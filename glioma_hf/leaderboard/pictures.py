"""Images of a data set as browsers show them: small JPEGs, with outlines of references where these may be seen."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glioma_hf.benchmark.scoring_files import InstanceSet, read_references
from glioma_hf.data.images import decode_image, to_uint8
from glioma_hf.data.parquet import image_bytes, split_rows
from glioma_hf.data.splits import annotated_rows, find_split
from glioma_hf.draw import draw_outlines
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.leaderboard.board import folder_of
from glioma_hf.leaderboard.predictions import image_of
from glioma_hf.leaderboard.tables import DataSet
from glioma_hf.metrics.overlap_ap import score_image
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.palette import OUTCOME_COLOURS

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, COMPARED = 640, 1600  # pixels of the longer side, at most
REFERENCE = (86, 180, 233)


def picture(data_set: DataSet, split: str, file_name: str, outlines: str = "") -> bytes:
    """A JPEG of an image, with outlines of the references of a task, "all" or none of them.

    Raises `InputError` where the data set hasn't it, or its references are hidden.
    """
    if outlines and data_set.hidden:
        raise InputError("the references of this data set are hidden")
    return _picture(str(folder_of(data_set)), split, file_name, outlines)


def compared(data_set: DataSet, split: str, objects: str, file_name: str, predictions: Path) -> bytes:
    """A JPEG of an image with a model's predictions by what became of them, and the references that it missed.

    Where references are hidden, predictions alone, in one colour. Raises `InputError` where one of them isn't there.
    """
    return _compared(str(folder_of(data_set)), split, objects, file_name, str(predictions), data_set.hidden)


@lru_cache(maxsize=256)
def _compared(folder: str, split: str, objects: str, file_name: str, predictions: str, hidden: bool) -> bytes:
    references = _references(folder, split)
    keys = {name: key for key, name in references.names.items()}
    if file_name not in keys:
        raise InputError(f"there is no image {file_name[:80]!r} in {split}")
    expected = references.of_task(objects)[keys[file_name]]
    found = image_of(predictions, file_name, references.kinds.tasks()[objects]) or Instances.empty(expected.size)
    drawn = _opened(folder, split, file_name)
    if hidden:
        draw_outlines(drawn, found, [REFERENCE] * len(found))
        return _jpeg(drawn, COMPARED)
    outcomes = score_image(found, expected, ScoringOptions(), keep_outcomes=True).outcomes
    assert outcomes is not None
    lost = outcomes.false_negatives
    draw_outlines(drawn, lost, [OUTCOME_COLOURS["fn"]] * len(lost))
    draw_outlines(drawn, outcomes.predictions, [OUTCOME_COLOURS[kind] for kind in outcomes.kinds])
    return _jpeg(drawn, COMPARED)


@lru_cache(maxsize=256)
def _picture(folder: str, split: str, file_name: str, outlines: str) -> bytes:
    drawn = _opened(folder, split, file_name)
    if outlines:
        references = _references(folder, split)
        keys = {name: key for key, name in references.names.items()}
        objects = references.of_task(outlines)[keys[file_name]]
        draw_outlines(drawn, objects, [REFERENCE] * len(objects))
    return _jpeg(drawn, SIDE)


def _opened(folder: str, split: str, file_name: str) -> Image:
    """An image in RGB."""
    from PIL import Image as images

    number = _numbers(folder, split).get(file_name)
    if number is None:
        raise InputError(f"there is no image {file_name[:80]!r} in {split}")
    row = next(split_rows(folder, find_split(folder, split), folder, [number], image=True))
    shown = to_uint8(decode_image(image_bytes(row, folder), file_name))
    return images.fromarray(shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, 2))


def _jpeg(drawn: Image, side: int) -> bytes:
    drawn.thumbnail((side, side))
    data = io.BytesIO()
    drawn.save(data, "JPEG", quality=85)
    return data.getvalue()


@lru_cache(maxsize=4)
def _references(folder: str, split: str) -> InstanceSet:
    return read_references(folder, split)


@lru_cache(maxsize=8)
def _numbers(folder: str, split: str) -> dict[str, int]:
    """Of each image of a split its number."""
    return {row["file_name"]: number for number, (row, _) in enumerate(annotated_rows(Path(folder), split), start=1)}
