"""Jobs on session files: what a visitor did to some images, to be opened again where it was left."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corrections import EDITS, Sheet, cells_from, cells_to
from kept import keep_cells, kept_size

from glioma_hf import InputError, Instances, __version__
from glioma_hf.instances import check_size
from glioma_hf.jsonfile import parse_json
from glioma_hf.progress import OnProgress

MARK = "glioma_hf_session"
MOST_BYTES = 64 * 2**20
KEPT = ("name", "page", "width", "height", "pixel", "model", "threshold", "own_threshold", "date")


def session(images: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The session of some images, (folder, facts) each, as JSON: cells, corrections, models and thresholds."""
    told = []
    for folder, facts in images:
        sheet = Sheet(folder)
        edits = [[cells_to(side, sheet.size) for side in edit] for edit in sheet.edits]
        told.append(
            {**{name: facts[name] for name in KEPT}, "cells": cells_to(sheet.cells, sheet.size), "edits": edits}
        )
    return json.dumps({MARK: 1, "glioma_hf": __version__, "images": told})


def read_session(tell: OnProgress, path: str) -> list[tuple[str, int]]:
    """(name, page) of the images of a session file. Raises `InputError` for another file."""
    return [(row["name"], row["page"]) for row in _images(path)]


def restore(tell: OnProgress, path: str, number: int, folder: str) -> dict[str, Any]:
    """Put one image of a session file into a visitor's folder that holds its pixels; facts of it."""
    name, row = Path(path).name, _images(path)[number]
    size = kept_size(folder)
    if check_size((row["height"], row["width"])) != size:
        raise InputError(
            f"{name}: its {row['name']} is {row['width']} x {row['height']}, the image of that name "
            f"{size[1]} x {size[0]}; give the image that it was made of"
        )
    cells = cells_from(row.get("cells"), size)
    if len({cell.id for cell in cells}) < len(cells) or any(cell.id < 1 for cell in cells):
        raise InputError(f"{name}: its cells have ids that aren't told apart; it was changed by hand")
    edits = row.get("edits")
    if not isinstance(edits, list) or not all(isinstance(edit, list) and len(edit) == 2 for edit in edits):
        raise InputError(f"{name}: its corrections can't be read")
    known = [(cells_from(away, size), cells_from(made, size)) for away, made in edits]
    columns = {"scores": [c.score for c in cells], "ids": [c.id for c in cells]}
    keep_cells(folder, "cells", Instances.from_rles([c.rle for c in cells], size, **columns), [c.kind for c in cells])
    kept = [[cells_to(side, size) for side in edit] for edit in known]
    (Path(folder) / EDITS).write_text(json.dumps(kept))
    return {
        "pixel": float(row["pixel"]),
        "model": row["model"],
        "by": "",
        "threshold": float(row["threshold"]),
        "own_threshold": float(row["own_threshold"]),
        "date": row["date"],
        "corrections": len(known),
        "count": sum(cell.score >= row["threshold"] for cell in cells),
    }


def _images(path: str) -> list[dict[str, Any]]:
    name = Path(path).name
    content = parse_json(Path(path).read_bytes(), name, MOST_BYTES)
    if not isinstance(content, dict) or MARK not in content:
        raise InputError(f"{name}: not a session of this page; give an image, or a session together with its image")
    rows = content.get("images")
    kinds = {"name": str, "page": int, "width": int, "height": int, "model": str, "date": str}
    whole = isinstance(rows, list) and all(
        isinstance(row, dict)
        and all(isinstance(row.get(field), kind) for field, kind in kinds.items())
        and all(_is_number(row.get(field)) for field in ("pixel", "threshold", "own_threshold"))
        and len(row["model"]) < 200
        and len(row["date"]) < 40
        for row in rows
    )
    if not whole or not rows:
        raise InputError(f"{name}: this session can't be read; it was cut off or changed by hand")
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e6
