"""A prepared data set's images with their reference cells, by official split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glioma_hf.data.features import instances_of
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances


@dataclass(frozen=True)
class LabelledImage:
    """An image (H, W[, channels]) with its reference instances of one task."""

    image_id: int
    name: str
    pixels: np.ndarray
    cells: Instances


def load_splits(
    folder: str | Path, cache: str | Path | None = None, name: str | None = None, task: str = "cells"
) -> dict[str, list[LabelledImage]]:
    """Train, validation and test images of the spec part, through `load_dataset`, with the instances of a task.

    Raises `InputError` where the folder (called `name` there) is no prepared data set or lacks a split.
    """
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    if not any(Path(folder).glob("data/*.parquet")):
        raise InputError(f"{name or folder}: no prepared data set; make one with glioma-hf data prepare")
    rows = load_dataset(str(folder), "spec", cache_dir=None if cache is None else str(cache))
    splits = {}
    for split in ("train", "validation", "test"):
        if split not in rows:
            raise InputError(f"{name or folder}: no {split} images of the part spec; all three splits are needed")
        splits[split] = [
            LabelledImage(row["image_id"], row["file_name"], np.asarray(row["image"]), instances_of(row, task))
            for row in rows[split]
        ]
    return splits


def pick(images: list[LabelledImage], number: int, where: str) -> LabelledImage:
    """The image of that number, from 1. Raises `InputError` where there is none or it has no cell."""
    if not 1 <= number <= len(images):
        raise InputError(f"{where}: there is no training image {number}; choose one from 1 to {len(images)}")
    chosen = images[number - 1]
    if not len(chosen.cells):
        raise InputError(f"{where}: training image {number} ({chosen.name}) has no annotated cell; choose another one")
    return chosen
