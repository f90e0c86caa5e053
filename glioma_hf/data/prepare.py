"""Rows -> a folder that `load_dataset` opens: Parquet files, their provenance and the data card.

A split's rows lie in files of some 64 MB of images, one row group an image, so that one row is read
without the rest. A run that is broken off goes on after the last whole file, see `glioma_hf.data.parts`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from glioma_hf import __version__
from glioma_hf.data.card import card
from glioma_hf.data.features import CATEGORIES, features
from glioma_hf.data.parts import Note, Parts
from glioma_hf.data.prepared import PROVENANCE, Prepared, PreparedSplit
from glioma_hf.data.sources import get_source
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.base import Source
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row
from glioma_hf.files import checksum, new_file, resumable_folder
from glioma_hf.progress import OnProgress, Progress, ignore

KIND = "prepared data set"
IMAGE_BYTES_PER_FILE = 64 * 2**20
FORMAT = 3  # of the files written here; a run of another format isn't gone on with


def prepare(
    archive_path: str | Path,
    out: str | Path,
    source: str = "glioma_c6",
    strict: bool = False,
    on_progress: OnProgress = ignore,
) -> Prepared:
    """An archive (zip or folder) of a source -> the folder `out` that `load_dataset(out)` opens.

    Args:
        archive_path: read in place.
        out: written whole or not at all; a run that was broken off is gone on with.
        source: a name of `glioma_hf.data.sources.SOURCES`.
        strict: repairs become errors.
        on_progress: hears of each image, counted within its split, and of each repair.

    Raises `InputError` for anything wrong with the archive or the output folder.

    >>> from datasets import load_dataset                   # doctest: +SKIP
    >>> prepare("LIVECell.zip", "livecell", "livecell")     # doctest: +SKIP
    >>> load_dataset("livecell", split="train")             # doctest: +SKIP
    """
    chosen = get_source(source)
    with Archive(archive_path) as archive:
        job = json.dumps([FORMAT, __version__, source, strict, archive.fingerprint()])
        with resumable_folder(out, KIND, job, [archive_path], on_progress) as folder:
            parts = Parts(folder)
            repairs = Repairs(strict, on_progress)
            splits = [
                _write_split(archive, chosen, split, parts, repairs, on_progress)
                for split in chosen.find_splits(archive)
            ]
            for split in splits:
                split.files = parts.number(stem_of(split), len(split.checksums))
            name = archive.path.name.encode("utf-8", "backslashreplace").decode()  # a card is UTF-8, a name may not be
            prepared = Prepared(source, name, splits, dict(repairs.counts))
            (folder / PROVENANCE).write_text(json.dumps(asdict(prepared), indent=2))
            (folder / "README.md").write_text(card(chosen, prepared, folder), encoding="utf-8")
    return prepared


def _write_split(
    archive: Archive,
    source: Source,
    origin: ArchiveSplit,
    parts: Parts,
    repairs: Repairs,
    on_progress: OnProgress,
) -> PreparedSplit:
    """Write the files of a split that an earlier run didn't; adds that run's repairs to `repairs`."""
    split = PreparedSplit(origin.subset, origin.split, objects=dict.fromkeys(source.categories, 0))
    stem = stem_of(split)
    there, whole = parts.there(stem, on_progress)
    for note in there:
        _add(split, note)
        repairs.counts.update(note.repairs)
    if split.images:
        on_progress(Progress(f"{split.name}: {split.images} images are there from the run before", split.images))
    if whole:
        return split
    before = repairs.counts.copy()
    rows = _told(source.read_rows(archive, origin, repairs, split.images), split.name, split.images, on_progress)
    while (first := next(rows, None)) is not None:
        file = parts.file(stem, len(split.checksums))
        images, objects, ignored = _write_parquet(file, chain([first], rows), source.categories)
        note = Note(images, dict(objects), ignored, dict(repairs.counts - before), checksum(file))
        before = repairs.counts.copy()
        parts.note(file, note)
        _add(split, note)
    parts.note_whole(stem, len(split.checksums))
    return split


def stem_of(split: PreparedSplit) -> str:
    """How the names of a split's files begin."""
    return f"{split.subset}-{split.split}"


def _add(split: PreparedSplit, note: Note) -> None:
    split.images += note.images
    split.ignored += note.ignored
    split.checksums.append(note.checksum)
    for name, count in note.objects.items():
        split.objects[name] += count


def _told(rows: Iterable[Row], name: str, number: int, on_progress: OnProgress) -> Iterator[Row]:
    """The rows; tells of each, counting on from `number`."""
    for count, row in enumerate(rows, start=number + 1):
        on_progress(Progress(f"{name} {count}: {row['file_name']}, {len(row['objects'])} objects", count))
        yield row


def _write_parquet(path: Path, rows: Iterable[Row], categories: Sequence[str]) -> tuple[int, Counter[str], int]:
    """Write rows until the file is full; one is held at a time.

    Without the metadata of `datasets` in the schema: releases before 4 can't read that of later ones. Returns the
    numbers of images, objects by category and ignored regions.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features(categories).arrow_schema.remove_metadata()
    images = size = ignored = 0
    objects: Counter[str] = Counter()
    with (
        new_file(path) as partial,
        partial.open("wb") as file,  # pyarrow knows names in UTF-8 alone
        pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False, write_page_index=True) as writer,
    ):
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema))
            images += 1
            ignored += len(row["ignored"])
            objects.update(CATEGORIES[item["category"]] for item in row["objects"])
            size += len(row["image"]["bytes"])
            if size >= IMAGE_BYTES_PER_FILE:
                break
    return images, objects, ignored
