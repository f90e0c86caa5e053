"""Which files of a data set are there from a run of `prepare` that was broken off, and can be trusted.

Each Parquet file has a note, written after it: what it holds and its checksum. A file without its note, or that isn't
what its note says, is written anew, and so is all that came after it in its split.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from glioma_hf.errors import InputError
from glioma_hf.files import SCRATCH, checksum, write_text
from glioma_hf.progress import OnProgress, Progress


@dataclass(frozen=True)
class Note:
    """What one Parquet file holds, and what was repaired in it."""

    images: int
    objects: dict[str, int]
    ignored: int
    repairs: dict[str, int]
    checksum: str


class Parts:
    """The files under `data` of a folder that is being prepared, and their notes."""

    def __init__(self, folder: Path):
        self._data, self._notes = folder / "data", folder / SCRATCH
        self._data.mkdir(exist_ok=True)
        self._notes.mkdir(exist_ok=True)
        for file in self._data.glob(".*"):  # half written
            file.unlink()
        for file in self._data.glob("*-of-*.parquet"):  # a run that was broken off at its end
            file.rename(file.with_name(f"{file.name.rpartition('-of-')[0]}.parquet"))

    def file(self, stem: str, number: int) -> Path:
        """A split's file of that number, as it is called until their number is known."""
        return self._data / f"{stem}-{number:05}.parquet"

    def note(self, file: Path, note: Note) -> None:
        """Say of a file that it is whole."""
        write_text(self._notes / f"{file.stem}.json", json.dumps(asdict(note)))

    def note_whole(self, stem: str, files: int) -> None:
        """Say of a split that it has so many files and no more to come."""
        write_text(self._notes / f"{stem}.json", json.dumps(files))

    def there(self, stem: str, on_progress: OnProgress) -> tuple[list[Note], bool]:
        """Notes of a split's files that are as they were written, in order, and whether that is all of the split."""
        notes: list[Note] = []
        while (note := self._trusted(self.file(stem, len(notes)))) is not None:
            notes.append(note)
        try:
            if json.loads((self._notes / f"{stem}.json").read_text()) == len(notes):
                return notes, True
        except (OSError, ValueError):
            pass
        (self._notes / f"{stem}.json").unlink(missing_ok=True)
        left = sorted(self._data.glob(f"{stem}-[0-9][0-9][0-9][0-9][0-9].parquet"))[len(notes) :]
        if len(list(self._notes.glob(f"{stem}-[0-9][0-9][0-9][0-9][0-9].json"))) > len(notes):
            on_progress(Progress(f"{stem}: a file of the run before is damaged or missing; it is written anew"))
        for path in left:
            path.unlink()
        return notes, False

    def number(self, stem: str, files: int) -> list[str]:
        """Give a split's files their names for good; returns them."""
        names = []
        for number in range(files):
            file = self.file(stem, number)
            final = file.with_name(f"{file.stem}-of-{files:05}.parquet")
            file.rename(final)
            names.append(f"data/{final.name}")
        return names

    def _trusted(self, file: Path) -> Note | None:
        try:
            note = Note(**json.loads((self._notes / f"{file.stem}.json").read_text()))
            return note if checksum(file) == note.checksum else None
        except (OSError, ValueError, TypeError, InputError):
            return None
