"""What a source of images is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from glioma_hf.data.features import TASKS
from glioma_hf.data.prepared import PreparedSplit
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row


@dataclass(frozen=True)
class Source:
    """How a data set is read, and what its card says.

    Attributes:
        title: its name for people.
        licence: as the Hub spells it; "other" where it has no such name.
        licence_note, summary, limits: Markdown for the card.
        tags: beside those that all cards have.
        citation: BibTeX.
        categories: names of its objects, a beginning of `CATEGORIES`.
        find_splits: the splits of an archive in order; raises `InputError` where there are none.
        read_rows: rows of a split from image number `start` on, by file and object named where they are wrong.
        splits_by_subset: the config `default` has a split for each subset, and each subset is a config with
            its official splits; otherwise `default` has the official splits.
        published: images and cells of each split ("spec/train") as the data set's authors give them. An
            archive of other numbers of images is another data set in this layout, and its card says so.
    """

    title: str
    homepage: str
    licence: str
    licence_note: str
    summary: str
    limits: str
    citation: str
    find_splits: Callable[[Archive], list[ArchiveSplit]]
    read_rows: Callable[[Archive, ArchiveSplit, Repairs, int], Iterator[Row]]
    tags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("cell",)
    splits_by_subset: bool = False
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def is_other(self, splits: Sequence[PreparedSplit]) -> bool:
        """Whether the numbers of images say that this is another data set, in the same layout."""
        images = {s.name: s.images for s in splits}
        return any(images.get(name) != counts["images"] for name, counts in self.published.items())

    def differences(self, splits: Sequence[PreparedSplit]) -> list[str]:
        """Where counts aren't those that were published, in words."""
        counted = {
            s.name: {"images": s.images, "cells": sum(s.objects.get(c, 0) for c in TASKS["cells"])} for s in splits
        }
        return [
            f"{name} holds {counted.get(name, {}).get(what, 0)} {what}, published are {count}"
            for name, counts in self.published.items()
            for what, count in counts.items()
            if counted.get(name, {}).get(what, 0) != count
        ]
