"""The columns of every data set here, and the way from a row to `Instances`.

`FEATURES` needs the `datasets` package and is made when first asked for; the rest doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glioma_hf.instances import Instances

if TYPE_CHECKING:
    from datasets import Features

CATEGORIES = ("cell", "cell_a", "cell_b", "soma")
TASKS: dict[str, tuple[str, ...]] = {
    "cells": ("cell", "cell_a", "cell_b"),
    "soma": ("soma",),
    "cell_a": ("cell_a",),
    "cell_b": ("cell_b",),
}


def features() -> Features:
    """The columns as `datasets` features; the same for every source."""
    from datasets import ClassLabel, Features, Image, Sequence, Value

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
                    "category": ClassLabel(names=list(CATEGORIES)),
                    "segmentation": Sequence(Sequence(Value("float64"))),
                    "bbox": Sequence(Value("float64"), length=4),
                    "area": Value("float64"),
                }
            ],
        }
    )


def instances_of(row: Mapping[str, Any], task: str = "cells") -> Instances:
    """The objects of a row that belong to one of the paper's tasks, as `Instances` in annotation order.

    Args:
        row: a row of a prepared data set, as `datasets` gives it.
        task: `cells` (both types), `soma`, `cell_a` or `cell_b` (paper, section 4). Categories of the
            result are indices into `CATEGORIES`.
    """
    wanted = {CATEGORIES.index(name) for name in TASKS[task]}
    objects: Sequence[Mapping[str, Any]] = [o for o in row["objects"] if o["category"] in wanted]
    return Instances.from_polygons(
        [o["segmentation"] for o in objects],
        (row["height"], row["width"]),
        categories=[o["category"] for o in objects],
        ids=[o["id"] for o in objects],
    )
