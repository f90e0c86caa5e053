"""Rows of data sets and objects in any library's types -> plain dicts, lists and numbers.

`datasets` gives a row as what was asked for: dicts of arrays or tensors, a table of Arrow, a frame of pandas or Polars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glioma_hf.errors import InputError


def plain_row(row: Any) -> dict[str, Any]:
    """A row with `objects` and `ignored` as lists of dicts of numbers, and whole numbers as width and height.

    What is in neither of these columns stays as it is. Raises `InputError` for a table of other than one row, and
    where `objects`, `width` or `height` is missing.

    >>> plain_row({"width": np.int32(9), "height": 7, "objects": {"id": np.array([4]), "category": [0]}})
    {'width': 9, 'height': 7, 'objects': [{'id': 4, 'category': 0}]}
    """
    if _is_plain(row):
        return row
    for listed in ("to_pylist", "to_dicts"):  # the formats "arrow" and "polars"
        if hasattr(row, listed):
            row = _only(getattr(row, listed)())
    if hasattr(row, "to_dict") and hasattr(row, "columns"):  # "pandas"
        row = _only(row.to_dict("records"))
    if not isinstance(row, Mapping) or not {"width", "height", "objects"} <= set(row):
        raise InputError("a row of a data set has the columns width, height and objects; this one doesn't")
    made = dict(row)
    for name in ("width", "height"):
        made[name] = plain(row[name])
    for name in ("objects", "ignored"):
        if name in row:
            made[name] = _objects(row[name], name)
    return made


def plain(value: Any) -> Any:
    """Lists and numbers of arrays and tensors, nested as they may be; anything else stays.

    Numbers of single precision become the shortest decimal that is them, which they mostly were before: 12.35, not
    12.3500003815.
    """
    if isinstance(value, str | bytes | int | float) or value is None:
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype == np.float32:
            value = np.asarray(value).astype(str).astype(np.float64)
        value = value.tolist()
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float):
        return [plain(item) for item in value]
    return value


def _is_plain(row: Any) -> bool:
    """Whether a row is as JSON has it, which most are: this is fast."""
    if type(row) is not dict or type(row.get("width")) is not int or type(row.get("objects")) is not list:
        return False
    listed = [*row["objects"][:1], *(row.get("ignored") or ())[:1]]
    return all(type(item) is dict and type(item.get("segmentation")) is list for item in listed)


def _only(rows: list[Any]) -> Any:
    if len(rows) != 1:
        raise InputError(f"{len(rows)} rows of a data set for one image; give one")
    return rows[0]


def _objects(column: Any, name: str) -> list[dict[str, Any]]:
    """A column of objects as a list of dicts, also where a library made a dict of lists of it."""
    if column is None:
        return []
    if isinstance(column, Mapping):
        columns = {key: plain(values) for key, values in column.items()}
        return [dict(zip(columns, item, strict=True)) for item in zip(*columns.values(), strict=True)]
    items = list(column)
    if not all(isinstance(item, Mapping) for item in items):
        raise InputError(f"the column {name} of a row holds dicts; this one holds other things")
    return [{key: plain(value) for key, value in item.items()} for item in items]
