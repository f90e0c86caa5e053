"""Images of a data set as browsers show them: small JPEGs, with outlines of references where these may be seen."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np

from glioma_hf.data.images import decode_image, to_uint8
from glioma_hf.data.parquet import image_bytes, split_rows
from glioma_hf.data.splits import annotated_rows, find_split
from glioma_hf.draw import draw_outlines
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.leaderboard.board import folder_of
from glioma_hf.leaderboard.tables import DataSet

SIDE = 640  # pixels of the longer side, at most
REFERENCE = (86, 180, 233)


def picture(data_set: DataSet, split: str, file_name: str, outlines: bool = False) -> bytes:
    """A JPEG of an image. Raises `InputError` where the data set hasn't it, or its references are hidden."""
    if outlines and data_set.hidden:
        raise InputError("the references of this data set are hidden")
    return _picture(str(folder_of(data_set)), split, file_name, outlines)


@lru_cache(maxsize=256)
def _picture(folder: str, split: str, file_name: str, outlines: bool) -> bytes:
    from PIL import Image

    number, objects = _numbers(folder, split).get(file_name, (0, None))
    if objects is None:
        raise InputError(f"there is no image {file_name[:80]!r} in {split}")
    row = next(split_rows(folder, find_split(folder, split), folder, [number], image=True))
    shown = to_uint8(decode_image(image_bytes(row, folder), file_name))
    drawn = Image.fromarray(shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, 2))
    if outlines:
        draw_outlines(drawn, objects, [REFERENCE] * len(objects))
    drawn.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    drawn.save(data, "JPEG", quality=85)
    return data.getvalue()


@lru_cache(maxsize=8)
def _numbers(folder: str, split: str) -> dict[str, tuple[int, Instances]]:
    """Of each image of a split its number and its references."""
    rows = annotated_rows(Path(folder), split)
    return {row["file_name"]: (number, objects) for number, (row, objects) in enumerate(rows, start=1)}
