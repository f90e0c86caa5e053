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

from pydantic import BaseModel, ConfigDict, ValidationError

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
        pixel_size: of the shapes.
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

    def written(self, folder: Path, cells: int) -> ImageResults:
        """The same, with what the files are now."""
        sums = {name: checksum(folder / name) for name in self.files}
        sizes = {name: (folder / name).stat().st_size for name in self.files}
        return self.model_copy(update={"files": sums, "sizes": sizes, "cells": cells})


class ResultsIndex:
    """The record of one folder, read once and added to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images: dict[str, ImageResults] = {}
        self._lines = 0
        try:
            lines = (folder / MARKER).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        self._lines = sum(bool(line) for line in lines)
        for line in lines[1:]:
            try:
                results = ImageResults.model_validate_json(line)
            except ValidationError:  # cut by a full disk or a kill
                continue
            self.images[results.name] = results

    def tidy(self) -> None:
        """Leave out of the record what no longer counts; before anything is added."""
        if self._lines and (self._lines != len(self.images) + 1 or not read_marker(self.folder)):
            lines = [HEAD, *(results.model_dump_json() for results in self.images.values())]
            write_text(self.folder / MARKER, "\n".join(lines) + "\n")

    def add(self, results: ImageResults) -> None:
        """Keep what is known of an image's results; several processes may do so at once."""
        self.images[results.name] = results
        descriptor = os.open(self.folder / MARKER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # An end before it too: the line before may have been cut.
            begin = "\n" if os.fstat(descriptor).st_size else f"{HEAD}\n"
            data = f"{begin}{results.model_dump_json()}\n".encode()
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

    def check_unchanged(self, known: ImageResults, out: str | Path) -> None:
        """Raise `InputError` where somebody changed a file that is about to be replaced."""
        for file, kept in known.files.items():
            path = self.folder / file
            if kept is not None and path.exists() and path.stat().st_size and checksum(path) != kept:
                raise InputError(
                    f"{Path(out) / file} was changed since predict wrote it; move it away, or give another folder for "
                    "the results"
                )
