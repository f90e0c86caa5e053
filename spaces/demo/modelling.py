"""Jobs of the process that runs models. Each takes `tell` first."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from batch import FILES
from cells import open_image
from corrections import EDITS, SMALLEST, Sheet, at_place
from kept import keep_cells, kept_cells, kept_image
from PIL import Image
from samples import numbered
from shown import jpeg_url

from glioma_hf import InputError, Instances
from glioma_hf.data.images import to_uint8
from glioma_hf.draw import overlay
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.models import FAMILIES, find_base, get_family, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.models.diameter import fitted, suited
from glioma_hf.models.saved import ModelFolder, find_saved
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.rle import encode_box_mask
from glioma_hf.workflows.training import teach

LOG = logging.getLogger("glioma_hf.demo")
LOWEST = 0.1  # score from which cells are kept for the slider
FAINTEST = 0.02  # score from which a thing at a place that was pointed at is taken for a cell
FIRST = ("centres", "glioblastoma")  # the page's first choice, where it is there; else one of its family
KEPT_BASES = 2  # that stay loaded
HELD_OUT = 0.3  # share of an image that isn't taught on
LEAST_OUTLINES = 4  # on either side, to hold some out
SIDE = 720  # pixels of a side of a picture shown beside others

_loading = threading.Lock()  # transformers' loading sets what holds for all threads


def load(base: str, adapter: str | None) -> Segmenter:
    """The segmenter of a base, and of an adapter (folder or Hub name) on it; bases stay loaded.

    A saved model of another family is no adapter of that base: it is loaded as it is.
    """
    with _loading:
        if adapter is None:
            return _kept(base)
        saved = find_saved(adapter)
        if saved is None or _is_of(saved, base):
            return load_segmenter(base, saved.path if saved else adapter)
        return load_segmenter(_own_base(saved), saved.path)


def _is_of(saved: ModelFolder, base: str) -> bool:
    return saved.family().name == find_base(base)[0].name


def _own_base(saved: ModelFolder) -> str:
    """What a saved model is put on, by a name of its family's: another one would have the page read any folder."""
    family, base = saved.family(), saved.info().base
    return f"{family.name}:{base if base in family.bases else family.bases[0]}"


@functools.lru_cache(maxsize=KEPT_BASES)
def _kept(base: str) -> Segmenter:
    return load_segmenter(base)


def warm() -> None:
    """Have the first choice ready before the first visitor."""
    load(":".join(bases(ignore)[0]), None)


@functools.cache
def _bases(families: tuple[str, ...]) -> list[tuple[str, str]]:
    ready = []
    for name in families:
        try:
            family = get_family(name)
            if family.package and find_spec(family.package) is None:
                continue
            for base in (each for each in family.bases if each not in family.untrained):
                with contextlib.suppress(InputError, OSError):  # one whose files aren't here
                    if not family.package:  # what a package fetches, and may be large, waits until it is chosen
                        load(f"{name}:{base}", None)
                    ready.append((name, base))
        except (InputError, ImportError):  # its library isn't installed
            continue
        except Exception:  # its library is broken: the page does without it
            LOG.exception("the family %s isn't on the page", name)
    return sorted(ready, key=lambda there: (there != FIRST, there[0] != FIRST[0]))


def bases(tell: OnProgress) -> list[tuple[str, str]]:
    """(family, base) of the models that find cells as they come with the installation, the page's default first."""
    return _bases(tuple(FAMILIES))


def segment(tell: OnProgress, folder: str, base: str, adapter: str | None) -> tuple[float, int, float | None]:
    """Keep the cells of a visitor's image, of any score from `LOWEST` on, in the place of those that were found before.

    Returns the model's own score threshold, how many cells there are from it on, and their diameter in pixels where
    the model was told of it (`glioma_hf.models.diameter`).
    """
    pixels = kept_image(folder)
    segmenter, diameter = fitted(load(base, adapter), pixels, tell)
    cells = numbered(segmenter.with_score_threshold(LOWEST).segment(pixels, tell))
    keep_cells(folder, "cells", cells)
    (Path(folder) / EDITS).unlink(missing_ok=True)
    shutil.rmtree(Path(folder) / FILES, ignore_errors=True)  # of the cells before
    threshold = max(segmenter.score_threshold, LOWEST)
    return threshold, int((np.asarray(cells.scores) >= threshold).sum()), diameter


def segment_file(tell: OnProgress, path: str, folder: str, base: str, threshold: float) -> tuple[Instances, float]:
    """The cells of an image file, for programs, and the model's own threshold."""
    open_image(ignore, path, "", folder)
    own, _, _ = segment(tell, folder, base, None)
    return kept_cells(folder, "cells")[0], threshold or own


