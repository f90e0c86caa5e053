"""What `glioma-hf data compose` does: a data set's own images with more overlap, whole masks known."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.splits import load_images
from glioma_hf.errors import InputError
from glioma_hf.files import new_file
from glioma_hf.instances import Instances
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.synthetic.archive import is_archive, write_split
from glioma_hf.synthetic.compose import OverlapConfig, lay_over

DESCRIPTION = "Cells cut out of real images and laid over others of the same split; composed by glioma_hf"
FOLDERS = {"train": "train", "validation": "valid", "test": "test"}  # of the archive, by split
NAMES = {"cell": "Cell", "cell_a": "Cell A", "cell_b": "Cell B"}  # in the archive, by category


def compose(
    data: str | Path,
    out: str | Path,
    split: str = "test",
    copies: int = 1,
    seed: int = 0,
    config: OverlapConfig | None = None,
    on_progress: OnProgress = ignore,
) -> int:
    """Write a zip in the Glioma C6 layout: each image of a split with cells of that split's images laid over its own.

    Cells never come from another split, so that a composed test set holds nothing that was learned from.

    Args:
        data: folder made by `prepare`.
        split: train, validation or test.
        copies: of each image, with other cells each.
        seed: the same gives the same images.
        config: how many cells, and how far they lie over others.

    Returns how many cells were laid. Raises `InputError` for a split that isn't there or has no cells.

    Example:
        compose("t98g", "overlaps.zip", config=OverlapConfig(cells=40, covered=(0.3, 0.7)))
    """
    if split not in FOLDERS:
        raise InputError(f"images of the split {split!r} can't be composed; it is one of {', '.join(FOLDERS)}")
    pairs = [(item.pixels, item.instances) for item in load_images(data, split)]
    if not any(len(cells) for _, cells in pairs):
        raise InputError(f"{data}: its {split} images have no annotated cell to lay over others")
    laid = 0

    def drawn() -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
        nonlocal laid
        for number, (image, cells) in enumerate(pairs):
            for copy in range(copies):
                pixels, whole = lay_over(image, cells, pairs, (seed, number, copy), config)
                laid += len(whole) - len(cells)
                yield pixels, _annotations(whole)

    with (
        new_file(out, [data], lambda path: is_archive(path, DESCRIPTION)) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        folder = f"dataset/spec/{FOLDERS[split]}"
        categories = [
            {"id": CATEGORIES.index(known) + 1, "name": name, "supercategory": "cell"} for known, name in NAMES.items()
        ]
        names = write_split(archive, folder, FOLDERS[split], drawn(), categories, DESCRIPTION)
        for done, name in enumerate(names, start=1):
            on_progress(Progress(name, done, copies * len(pairs)))
    return laid


def _annotations(cells: Instances) -> list[dict[str, Any]]:
    """COCO annotations without ids, whole masks as polygons of the very same pixels."""
    return [
        {
            "category_id": category + 1,
            "segmentation": polygons,
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
        }
        for category, polygons, box, area, crowd in zip(
            cells.categories.tolist(),
            cells.to_polygons(),
            cells.boxes.tolist(),
            cells.areas.tolist(),
            cells.crowd.tolist(),
            strict=True,
        )
    ]
