"""Jobs on the images of the tab Segment: opening them and showing their cells. Nothing here needs torch or Gradio."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from corrections import Sheet
from kept import keep_cells, keep_image, kept_cells, kept_image
from samples import sample
from shown import outlines, payload, thumbnail

from glioma_hf import Instances
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import read_image
from glioma_hf.data.pixel_size import pixel_size_of
from glioma_hf.data.stacks import read_plane, read_stack
from glioma_hf.progress import OnProgress

STACK = "stack.tif"  # the file itself, where another page of it may be asked for
THUMBNAIL = "thumbnail.txt"


def open_image(tell: OnProgress, upload: str | None, sample_name: str, folder: str, page: int = 1) -> dict[str, Any]:
    """Keep the pixels of an upload, or else of a sample, in a visitor's folder; facts of the image.

    Of a stack it is one page, counted from 1, and the file is kept as well.
    """
    facts: dict[str, Any] = {"pages": 1, "page": 1, "plane": "", "pixel": 0.0, "pixel_from_file": False}
    if upload:
        stack = read_stack(upload)
        if stack is None:
            pixels = read_image(upload)
        else:
            pixels = read_plane(upload, page - 1)
            facts |= {"pages": stack.planes, "page": page, "plane": stack.name(page - 1)}
            if Path(upload) != Path(folder) / STACK:
                shutil.copyfile(upload, Path(folder) / STACK)
        pixel = pixel_size_of(Path(upload).read_bytes())
        facts |= {"pixel": pixel, "pixel_from_file": pixel > 0}
    else:
        pixels, objects = sample(sample_name)
        keep_cells(folder, "truth", objects.select(objects.categories != CATEGORIES.index("soma")))
    keep_image(folder, pixels)
    (Path(folder) / THUMBNAIL).write_text(thumbnail(pixels))
    return {**facts, "width": pixels.shape[1], "height": pixels.shape[0]}


def open_page(tell: OnProgress, folder: str, page: int) -> dict[str, Any]:
    """The same for another page of a stack that is open."""
    return open_image(tell, str(Path(folder) / STACK), "", folder, page)


def show(tell: OnProgress, folder: str, key: str, facts: dict[str, Any], picture: bool = True) -> str:
    """What the viewer shows of an image; without the picture where the viewer has it."""
    instances, kinds, sheet = None, None, None
    if facts["date"]:
        sheet = Sheet(folder)
        instances, kinds = sheet.instances()
    truth = None
    if (Path(folder) / "truth.json").is_file():
        truth = outlines(kept_cells(folder, "truth")[0])
    pixels = kept_image(folder) if picture or instances is None else None
    return payload(
        pixels,
        instances,
        pixel_size=facts["pixel"],
        threshold=facts["threshold"],
        key=key,
        sources=kinds,
        correct=sheet is not None,
        undo=len(sheet.edits) if sheet else 0,
        truth=truth,
        caption=caption(facts),
    )


def caption(facts: dict[str, Any]) -> dict[str, Any]:
    """What the words over the picture are made of: the file, and whose its cells are."""
    return {
        "file": facts["sample"] or facts["name"],
        "plane": facts["plane"],
        "model": facts["model"],
        "date": facts["date"],
        "corrections": facts["corrections"],
        "sample": bool(facts["sample"]),
    }


def show_again(tell: OnProgress, folder: str, key: str, facts: dict[str, Any]) -> str:
    """The same without the picture, which the viewer has."""
    return show(tell, folder, key, facts, picture=False)


def chosen(folder: str | Path, threshold: float) -> tuple[Instances, list[str]]:
    """The cells from a score on, and who says that each is one."""
    cells, kinds = Sheet(folder).instances()
    counted = cells.scores >= threshold
    return cells.select(counted), [kind for kind, there in zip(kinds, counted, strict=True) if there]


def count(tell: OnProgress, folder: str, threshold: float) -> int:
    """How many cells there are from a score on."""
    return len(chosen(folder, threshold)[0])
