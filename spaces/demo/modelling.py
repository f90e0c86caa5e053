"""Jobs of the process that runs models. Each takes `tell` first."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from kept import keep_cells, kept_cells, kept_image
from samples import numbered

from glioma_hf import InputError
from glioma_hf.models import FAMILIES, get_family, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, ignore
from glioma_hf.workflows.training import teach

LOWEST = 0.1  # score from which cells are kept for the slider

_loading = threading.Lock()  # transformers' loading sets what holds for all threads


def load(base: str, adapter: str | None) -> Segmenter:
    """The segmenter of a base, and of an adapter (folder or Hub name) on it; bases stay loaded."""
    with _loading:
        return _kept(base) if adapter is None else load_segmenter(base, adapter)


@functools.lru_cache(maxsize=2)
def _kept(base: str) -> Segmenter:
    return load_segmenter(base)


def warm() -> None:
    """Have the first choice ready before the first visitor."""
    load(":".join(bases(ignore)[0]), None)


def bases(tell: OnProgress) -> list[tuple[str, str]]:
    """(family, base) of the models to start from that come with the installation."""
    return [(name, base) for name in FAMILIES for base in get_family(name).bases]


def segment(tell: OnProgress, folder: str, base: str, adapter: str | None) -> float:
    """Keep the cells of a visitor's image, of any score from `LOWEST` on; the model's own score threshold."""
    segmenter = load(base, adapter)
    cells = segmenter.with_score_threshold(LOWEST).segment(kept_image(folder), tell)
    keep_cells(folder, "cells", numbered(cells))
    return segmenter.score_threshold


def unpack(tell: OnProgress, archive: str, folder: str) -> None:
    """Unpack an uploaded adapter."""
    Path(folder).mkdir(parents=True)
    ModelFolder.unpack(archive, folder, FAMILIES)


def teach_adapter(tell: OnProgress, lesson: str, steps: int, folder: str) -> float:
    """Fine-tune on the lesson's image and cells and pack the adapter; the AP50 on that image."""
    try:
        ap = teach(kept_image(lesson), kept_cells(lesson, "cells")[0], folder, steps=steps, on_progress=tell)
    except FloatingPointError as error:
        raise InputError(str(error)) from None
    ModelFolder(folder).pack(Path(folder) / "adapter.zip")
    return ap
