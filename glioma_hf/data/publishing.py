"""Rows -> a folder that `load_dataset` opens: Parquet files and the data card.

The card names configs and splits over the same files: `default` with the splits `spec` and `gen`,
`spec` with train, validation and test, `gen` with test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

from glioma_hf.data.archive import Archive
from glioma_hf.data.features import CATEGORIES, features
from glioma_hf.data.glioma_c6 import LICENCE_NOTE, find_parts, read_rows
from glioma_hf.files import new_folder

ROWS_PER_GROUP = 4  # of 5 megapixels: one row is read without fetching the rest of the file
CARD = Path(__file__).with_name("card.md")


@dataclass
class PreparedSplit:
    """What one Parquet file holds."""

    subset: str
    split: str
    images: int = 0
    objects: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CATEGORIES, 0))

    @property
    def file(self) -> str:
        """Its name in the folder."""
        return f"data/{self.subset}-{self.split}-00000-of-00001.parquet"


def prepare(
    archive_path: str | Path, out: str | Path, progress: Callable[[str], None] = lambda _: None
) -> list[PreparedSplit]:
    """A Glioma C6 archive (zip or folder) -> the folder `out` that `load_dataset(out)` opens.

    Args:
        archive_path: read in place.
        out: written whole or not at all.
        progress: called with a line after each image.

    Raises `InputError` for anything wrong with the archive or the output folder.
    """
    prepared = []
    with Archive(archive_path) as archive, new_folder(out) as folder:
        (folder / "data").mkdir()
        for part in find_parts(archive):
            split = PreparedSplit(part.subset, part.split)
            _write_parquet(folder / split.file, _counted(read_rows(archive, part), split, progress))
            prepared.append(split)
        (folder / "README.md").write_text(card(prepared), encoding="utf-8")
    return prepared


def card(splits: list[PreparedSplit]) -> str:
    """The data card: YAML for the Hub and `load_dataset`, then prose with the counts of these files."""
    configs = [
        {
            "config_name": "default",
            "default": True,
            "data_files": [
                {"split": subset, "path": [s.file for s in splits if s.subset == subset]}
                for subset in dict.fromkeys(s.subset for s in splits)
            ],
        }
    ]
    for subset in dict.fromkeys(s.subset for s in splits):
        files = [{"split": s.split, "path": s.file} for s in splits if s.subset == subset]
        configs.append({"config_name": subset, "data_files": files})
    columns = _card_features()
    front = {
        "pretty_name": "Glioma C6",
        "license": "cc-by-nc-4.0",
        "task_categories": ["image-segmentation"],
        "tags": ["biology", "microscopy", "phase-contrast", "cell-segmentation", "instance-segmentation"],
        "size_categories": ["n<1K"],
        "configs": configs,
        "dataset_info": [{"config_name": c["config_name"], "features": columns} for c in configs],
    }
    used = [c for c in CATEGORIES if any(s.objects[c] for s in splits)]
    header = f"| subset | split | images | {' | '.join(used)} |\n|{'---|' * (3 + len(used))}"
    lines = [f"| {s.subset} | {s.split} | {s.images} | {' | '.join(str(s.objects[c]) for c in used)} |" for s in splits]
    body = Template(CARD.read_text(encoding="utf-8"))
    table = "\n".join([header, *lines])
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n" + body.substitute(table=table, licence=LICENCE_NOTE)


def _counted(
    rows: Iterable[dict[str, Any]], split: PreparedSplit, progress: Callable[[str], None]
) -> Iterable[dict[str, Any]]:
    for row in rows:
        split.images += 1
        for item in row["objects"]:
            split.objects[CATEGORIES[item["category"]]] += 1
        progress(f"{split.subset}/{split.split}: {row['file_name']}, {len(row['objects'])} objects")
        yield row


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Without the metadata of `datasets` in the schema: releases before 4 can't read that of later ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = features().arrow_schema.remove_metadata()
    with pq.ParquetWriter(path, schema, write_page_index=True) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema))


def _card_features() -> list[dict[str, Any]]:
    """The columns in the card's YAML, spelled as every release of `datasets` from 3.6 on reads them."""
    names = {str(i): name for i, name in enumerate(CATEGORIES)}
    objects = [
        {"name": "id", "dtype": "int64"},
        {"name": "category", "dtype": {"class_label": {"names": names}}},
        {"name": "segmentation", "sequence": {"sequence": "float64"}},
        {"name": "bbox", "sequence": "float64", "length": 4},
        {"name": "area", "dtype": "float64"},
    ]
    plain = {
        "image_id": "int64",
        "file_name": "string",
        "width": "int32",
        "height": "int32",
        "subset": "string",
        "split": "string",
    }
    return [
        {"name": "image", "dtype": "image"},
        *({"name": name, "dtype": kind} for name, kind in plain.items()),
        {"name": "objects", "list": objects},
    ]
