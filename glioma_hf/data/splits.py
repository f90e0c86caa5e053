"""The splits of a prepared data set, any one: found by name, their rows read straight from its Parquet files.

>>> from glioma_hf.data.splits import load_images
>>> first, = load_images("glioma_c6", "train", numbers=[1])   # doctest: +SKIP
>>> first.pixels.shape, first.instances                       # doctest: +SKIP
((1944, 2592), Instances(180 objects, 1944 x 2592 pixels))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.data.features import ALL, check_task, instances_of
from glioma_hf.data.images import decode_image
from glioma_hf.data.parquet import image_bytes, split_rows
from glioma_hf.data.prepared import PreparedSplit, read_prepared
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.palette import category_word


@dataclass(frozen=True)
class LabelledImage:
    """An image with its reference instances of one task.

    Attributes:
        image_id: of the row.
        name: the image's file name.
        pixels: uint8 or uint16, (H, W) or (H, W, 3), as `decode_image` gives them.
        instances: categories are indices into `CATEGORIES`.
    """

    image_id: int
    name: str
    pixels: np.ndarray
    instances: Instances


def find_split(folder: str | Path, split: str, name: str | None = None) -> PreparedSplit:
    """A split of a prepared data set: "spec/test", or "test" for the first of that name in the folder's order.

    Raises `InputError` where the folder (called `name` there) is no prepared data set or has no such split.
    """
    splits = read_prepared(folder, name).splits
    for chosen in splits:
        if split in (chosen.name, chosen.split):
            return chosen
    raise InputError(f"{name or folder}: no {split} images; its splits are {', '.join(s.name for s in splits)}")


def has_split(folder: str | Path, split: str) -> bool:
    """Whether a prepared data set has a split of that name. Raises `InputError` where the folder is none."""
    return any(split in (s.name, s.split) for s in read_prepared(folder).splits)


def load_images(
    folder: str | Path,
    split: str,
    task: str = "cells",
    numbers: Sequence[int] | None = None,
    name: str | None = None,
) -> list[LabelledImage]:
    """Images of a split with their instances of a task, decoded; all of them, or those asked for.

    Args:
        folder: made by `prepare`.
        split: see `find_split`.
        task: see `instances_of`.
        numbers: from 1 on, in the order in which the images are to come; only these are read.
        name: what errors call the folder.

    Raises `InputError` for a folder that isn't prepared or can't be read, a split or task that it lacks, and,
    where numbers are given, for an image that isn't there or has no object of the task.
    """
    chosen, where = find_split(folder, split, name), str(name or folder)
    check_task(task, folder, name)
    called = "training" if chosen.split == "train" else chosen.split
    for number in numbers or ():
        if not 1 <= number <= chosen.images:
            raise InputError(f"{where}: there is no {called} image {number}; choose one from 1 to {chosen.images}")
    images = []
    for number, row in zip(numbers or count(1), split_rows(folder, chosen, where, numbers, image=True), strict=False):
        instances = _named(row, where, task)
        if numbers is not None and not len(instances):
            what = {"cells": "cell", ALL: "object"}.get(task) or category_word(task)
            raise InputError(
                f"{where}: {called} image {number} ({row['file_name']}) has no annotated {what}; choose another one"
            )
        pixels = decode_image(image_bytes(row, where), f"{where}: {row['file_name']}")
        if pixels.shape[:2] != instances.size:
            raise InputError(
                f"{where}: {row['file_name']} is said to be {row['width']} x {row['height']}, the image is "
                f"{pixels.shape[1]} x {pixels.shape[0]}; prepare it again"
            )
        images.append(LabelledImage(row["image_id"], row["file_name"], pixels, instances))
    return images


def annotated_rows(
    folder: str | Path, split: str | None = None, name: str | None = None
) -> Iterator[tuple[dict[str, Any], Instances]]:
    """Rows of a folder, or of one of its splits (see `find_split`), without the image, and all their objects.

    Raises `InputError` for a folder (called `name` there) that isn't prepared, and for a split that it lacks.
    """
    splits = read_prepared(folder, name).splits if split is None else [find_split(folder, split, name)]
    for chosen in splits:
        for row in split_rows(folder, chosen, str(name or folder)):
            yield row, _named(row, str(name or folder), ALL)


def _named(row: dict[str, Any], where: str, task: str) -> Instances:
    """`instances_of`, whose errors name the folder and the image."""
    try:
        return instances_of(row, task)
    except InputError as error:
        raise InputError(f"{where}: {row['file_name']}: {error}; prepare it again") from None
