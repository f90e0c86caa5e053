"""LIVECell: phase-contrast images of eight cell lines, in COCO JSON with its official splits.

Layout, wherever it is nested: `livecell_coco_train.json`, `livecell_coco_val.json`,
`livecell_coco_test.json` (`annotations/LIVECell/`) and TIFF images below `images/`, whose names begin
with the cell line (`A172_Phase_C7_1_00d00h00m_1.tif`). The cell line is the column `subset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.base import Source
from glioma_hf.data.sources.coco import read_coco_rows
from glioma_hf.data.sources.image_names import ImageNames
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row, find_split_files
from glioma_hf.errors import InputError

CELL_LINES = ("A172", "BT474", "BV2", "Huh7", "MCF7", "SHSY5Y", "SkBr3", "SKOV3")


def find_splits(archive: Archive) -> list[ArchiveSplit]:
    """The official splits. Raises `InputError` where there is none or one is there twice."""
    said = "livecell_coco_train.json, _val.json or _test.json"
    return find_split_files(archive, "livecell", r"livecell_coco_(train|val|test)\.json", said)


def read_rows(archive: Archive, split: ArchiveSplit, repairs: Repairs | None = None, start: int = 0) -> Iterator[Row]:
    """Rows of one split by rising image id. Raises `InputError` as `read_coco_rows`, and for another cell line."""

    def cell_line(file_name: str) -> str:
        prefix = PurePosixPath(file_name).name.partition("_")[0].lower()
        for line in CELL_LINES:
            if line.lower() == prefix:
                return line
        raise InputError(
            f"{archive.path}: {split.member}: {file_name} doesn't begin with a cell line ({', '.join(CELL_LINES)})"
        )

    yield from read_coco_rows(archive, split, repairs or Repairs(), start, _categories, ImageNames(archive), cell_line)


def _categories(categories: Sequence[Mapping[str, Any]], where: str) -> Mapping[Any, int]:
    return {category["id"]: 0 for category in categories}  # all are cells


SOURCE = Source(
    title="LIVECell",
    homepage="https://sartorius-research.github.io/LIVECell",
    licence="cc-by-nc-4.0",
    licence_note="CC BY-NC 4.0, as the data set's page states.",
    summary=(
        "Phase-contrast images of eight cell lines (A172, BT474, BV2, Huh7, MCF7, SHSY5Y, SkBr3, SKOV3; column "
        "`subset`), after Edlund et al., *LIVECell: A large-scale dataset for label-free live cell segmentation*, "
        "Nature Methods 2021."
    ),
    limits=(
        "One category, `cell`. This reader was tried on synthetic archives in the layout of LIVECell, not on its own "
        "files."
    ),
    citation="""@article{edlund2021livecell,
  title   = {LIVECell: A large-scale dataset for label-free live cell segmentation},
  author  = {Edlund, Christoffer and Jackson, Timothy R and Khalid, Nabeel and others},
  journal = {Nature Methods},
  volume  = {18},
  pages   = {1038--1045},
  year    = {2021}
}""",
    tags=("phase-contrast",),
    find_splits=find_splits,
    read_rows=read_rows,
)
