"""Jobs for the tab Teach: an image to teach on, and outlines of its cells. Nothing here needs torch or Gradio."""

from __future__ import annotations

import io
import json
from pathlib import Path

from cells import chosen
from kept import keep_cells, keep_image, kept_cells, kept_image, kept_size
from samples import sample
from shown import payload

from glioma_hf import InputError, Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import read_image
from glioma_hf.data.sources.cocofile import CocoFile
from glioma_hf.jsonfile import parse_json
from glioma_hf.progress import OnProgress

MOST_TAUGHT = 2**12  # pixels of a side of an image taught on from the page
MOST_OUTLINES = 32 * 2**20  # bytes of JSON with the outlines of one image


def open_lesson(tell: OnProgress, upload: str | None, sample_name: str, folder: str) -> tuple[str, bool]:
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


def lesson_from(tell: OnProgress, source: str, threshold: float, folder: str) -> tuple[str, int]:
    """Keep an image of the tab Segment and its cells from a score on; (what the viewer shows, how many cells)."""
    pixels, (cells, _) = kept_image(source), chosen(source, threshold)
    if max(pixels.shape[:2]) > MOST_TAUGHT:
        raise InputError(f"The image is larger than {MOST_TAUGHT} pixels; crop it for teaching.")
    cells = Instances.from_rles(cells.rles, cells.size, ids=cells.ids)
    keep_image(folder, pixels)
    keep_cells(folder, "given", cells)
    return payload(pixels, cells, draw=True), len(cells)


def add_outlines(tell: OnProgress, path: str, folder: str, image: str) -> tuple[str, int]:
    """Keep the outlines of an uploaded file for a lesson's image of a name; (what the viewer shows, how many)."""
    cells = read_outlines(path, kept_size(folder), image)
    keep_cells(folder, "given", cells)
    return payload(kept_image(folder), cells, draw=True), len(cells)


def without_outlines(tell: OnProgress, folder: str) -> str:
    """What the viewer shows of a lesson whose outlines were taken away."""
    return payload(kept_image(folder), None, draw=True)


def read_outlines(path: str, size: tuple[int, int], image: str) -> Instances:
    """Instances from an uploaded COCO file, COCO results or ImageJ ROI zip, for an image of (height, width).

    Of a COCO file of several images they are those of the one that is called like it.
    """
    name, data = Path(path).name, Path(path).read_bytes()
    if data[:2] == b"PK":
        return read_rois(data, size, name)
    try:
        content = parse_json(data, name, MOST_OUTLINES)
    except InputError as error:
        raise InputError(f"{name} is neither COCO JSON nor a zip of ImageJ regions ({error})") from None
    if isinstance(content, dict):
        coco = CocoFile(io.BytesIO(data), name)
        known = coco.image_ids()
        named = [key for key in known if Path(coco.images[key].file_name or "").stem == Path(image).stem]
        if len(known) > 1 and len(named) != 1:
            raise InputError(f"{name} is of {len(known)} images, and {len(named) or 'none'} of them is called {image}")
        content = [annotation for key in (named or known) for annotation in coco.annotations(key)]
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
