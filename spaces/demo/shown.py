"""What the viewer is told of an image and its cells."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from PIL import Image

from glioma_hf import Instances
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import to_uint8
from glioma_hf.palette import CATEGORY_COLOURS, SERIES, category_word, hex_of
from glioma_hf.rle import contours
from glioma_hf.shape import shape_table

COLOURS = {name: hex_of(colour) for name, colour in CATEGORY_COLOURS.items()}
PLAIN = COLOURS["cell"]
OWN = [hex_of(colour) for colour in SERIES]
MEASURES = (
    "area",
    "perimeter",
    "axis_ratio",
    "eccentricity",
    "solidity",
    "major_axis",
    "minor_axis",
    "x",
    "y",
)
MOST_SHOWN = 2**24  # pixels of the picture; a larger image is shown at a fraction of its size
MOST_SIDE = 2**16 - 2**8  # of a JPEG
NO_IMAGE = np.full((1, 1), 60, np.uint8)  # the ground where there is no image; it is stretched to the size


def several(number: int, what: str) -> str:
    """So many of something."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def payload(
    image: np.ndarray | None,
    instances: Instances | None,
    kinds: Sequence[str] | None = None,
    colours: dict[str, str] | None = None,
    legend: Sequence[tuple[str, str]] = (),
    counts: Sequence[tuple[str, str]] = (),
    pixel_size: float = 0.0,
    threshold: float = 0.0,
    draw: bool = False,
    key: str = "",
    **more: Any,
) -> str:
    """What the viewer shows, as JSON. Measures are in pixels; the viewer says them in micrometres.

    As a text, since Gradio's page copies nested values again and again, which takes seconds for a hundred outlines.

    Args:
        image: any that `read_image` gives, or `NO_IMAGE`; None where the viewer has it already, under the same `key`.
        instances: its cells; with scores they can be thresholded.
        kinds: of each cell; its category where left out.
        colours: by kind; where all are cells each has a colour of its own.
        legend: (words, colour) below the image.
        counts: (kind, word) counted in the summary instead of cells and somata.
        pixel_size: micrometres; 0 where it isn't known.
        draw: whether outlines can be drawn.
        key: of the image, as corrections name it.
        more: `caption` (what is shown: file, model, date), `correct` (whether cells can be corrected), `undo` (how
            many corrections can be taken back), `truth` (outlines that are known), `words` (of kinds that are no
            categories, in the table).
    """
    assert image is not None or instances is not None
    if instances is None:
        assert image is not None
        instances = Instances.empty(image.shape[:2])
    own = colours is None
    colours = colours or COLOURS
    sources = more.pop("sources", None)
    said = more.pop("words", {})
    kinds = kinds if kinds is not None else [CATEGORIES[c] for c in instances.categories]
    table = shape_table(instances).set_index("id")
    table["eccentricity"] = np.sqrt(1 - table["axis_ratio"] ** 2)
    cells = []
    for position, (mask, corner) in enumerate(instances.box_masks()):
        number = int(instances.ids[position])
        if not mask.any():
            continue
        row: dict[str, Any] = {name: round(float(table.at[number, name]), 4) for name in MEASURES}
        if instances.scores is not None:
            row["score"] = round(float(instances.scores[position]), 4)
        if sources is not None:
            row["source"] = sources[position]
        kind = kinds[position]
        rings = [np.round(points, 1).ravel().tolist() for points in contours(mask, corner)]
        colour = OWN[number % len(OWN)] if own and kind == "cell" else colours[kind]
        cells.append({"id": number, "kind": kind, "colour": colour, "dashed": kind == "fn", "rings": rings, **row})
    height, width = instances.size
    scored = instances.scores is not None
    columns = ["id", *["score"] * scored, *MEASURES, *["source"] * (sources is not None)]
    told = {
        "key": key,
        "image": data_url(image) if image is not None else "",
        "width": width,
        "height": height,
        "cells": cells,
        "columns": columns + (["kind"] if len(set(kinds)) > 1 else []),
        "words": {kind: said.get(kind, category_word(kind)) for kind in sorted(set(kinds))},
        "scored": scored,
        "threshold": threshold if scored else 0.0,
        "plain": PLAIN if not counts else "",
        "legend": [list(entry) for entry in legend],
        "counts": [list(entry) for entry in counts] or None,
        "pixel": pixel_size,
        "draw": draw,
        **more,
    }
    return orjson.dumps(told).decode()


def outlines(instances: Instances) -> list[list[float]]:
    """Rings x0, y0, x1, y1 ... of all objects."""
    rings = (ring for mask, corner in instances.box_masks() for ring in contours(mask, corner))
    return [np.round(ring, 1).ravel().tolist() for ring in rings]


def data_url(image: np.ndarray) -> str:
    """The image inside the answer itself: nobody but its visitor can ask for it."""
    height, width = image.shape[:2]
    step = int(np.ceil(max(np.sqrt(height * width / MOST_SHOWN), max(height, width) / MOST_SIDE)))
    return jpeg_url(Image.fromarray(to_uint8(image[::step, ::step])))


def jpeg_url(picture: Image.Image, quality: int = 90) -> str:
    """A picture as an address that holds it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def thumbnail(image: np.ndarray, side: int = 96) -> str:
    """A small picture of an image as such an address."""
    step = max(1, max(image.shape[:2]) // (2 * side))
    picture = Image.fromarray(to_uint8(image[::step, ::step]))
    picture.thumbnail((side, side))
    return jpeg_url(picture, 75)
