"""Zips of each compression, npz files and prepared folders: all that they hold is read, as far as they let it."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from glioma_hf.data.prepare import prepare
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.glioma_c6 import find_splits, read_rows
from glioma_hf.data.sources.npz import open_npz
from glioma_hf.data.splits import load_images
from tests.data.sources.test_archives import METHODS, TIFF, coco

PARQUET = "data/spec-test-00000-of-00001.parquet"


def read(data: bytes) -> None:
    """The first byte says what it is."""
    door, data = data[:1], data[1:]
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "a.zip"
        path.write_bytes(data)
        if door == b"n":
            with open_npz(path, "X", "y") as arrays:
                for array in arrays:
                    list(array.images())
        elif door == b"p":
            folder = Path(work) / "set"
            (folder / "data").mkdir(parents=True)
            (folder / PARQUET).write_bytes(data)
            (folder / PROVENANCE).write_text(prepared()[1])
            load_images(folder, "test", "all")
        else:
            with Archive(path) as archive:
                for name in archive.names:
                    archive.read(name)
                    archive.open(name).read()
                for split in find_splits(archive):
                    list(read_rows(archive, split))


@cache
def prepared() -> tuple[bytes, str]:
    """Parquet and provenance of a small data set."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "a.zip"
        path.write_bytes(archive_of(zipfile.ZIP_DEFLATED))
        prepare(path, Path(work) / "set")
        content = json.loads((Path(work) / "set" / PROVENANCE).read_text())
        for split in content["splits"]:
            split["checksums"] = []
        return (Path(work) / "set" / PARQUET).read_bytes(), json.dumps(content)


def archive_of(method: int) -> bytes:
    """A zip in the Glioma C6 layout with one image."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        packed.writestr("dataset/anno_test.json", coco())
        packed.writestr("dataset/images/a.tif", TIFF)
    return buffer.getvalue()


def seeds() -> list[bytes]:
    """Zips by each compression, npz stored and compressed, Parquet."""
    arrays = {"X": np.zeros((2, 4, 4, 1), np.float32), "y": np.ones((2, 4, 4, 1), np.int32)}
    made = [b"z" + archive_of(method) for method in METHODS]
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        made.append(b"n" + buffer.getvalue())
    return [*made, b"p" + prepared()[0]]
