"""The record that `predict` keeps in a folder of results: which files are its own, and what each image's are from.

It is the folder's marker, a JSON object a line: first the folder's kind, then what was done, image by image, so that a
folder may grow over many runs and a run may be killed at any moment. Of two lines of one image the later one counts.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from glioma_hf import __version__
from glioma_hf.errors import InputError
from glioma_hf.files import checksum, write_text
from glioma_hf.places import LONGEST_NAME, MARKER, read_marker

PREDICTIONS = "predictions"  # the kind of folder
HEAD = json.dumps({"kind": PREDICTIONS, "glioma_hf": __version__})


class ImageResults(BaseModel):
    """What an image's results are from.

    Attributes:
        name: how the names of the files begin.
        image: the image's file name; `place` tells its folder from others, `sha256` is that of its bytes.
        image_id: in the results; never that of another image of the folder.
        model: "FAMILY:BASE"; `model_sha256` is that of its weights, `settings` is how it predicted.
        pixel_size: of the shapes, in micrometres; 0 where it isn't known, and they are in pixels.
        diameter: pixels across a cell, where that was estimated and is far from the model's own.
        cells: how many were found.
        files: SHA-256 of each file; None until it is written.
        sizes: of these, in bytes.
        glioma_hf: the release that wrote them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    image: str
    place: str
    sha256: str
    image_id: int
    model: str
    model_sha256: str
    settings: dict[str, Any]
    pixel_size: float
    diameter: float | None = None
    cells: int | None = None
    files: dict[str, str | None]
    sizes: dict[str, int] = {}
    glioma_hf: str = __version__

    def changes(self, other: ImageResults) -> list[str]:
        """In what another run of the same image differs, in words."""
        words = {
            "the image": (self.sha256, other.sha256),
            "the model": (self.model_sha256, other.model_sha256),
            "the settings": (self.settings, other.settings),
            "the pixel size": (self.pixel_size, other.pixel_size),
            "the kinds of files": (set(self.files), set(other.files)),
        }
        return [word for word, (one, two) in words.items() if one != two]

    def is_whole(self, folder: Path) -> bool:
        """Whether all files are there as they were written, by their sizes."""
        if self.cells is None:
            return False
        try:
            return all((folder / name).stat().st_size == size for name, size in self.sizes.items())
        except OSError:
            return False

    def written(self, folder: Path, cells: int, diameter: float | None) -> ImageResults:
        """The same, with what the files are now."""
        sums = {name: checksum(folder / name) for name in self.files}
        sizes = {name: (folder / name).stat().st_size for name in self.files}
        return self.model_copy(update={"files": sums, "sizes": sizes, "cells": cells, "diameter": diameter})


class FolderTable(BaseModel):
    """The table of all images' cells.

    Attributes:
        table: its file's name; `sha256` is that of its bytes, None while it is written.
        made_from: SHA-256 of what the images' tables were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    made_from: str
    sha256: str | None = None


_ENTRY: TypeAdapter[ImageResults | FolderTable] = TypeAdapter(ImageResults | FolderTable)


class ResultsIndex:
    """The record of one folder, read once and added to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images: dict[str, ImageResults] = {}
        self.table: FolderTable | None = None
        self._lines = 0
        try:
            lines = (folder / MARKER).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        self._lines = sum(bool(line) for line in lines)
        for line in lines[1:]:
            try:
                entry = _ENTRY.validate_json(line)
            except ValidationError:  # cut by a full disk or a kill
                continue
            self._keep(entry)

    def _keep(self, entry: ImageResults | FolderTable) -> None:
        if isinstance(entry, FolderTable):
            self.table = entry
        else:
            self.images[entry.name] = entry

    def tidy(self) -> None:
        """Leave out of the record what no longer counts; before anything is added."""
        entries: list[ImageResults | FolderTable] = [*self.images.values(), *([self.table] if self.table else [])]
        if self._lines and (self._lines != len(entries) + 1 or not read_marker(self.folder)):
            lines = [HEAD, *(entry.model_dump_json() for entry in entries)]
            write_text(self.folder / MARKER, "\n".join(lines) + "\n")

    def add(self, entry: ImageResults | FolderTable) -> None:
        """Keep what is known of an image's results or of the table; several processes may do so at once."""
        self._keep(entry)
        descriptor = os.open(self.folder / MARKER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # An end before it too: the line before may have been cut.
            begin = "\n" if os.fstat(descriptor).st_size else f"{HEAD}\n"
            data = f"{begin}{entry.model_dump_json()}\n".encode()
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / MARKER))
        finally:
            os.close(descriptor)

    def ids(self, names: Iterable[str]) -> dict[str, int]:
        """An id for each image: the one that it has, or a new one."""
        highest = max((results.image_id for results in self.images.values()), default=0)
        ids = {}
        for name in names:
            known = self.images.get(name)
            if known is None:
                highest += 1
            ids[name] = highest if known is None else known.image_id
        return ids

    def check(self, name: str, image: str, files: Iterable[str], out: str | Path) -> None:
        """Raise `InputError` where the files of an image can't be written, or others' files lie there."""
        known = self.images.get(name)
        if known is not None and known.image != image:
            raise InputError(
                f"{out} holds results of {known.image}; {image} is called {name} too, give it another folder"
            )
        for file in files:
            if len(os.fsencode(file)) > LONGEST_NAME:
                raise InputError(f"{image}: {file} has over {LONGEST_NAME} bytes; give the image a shorter name")
            if (known is None or file not in known.files) and os.path.lexists(self.folder / file):
                raise InputError(
                    f"{Path(out) / file} is there already and predict didn't write it; move it away, or give another "
                    "folder for the results"
                )

    def check_table(self, name: str, images: Iterable[Path], out: str | Path) -> None:
        """Raise `InputError` where the table of all cells can't be written: somebody's file, or one of an image."""
        for image in (*images, *(Path(results.image) for results in self.images.values())):
            if image.stem == Path(name).stem:
                raise InputError(f"{image}: {name} is the table of all images' cells; give the image another name")
        path = self.folder / name
        if not os.path.lexists(path):
            return
        if self.table is None:
            raise InputError(
                f"{Path(out) / name} is there already and predict didn't write it; move it away, or give another "
                "folder for the results"
            )
        if self.table.sha256 is not None and path.stat().st_size and checksum(path) != self.table.sha256:
            raise InputError(
                f"{Path(out) / name} was changed since predict wrote it; move it away, or give another folder for the "
                "results"
            )

    def check_unchanged(self, known: ImageResults, out: str | Path) -> None:
        """Raise `InputError` where somebody changed a file that is about to be replaced."""
        for file, kept in known.files.items():
            path = self.folder / file
            if kept is not None and path.exists() and path.stat().st_size and checksum(path) != kept:
                raise InputError(
                    f"{Path(out) / file} was changed since predict wrote it; move it away, or give another folder for "
                    "the results"
                )
