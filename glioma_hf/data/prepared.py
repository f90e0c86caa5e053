"""Prepared data sets: what a folder of `data prepare` says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from glioma_hf.errors import InputError

PROVENANCE = "provenance.json"


@dataclass
class PreparedSplit:
    """What the files of one split hold.

    Attributes:
        files: Parquet, by their names in the folder.
        objects: how many there are of each category.
        ignored: how many regions count neither as objects nor as background.
        checksums: SHA-256 of each file.
    """

    subset: str
    split: str
    files: list[str] = field(default_factory=list)
    images: int = 0
    objects: dict[str, int] = field(default_factory=dict)
    ignored: int = 0
    checksums: list[str] = field(default_factory=list)

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


def read_prepared(folder: str | Path, name: str | None = None) -> Prepared:
    """What `prepare` wrote of a folder. Raises `InputError` where it wrote none, which calls the folder `name`."""
    try:
        content = json.loads((Path(folder) / PROVENANCE).read_text())
        splits = [PreparedSplit(**split) for split in content.pop("splits")]
        return Prepared(splits=splits, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{name or folder}: no prepared data set; make one with glioma-hf data prepare") from None
