"""What the viewer is told of an image and its cells."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from glioma_hf import Instances
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import to_uint8
from glioma_hf.palette import CATEGORY_COLOURS, hex_of
from glioma_hf.rle import contours
from glioma_hf.shape import shape_table

COLOURS = {name: hex_of(colour) for name, colour in CATEGORY_COLOURS.items()}
PLAIN = COLOURS["cell"]
COLUMNS = ["id", "score", "area", "axis_ratio", "solidity", "major_axis", "minor_axis", "x", "y"]
MOST_SHOWN = 2**24  # pixels of the picture; a larger image is shown at a fraction of its size
MOST_SIDE = 2**16 - 2**8  # of a JPEG
NO_IMAGE = np.full((1, 1), 60, np.uint8)  # the ground where there is no image; it is stretched to the size


def payload(
    image: np.ndarray,
    instances: Instances | None,
    kinds: Sequence[str] | None = None,
    colours: dict[str, str] | None = None,
    legend: Sequence[tuple[str, str]] = (),
    counts: Sequence[tuple[str, str]] = (),
    pixel_size: float = 0.0,
    threshold: float = 0.0,
    draw: bool = False,
) -> dict[str, Any]:
    """What the viewer shows.

    Args:
        image: any that `read_image` gives, or `NO_IMAGE`.
        instances: its cells; with scores they can be thresholded.
        kinds: of each cell; its category where left out.
        colours: by kind.
        legend: (words, colour) below the image.
        counts: (kind, word) counted in the summary instead of cells and somata.
        pixel_size: micrometres; 0 where it isn't known.
        draw: whether outlines can be drawn.
    """
    instances = instances if instances is not None else Instances.empty(image.shape[:2])
    colours = colours or COLOURS
    kinds = kinds if kinds is not None else [CATEGORIES[c] for c in instances.categories]
    table = shape_table(instances, pixel_size or 1.0).set_index("id")
    cells = []
    for position, (mask, corner) in enumerate(instances.box_masks()):
        number = int(instances.ids[position])
        if not mask.any():
            continue
        row = {name: round(float(table.at[number, name]), 4) for name in COLUMNS[2:]}
        if instances.scores is not None:
            row["score"] = round(float(instances.scores[position]), 4)
        kind = kinds[position]
        rings = [np.round(points, 1).ravel().tolist() for points in contours(mask, corner)]
        cells.append(
            {"id": number, "kind": kind, "colour": colours[kind], "dashed": kind == "fn", "rings": rings, **row}
        )
    height, width = instances.size
    scored = instances.scores is not None
    return {
        "image": data_url(image),
        "width": width,
        "height": height,
        "cells": cells,
        "columns": [c for c in COLUMNS if c != "score" or scored] + (["kind"] if len(set(kinds)) > 1 else []),
        "scored": scored,
        "threshold": threshold if scored else 0.0,
        "plain": PLAIN if not counts else "",
        "legend": [list(entry) for entry in legend],
        "counts": [list(entry) for entry in counts] or None,
        "pixel": pixel_size,
        "draw": draw,
    }


def data_url(image: np.ndarray) -> str:
    """The image inside the answer itself: nobody but its visitor can ask for it."""
    height, width = image.shape[:2]
    step = int(np.ceil(max(np.sqrt(height * width / MOST_SHOWN), max(height, width) / MOST_SIDE)))
    image = image[::step, ::step]
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
