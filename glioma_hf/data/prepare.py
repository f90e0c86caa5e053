"""Rows -> a folder that `load_dataset` opens: Parquet files, their provenance and the data card.

A split's rows lie in files of some 64 MB of images, one row group an image, so that one row is read
without the rest. A run that is broken off goes on after the last whole file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glioma_hf.data.card import card
from glioma_hf.data.features import CATEGORIES, features
from glioma_hf.data.prepared import PROVENANCE, Prepared, PreparedSplit
from glioma_hf.data.sources import get_source
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.base import Source
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row
from glioma_hf.files import new_file, resumable_folder
from glioma_hf.progress import OnProgress, Progress, ignore

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
        job = json.dumps([FORMAT, source, strict, archive.fingerprint()])
        with resumable_folder(out, job) as folder:
            (folder / "data").mkdir(exist_ok=True)
            repairs = Repairs(strict, on_progress)
            splits = [
                _write_split(archive, chosen, split, folder, repairs, on_progress)
                for split in chosen.find_splits(archive)
            ]
            prepared = Prepared(source, archive.path.name, splits, dict(repairs.counts))
            for marker in folder.glob("data/*.done"):
                marker.unlink()
            (folder / PROVENANCE).write_text(json.dumps(asdict(prepared), indent=2))
            (folder / "README.md").write_text(card(chosen, prepared, folder), encoding="utf-8")
    return prepared


def _write_split(
    archive: Archive,
    source: Source,
    origin: ArchiveSplit,
    folder: Path,
    repairs: Repairs,
    on_progress: OnProgress,
) -> PreparedSplit:
    """Write the files of a split that an earlier run didn't; adds that run's repairs to `repairs`."""
    stem = f"data/{origin.subset}-{origin.split}"
    split = PreparedSplit(origin.subset, origin.split, objects=dict.fromkeys(source.categories, 0))
    written = 0
    while (marker := folder / f"{stem}-{written:05}.done").exists():
        content = json.loads(marker.read_text())
        _add(split, content)
        repairs.counts.update(content["repairs"])
        written += 1
    if split.images:
        on_progress(Progress(f"{split.name}: {split.images} images are there from the run before", split.images))
    if not (folder / f"{stem}.done").exists():
        before = repairs.counts.copy()
        rows_left = source.read_rows(archive, origin, repairs, split.images)
        for rows in _files(rows_left, split.name, split.images, on_progress):
            file = folder / f"{stem}-{written:05}.parquet"
            _write_parquet(file, rows, source.categories)
            objects = Counter(CATEGORIES[item["category"]] for row in rows for item in row["objects"])
            ignored = sum(len(row["ignored"]) for row in rows)
            content = {"images": len(rows), "objects": objects, "ignored": ignored, "repairs": repairs.counts - before}
            before = repairs.counts.copy()
            file.with_suffix(".done").write_text(json.dumps(content))
            _add(split, content)
            written += 1
        (folder / f"{stem}.done").touch()
    for number in range(written):  # now that their number is known
        split.files.append(f"{stem}-{number:05}-of-{written:05}.parquet")
        unnumbered = folder / f"{stem}-{number:05}.parquet"
        if unnumbered.exists():
            unnumbered.rename(folder / split.files[-1])
    return split


def _add(split: PreparedSplit, content: dict[str, Any]) -> None:
    split.images += content["images"]
    split.ignored += content["ignored"]
    for name, count in content["objects"].items():
        split.objects[name] += count


def _files(rows: Iterable[Row], name: str, number: int, on_progress: OnProgress) -> Iterator[list[Row]]:
    """The rows of one file at a time; tells of each row, counting on from `number`."""
    group: list[Row] = []
    size = 0
    for count, row in enumerate(rows, start=number + 1):
        on_progress(Progress(f"{name} {count}: {row['file_name']}, {len(row['objects'])} objects", count))
        group.append(row)
        size += len(row["image"]["bytes"])
        if size >= IMAGE_BYTES_PER_FILE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write_parquet(path: Path, rows: list[Row], categories: Sequence[str]) -> None:
    """Without the metadata of `datasets` in the schema: releases before 4 can't read that of later ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features(categories).arrow_schema.remove_metadata()
    with (
        new_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", use_dictionary=False, write_page_index=True) as writer,
    ):
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema))
