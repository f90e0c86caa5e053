"""Prepared data sets: what a folder of `data prepare` says of itself, and its rows without their images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

PROVENANCE = "provenance.json"
_COLUMNS = ["image_id", "file_name", "width", "height", "subset", "split", "objects"]


@dataclass
class PreparedSplit:
    """What the files of one split hold."""

    subset: str
    split: str
    files: list[str] = field(default_factory=list)
    images: int = 0
    objects: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As people and `--split` call it."""
        return f"{self.subset}/{self.split}"


@dataclass
class Prepared:
    """A prepared folder: from which source and archive, its splits, and how much was repaired in which way."""

    source: str
    archive: str
    splits: list[PreparedSplit]
    repairs: dict[str, int]


def read_prepared(folder: str | Path) -> Prepared:
    """What `prepare` wrote of a folder. Raises `InputError` where it wrote none."""
    try:
        content = json.loads((Path(folder) / PROVENANCE).read_text())
        splits = [PreparedSplit(**split) for split in content.pop("splits")]
        return Prepared(splits=splits, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{folder}: no prepared data set; make one with glioma-hf data prepare") from None


def annotated_rows(folder: str | Path, split: str | None = None) -> Iterator[tuple[dict[str, Any], Instances]]:
    """Rows of a folder, or of one of its splits ("spec/test"), without the image, and all their objects.

    Categories are indices into `CATEGORIES`. Raises `InputError` for a folder that isn't prepared and for a
    split that it lacks.
    """
    import pyarrow.parquet as pq

    splits = read_prepared(folder).splits
    if split is not None and split not in [s.name for s in splits]:
        raise InputError(f"{folder}: no split {split}; it has {', '.join(s.name for s in splits)}")
    for chosen in splits:
        if split not in (None, chosen.name):
            continue
        for file in chosen.files:
            opened = pq.ParquetFile(Path(folder) / file)
            for group in range(opened.num_row_groups):
                for row in opened.read_row_group(group, _COLUMNS).to_pylist():
                    yield row, all_objects(row)


def all_objects(row: Mapping[str, Any]) -> Instances:
    """Every object of a row, whatever its category, an index into `CATEGORIES`."""
    objects = [{**o, "category_id": o["category"]} for o in row["objects"]]
    return Instances.from_coco(objects, (row["height"], row["width"]))