def ask(tell: OnProgress, folder: str, base: str, adapter: str | None, x: float, y: float) -> int:
    """Make a cell by hand of what the model finds at a place of the image; how many corrections there are.

    It looks at the surroundings alone, and takes what it is little sure of. Raises `InputError` where it finds nothing.
    """
    sheet, pixels = Sheet(folder), kept_image(folder)
    known, _ = sheet.instances()
    height, width = pixels.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise InputError("That place lies outside the image.")
    across = 2 * math.sqrt(float(np.median(known.areas)) / math.pi) if len(known) else 40.0
    half = int(max(2.5 * across, 64))
    top, left = max(0, int(y) - half), max(0, int(x) - half)
    window = pixels[top : int(y) + half, left : int(x) + half]
    segmenter = suited(load(base, adapter), across) if len(known) else load(base, adapter)
    found = segmenter.with_score_threshold(FAINTEST).segment(np.ascontiguousarray(window), tell)
    masks = list(found.box_masks())
    for position in at_place(found, x - left, y - top):
        mask, (row, column) = masks[position]
        if mask.sum() < SMALLEST:
            continue
        rle = encode_box_mask(mask, (row + top, column + left), known.size)
        if len(known) and Instances.from_rles([rle], known.size).iou(known).max() > 0.6:
            continue  # it is there already
        sheet.change([], [(rle, None)])
        return sheet.save()
    raise InputError("The model finds no other cell at that place; draw it instead.")


def compare(tell: OnProgress, folder: str, base: str, adapter: str | None) -> tuple[str, int, float]:
    """What a model finds in a visitor's image, at its own threshold: (picture, how many cells, the threshold)."""
    pixels = kept_image(folder)
    segmenter, _ = fitted(load(base, adapter), pixels, tell)
    cells = segmenter.segment(pixels, tell)
    picture = overlay(to_uint8(pixels), cells)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return jpeg_url(picture), len(cells), segmenter.score_threshold


def unpack(tell: OnProgress, archive: str, folder: str, base: str) -> str:
    """Unpack an uploaded model, if it isn't there yet; the title of its family where that isn't the base's."""
    if not Path(folder).is_dir():  # its owner knows it by that name
        Path(folder).mkdir(parents=True)
        ModelFolder.unpack(archive, folder, FAMILIES)
    saved = find_saved(folder)
    return "" if saved is None or _is_of(saved, base) else saved.family().title


def held_out(pixels: np.ndarray, cells: Instances) -> tuple[slice, slice] | None:
    """(rows, columns) of the end of an image's longer side that isn't taught on; None where there are too few cells.

    The rest is taught on. Cells on the line between count on neither side, by the rule for borders.
    """
    height, width = pixels.shape[:2]
    for share in (HELD_OUT, 0.4, 0.5):
        cut = round((1 - share) * max(height, width))
        window = (slice(cut, height), slice(0, width)) if height > width else (slice(0, height), slice(cut, width))
        inside = cropped(cells, window)
        whole = len(inside) - int(inside.touching_border().sum())
        if whole >= LEAST_OUTLINES and len(cells) - len(inside) >= LEAST_OUTLINES:
            return window
    return None


def cropped(cells: Instances, window: tuple[slice, slice]) -> Instances:
    """The cells in a window of (rows, columns)."""
    rows, columns = window
    return cells.crop(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)


def teach_adapter(tell: OnProgress, lesson: str, base: str, steps: int, folder: str) -> dict[str, Any]:
    """Fine-tune on the lesson's image and cells without the part that is held out, and pack what was learned.

    Returns `taught` and `held` (how many cells on either side), `before` and `after` (AP at IoU 0.5 on the part held
    out, without and with what was taught) and `pictures` of both there. Where there are too few cells to hold some out
    `held` is 0 and nothing else is told.
    """
    pixels, (cells, _) = kept_image(lesson), kept_cells(lesson, "cells")
    window = held_out(pixels, cells)
    lesson_pixels, lesson_cells = pixels, cells
    if window is not None:
        rows, columns = window
        rest = (slice(0, rows.start), columns) if rows.start else (rows, slice(0, columns.start))
        lesson_pixels, lesson_cells = np.ascontiguousarray(pixels[rest]), cropped(cells, rest)
    try:
        teach(lesson_pixels, lesson_cells, folder, base, steps, tell)
    except FloatingPointError as error:
        raise InputError(str(error)) from None
    ModelFolder(folder).pack(Path(folder) / "adapter.zip")
    told: dict[str, Any] = {"taught": len(lesson_cells), "held": 0}
    if window is None:
        return told
    tell(Progress("looking at the part held out"))
    part, references = np.ascontiguousarray(pixels[window]), cropped(cells, window)
    told |= {"held": len(references) - int(references.touching_border().sum()), "pictures": []}
    for name, adapter in (("before", None), ("after", folder)):
        found = load(base, adapter).segment(part)
        told[name] = overlap_ap([(found, references)]).ap50
        picture = overlay(to_uint8(part), found, references)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        told["pictures"].append(jpeg_url(picture))
    return told
