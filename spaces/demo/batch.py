"""The images that a visitor opened in the tab Segment: a folder with a folder for each, and what is known of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from glioma_hf import InputError

MOST_IMAGES = 20
FACTS, SHOWN, FILES = "facts.json", "shown.txt", "files"
SOURCE, SESSION = "source.txt", "session.txt"  # where the upload lies that an image was read from; its session
_lock = threading.RLock()


def stem_of(name: str) -> str:
    """What the names of an image's downloads begin with."""
    return Path(name).stem[:80] or "image"


@dataclass(frozen=True)
class Facts:
    """What is known of one image.

    Attributes:
        name: the file's, as its owner knows it.
        sample: the synthetic sample that it is, or "".
        page, pages: of a stack, which one of how many, counted from 1; `plane` says which in words.
        width, height: pixels.
        pixel: micrometres per pixel, 0 where nobody said it; `pixel_from_file` whether the file did.
        error: why it can't be read.
        model: what found its cells, in words; "" before that. `by` tells models apart.
        threshold: the score from which cells count. `own_threshold` is the model's.
        date: when the cells were found.
        count: cells from the threshold on.
        corrections: made by hand since then.
    """

    name: str
    sample: str = ""
    page: int = 1
    pages: int = 1
    plane: str = ""
    width: int = 0
    height: int = 0
    pixel: float = 0.0
    pixel_from_file: bool = False
    error: str = ""
    model: str = ""
    by: str = ""
    threshold: float = 0.0
    own_threshold: float = 0.0
    date: str = ""
    count: int = 0
    corrections: int = 0

    @property
    def stem(self) -> str:
        """Of the names of downloads."""
        return f"{stem_of(self.name)}_page{self.page}" if self.pages > 1 else stem_of(self.name)

    @property
    def found(self) -> bool:
        """Whether its cells were found."""
        return bool(self.date)


@dataclass(frozen=True)
class Entry:
    """One image of a batch: its key, its folder and its facts."""

    key: str
    folder: Path
    facts: Facts = field(compare=False)

    @property
    def has_files(self) -> bool:
        """Whether the files to take home are there, whole and of its present cells: the zip is written last."""
        return any((self.folder / FILES).glob("*_all.zip"))


def add(batch: str | Path, facts: Facts) -> Entry:
    """A new image at the end. Raises `InputError` where there are too many."""
    with _lock:
        number = len(keys(batch))
        if number >= MOST_IMAGES:
            raise InputError(f"{facts.name}: {MOST_IMAGES} images are the most at once; open the others afterwards")
        folder = Path(batch) / f"{number:02}"
        folder.mkdir()
        write(folder, facts)
        return Entry(folder.name, folder, facts)


def keep(batch: str | Path, there: Entry) -> None:
    """An image of another batch at the end of this one, with all that is known of it."""
    with _lock:
        there.folder.rename(Path(batch) / f"{len(keys(batch)):02}")


def by_source(batch: str | Path | None) -> dict[str, Entry]:
    """The images of a batch that could be read, by the uploads that they are of."""
    return {(one.folder / SOURCE).read_text(): one for one in still_open(batch) if (one.folder / SOURCE).is_file()}


def keys(batch: str | Path) -> list[str]:
    """Of its images, in order. Raises `InputError` where it is no longer kept."""
    if not Path(batch).is_dir():
        raise InputError("what you opened is no longer kept here; open it again")
    return sorted(path.name for path in Path(batch).iterdir() if (path / FACTS).is_file())


def entries(batch: str | Path) -> list[Entry]:
    """Its images."""
    return [entry(batch, key) for key in keys(batch)]


def still_open(batch: str | Path | None) -> list[Entry]:
    """Its images; none where there is no batch, or it is no longer kept."""
    return entries(batch) if batch and Path(batch).is_dir() else []


def entry(batch: str | Path, key: Any) -> Entry:
    """One image. Raises `InputError` for a key that isn't one of its own, whatever a visitor sent."""
    if not isinstance(key, str) or key not in keys(batch):
        raise InputError("that image isn't open here any more; open it again")
    folder = Path(batch) / key
    return Entry(key, folder, Facts(**json.loads((folder / FACTS).read_text())))


def write(folder: Path, facts: Facts) -> None:
    """Keep the facts of an image."""
    partial = folder / f"{FACTS}.new"
    partial.write_text(json.dumps(asdict(facts)))
    partial.replace(folder / FACTS)
    os.utime(folder.parent)  # the oldest batches go first where the disk is full


def change(batch: str | Path, key: str, **changes: Any) -> Entry:
    """Keep other facts of an image."""
    with _lock:
        there = entry(batch, key)
        facts = replace(there.facts, **changes)
        write(there.folder, facts)
        return Entry(key, there.folder, facts)


def look_at(batch: str | Path, key: str) -> None:
    """Remember which image is shown, for a run that goes on meanwhile."""
    (Path(batch) / SHOWN).write_text(key)


def looked_at(batch: str | Path) -> Entry:
    """The image that is shown: the first, where none was chosen."""
    path = Path(batch) / SHOWN
    known = keys(batch)
    if not known:
        raise InputError("Choose a sample or drop in an image first.")
    key = path.read_text() if path.is_file() else known[0]
    return entry(batch, key if key in known else known[0])


def done(batch: str | Path) -> Iterator[Entry]:
    """The images whose cells were found."""
    return (there for there in entries(batch) if there.facts.found)


def distinct_stems(there: Sequence[Entry]) -> list[str]:
    """Names of downloads, told apart where two files are called the same."""
    return told_apart([(one.facts.stem, "") for one in there])


def told_apart(names: Sequence[tuple[str, str]]) -> list[str]:
    """Names, each in two parts, with a number between these where two are the same, in any case of letters.

    >>> told_apart([("a", ".png"), ("A", ".png"), ("a", ".tif"), ("a_2", ".png")])
    ['a.png', 'A_3.png', 'a.tif', 'a_2.png']
    """
    whole = ["".join(parts) for parts in names]
    taken, used = {name.casefold() for name in whole}, set[str]()
    made = []
    for name, (stem, end) in zip(whole, names, strict=True):
        number = 1
        while name.casefold() in used or (number > 1 and name.casefold() in taken):
            number += 1
            name = f"{stem}_{number}{end}"
        used.add(name.casefold())
        made.append(name)
    return made
