"""The columns of every data set here, its tasks, and the way from a row to `Instances`.

`features` needs the `datasets` package, the rest doesn't.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioma_hf.data.prepared import read_prepared
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.plain import plain_row
from glioma_hf.segmentation import Priority

if TYPE_CHECKING:
    from datasets import Features

# Indices are the same for all sources; each publishes the names up to the last that it uses.
CATEGORIES = ("cell", "cell_a", "cell_b", "soma", "nucleus")
TASKS: dict[str, tuple[str, ...]] = {
    "cells": ("cell", "cell_a", "cell_b"),
    "soma": ("soma",),
    "cell_a": ("cell_a",),
    "cell_b": ("cell_b",),
    "nucleus": ("nucleus",),  # of TissueNet and DynamicNuclearNet
}
ALL = "all"  # the task of every object


def features(categories: Sequence[str] = CATEGORIES[:4]) -> Features:
    """The columns as `datasets` features; the same for every source but for its `categories`."""
    from datasets import ClassLabel, Features, Image, Sequence, Value

    polygons = Sequence(Sequence(Value("float64")))
    return Features(
        {
            "image": Image(),
            "image_id": Value("int64"),
            "file_name": Value("string"),
            "width": Value("int32"),
            "height": Value("int32"),
            "subset": Value("string"),
            "split": Value("string"),
            # A list of dicts, spelled so that no version of `datasets` turns it inside out.
            "objects": [
                {
                    "id": Value("int64"),
                    "category": ClassLabel(names=list(categories)),
                    "segmentation": polygons,
                    "bbox": Sequence(Value("float64"), length=4),
                    "area": Value("float64"),
                }
            ],
            # Crowds and the like: neither objects nor background. Folders that were prepared before haven't got it.
            "ignored": [{"category": ClassLabel(names=list(categories)), "segmentation": polygons}],
        }
    )


def named_categories(features: Mapping[str, Any]) -> list[str]:
    """The names of the objects' categories in the features of a data set that `datasets` opened."""
    objects = features["objects"]
    item = objects[0] if isinstance(objects, list) else objects.feature  # by release
    return list(item["category"].names)


def instances_of(
    row: Mapping[str, Any], task: str = "cells", flattened: bool = False, priority: Priority = "first"
) -> Instances:
    """The objects of a row that belong to a task, as `Instances` in annotation order.

    For training and for scoring alike.

    Args:
        row: a row of a prepared data set, as `datasets` (in any format) or `annotated_rows` gives it.
        task: `cells` (both types), `soma`, `cell_a` or `cell_b` (paper, section 4), `nucleus`, or `all`.
            Categories of the result are indices into `CATEGORIES`.
        flattened: without overlaps: each pixel is of one object of the task (Table 4). Objects that are covered whole
            are left out.
        priority: whether the "first" or the "last" object then wins a contested pixel.

    Raises `InputError` for an unknown task.
    """
    categories = task_categories(task)
    row = plain_row(row)
    objects: Sequence[Mapping[str, Any]] = [o for o in row["objects"] if o["category"] in categories]
    instances = Instances.from_polygons(
        [o["segmentation"] for o in objects],
        (row["height"], row["width"]),
        categories=[o["category"] for o in objects],
        ids=[o["id"] for o in objects],
    )
    if flattened:
        instances = instances.flatten(priority)
        instances = instances.select(instances.areas > 0)
    return instances


def ignored_of(row: Mapping[str, Any], task: str = "cells") -> Instances:
    """The regions of a row that count neither as objects of a task nor as background, as `Instances`.

    Annotations with `iscrowd` are such regions. Arguments and errors are those of `instances_of`.
    """
    categories = task_categories(task)
    row = plain_row(row)
    regions = [r for r in row.get("ignored") or () if r["category"] in categories]
    return Instances.from_polygons(
        [r["segmentation"] for r in regions],
        (row["height"], row["width"]),
        categories=[r["category"] for r in regions],
    )


def task_categories(task: str) -> set[int]:
    """Indices into `CATEGORIES` of what a task counts. Raises `InputError` for an unknown task."""
    if task == ALL:
        return set(range(len(CATEGORIES)))
    if task not in TASKS:
        raise InputError(f"the task {task!r} isn't known; it is one of {', '.join((*TASKS, ALL))}")
    return {CATEGORIES.index(name) for name in TASKS[task]}


def tasks_of(data: str | Path | Collection[str], name: str | None = None) -> tuple[str, ...]:
    """The tasks that a data set has, "all" the last.

    Args:
        data: a prepared folder, whose provenance says of which categories it holds objects (where it holds none,
            those that its source names); or the names of categories.
        name: what errors call the folder.

    Raises `InputError` where the folder is no prepared data set.

    >>> tasks_of(["cell", "nucleus"])
    ('cells', 'nucleus', 'all')
    """
    if isinstance(data, str | Path):
        splits = read_prepared(data, name).splits
        declared = {category for split in splits for category in split.objects}
        data = {c for c in declared if any(split.objects.get(c) for split in splits)} or declared
    return (*(task for task, names in TASKS.items() if set(names) & set(data)), ALL)


def check_task(task: str, folder: str | Path, name: str | None = None) -> None:
    """Raise `InputError` for an unknown task and for one that the prepared folder (called `name`) doesn't have."""
    task_categories(task)
    _check_task(task, tasks_of(folder, name), str(name or folder))


def check_task_of_rows(task: str, features: Mapping[str, Any]) -> None:
    """As `check_task`, for rows that `datasets` opened, by the categories that their features name."""
    task_categories(task)
    _check_task(task, tasks_of(named_categories(features)), "these rows")


def _check_task(task: str, tasks: tuple[str, ...], where: str) -> None:
    if task not in tasks:
        raise InputError(f"{where}: there are no objects of the task {task}; the tasks are {', '.join(tasks)}")
