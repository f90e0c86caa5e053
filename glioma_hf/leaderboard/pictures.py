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
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.overlap_ap import score_image
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.palette import OUTCOME_COLOURS

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, COMPARED, CROPPED = 640, 1600, 320  # pixels of the longer side, at most
CROP, MARGIN = 48, 24  # pixels around a cell: the least, and what is shown beside it
REFERENCE = (86, 180, 233)


def picture(data_set: DataSet, split: str, file_name: str, outlines: str = "") -> bytes:
    """A JPEG of an image, with outlines of the references of a task, "all" or none of them.

    Raises `InputError` where the data set hasn't it, or its references are hidden.
    """
    if outlines and data_set.hidden:
        raise InputError("the references of this data set are hidden")
    return _picture(str(folder_of(data_set)), split, file_name, outlines)


def compared(
    data_set: DataSet, split: str, objects: str, file_name: str, predictions: Path, small: bool = False
) -> bytes:
    """A JPEG of an image with a model's predictions by what became of them, and the references that it missed.

    Where references are hidden, predictions alone, in one colour. Raises `InputError` where one of them isn't there.
    """
    place, side = str(folder_of(data_set)), SIDE if small else COMPARED
    return _compared(place, split, objects, file_name, str(predictions), data_set.hidden, side)


def missed_cell(data_set: DataSet, split: str, objects: str, file_name: str, predictions: Path, number: int) -> bytes:
    """A JPEG of what lies around a reference that a model missed; number 0 is the largest.

    Raises `InputError` where it missed fewer, or references are hidden.
    """
    if data_set.hidden:
        raise InputError("the references of this data set are hidden")
    return _missed(str(folder_of(data_set)), split, objects, file_name, str(predictions), number)


@lru_cache(maxsize=256)
def _compared(
    folder: str, split: str, objects: str, file_name: str, predictions: str, hidden: bool, side: int
) -> bytes:
    drawn = _opened(folder, split, file_name)
    if hidden:
        _, found = _sides(folder, split, objects, file_name, predictions)
        draw_outlines(drawn, found, [REFERENCE] * len(found))
    else:
        _draw(drawn, _judged(folder, split, objects, file_name, predictions))
    return _jpeg(drawn, side)


@lru_cache(maxsize=256)
def _missed(folder: str, split: str, objects: str, file_name: str, predictions: str, number: int) -> bytes:
    outcomes = _judged(folder, split, objects, file_name, predictions)
    lost = outcomes.false_negatives
    if not 0 <= number < len(lost):
        raise InputError("there is no such picture")
    chosen = lost.select(np.argsort(-lost.areas, kind="stable")[number : number + 1])
    ((mask, (top, left)),) = chosen.box_masks()
    drawn = _opened(folder, split, file_name)
    _draw(drawn, outcomes)
    half = max(*mask.shape, CROP) // 2 + MARGIN
    y, x = top + mask.shape[0] // 2, left + mask.shape[1] // 2
    corner = [
        min(max(middle - half, 0), max(whole - 2 * half, 0)) for middle, whole in zip((x, y), drawn.size, strict=True)
    ]
    crop = drawn.crop((*corner, min(corner[0] + 2 * half, drawn.width), min(corner[1] + 2 * half, drawn.height)))
    return _jpeg(crop.resize((CROPPED, round(CROPPED * crop.height / crop.width))), CROPPED)


@lru_cache(maxsize=64)
def _judged(folder: str, split: str, objects: str, file_name: str, predictions: str) -> ImageOutcomes:
    """What became of the objects of both sides."""
    expected, found = _sides(folder, split, objects, file_name, predictions)
    outcomes = score_image(found, expected, ScoringOptions(), keep_outcomes=True).outcomes
    assert outcomes is not None
    return outcomes


def _sides(folder: str, split: str, objects: str, file_name: str, predictions: str) -> tuple[Instances, Instances]:
    """References and predictions of an image. Raises `InputError` where it isn't in the split."""
    references = _references(folder, split)
    keys = {name: key for key, name in references.names.items()}
    if file_name not in keys:
        raise InputError(f"there is no image {file_name[:80]!r} in {split}")
    expected = references.of_task(objects)[keys[file_name]]
    found = image_of(predictions, file_name, references.kinds.tasks()[objects])
    return expected, found or Instances.empty(expected.size)


def _draw(drawn: Image, outcomes: ImageOutcomes) -> None:
    lost = outcomes.false_negatives
    draw_outlines(drawn, lost, [OUTCOME_COLOURS["fn"]] * len(lost))
    draw_outlines(drawn, outcomes.predictions, [OUTCOME_COLOURS[kind] for kind in outcomes.kinds])


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
