"""Prepared data sets: what a folder of `data prepare` says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glioma_hf.errors import InputError
from glioma_hf.jsonfile import read_json

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
    """What `prepare` wrote of a folder.

    Raises `InputError` where it wrote none, which calls the folder `name`, or where what is there isn't what it writes.
    """
    where = str(name or folder)
    path = Path(folder) / PROVENANCE
    if not _is_file(path):
        raise InputError(f"{where}: no prepared data set; make one with glioma-hf data prepare")
    content = read_json(path, f"{where}: {PROVENANCE}")
    try:
        splits = [PreparedSplit(**split) for split in content.pop("splits")]
        prepared = Prepared(splits=splits, **content)
    except (TypeError, KeyError, AttributeError):
        raise InputError(f"{where}: {PROVENANCE} isn't what prepare writes; prepare it again") from None
    for fault in _faults(prepared):
        raise InputError(f"{where}: {PROVENANCE} has {fault}; prepare it again")
    return prepared


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _faults(prepared: Prepared) -> Iterator[str]:
    """What can't be in a provenance: other types, files elsewhere, numbers that aren't counts."""
    from glioma_hf.data.features import CATEGORIES  # which reads provenances itself

    if not isinstance(prepared.source, str) or not isinstance(prepared.archive, str):
        yield "no names of source and archive"
    if not _are_counts(prepared.repairs):
        yield f"the repairs {str(prepared.repairs)[:80]}"
    names, files = set(), set()
    for split in prepared.splits:
        told = f"the split {str(split.subset)[:40]!r}/{str(split.split)[:40]!r}"
        if not all(isinstance(n, str) and re.fullmatch(r"[\w.-]+", n) for n in (split.subset, split.split)):
            yield told
        elif split.name in names:
            yield f"{told} twice"
        elif not isinstance(split.files, list) or not isinstance(split.checksums, list):
            yield f"no list of files of {told}"
        elif not _is_count(split.images) or not _is_count(split.ignored) or not _are_counts(split.objects):
            yield f"counts of {told} that aren't counts"
        elif unknown := set(split.objects) - set(CATEGORIES):
            yield f"the unknown category {min(unknown)[:40]!r} in {told}"
        else:
            for file in split.files:
                if not isinstance(file, str) or not re.fullmatch(r"data/[\w.-]+\.parquet", file) or file in files:
                    yield f"the file {str(file)[:80]!r} in {told}"
                files.add(file)
        names.add(split.name)


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40
