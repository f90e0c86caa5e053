"""One table of all cells of a folder of results: what `predict` writes last."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from glioma_hf.files import new_file
from glioma_hf.workflows.outputs import ENDINGS
from glioma_hf.workflows.results_index import ImageResults

TABLE = "all_cells.csv"
POWERS = {"_um2": 2, "_um": 1}  # of the size of a pixel, by how a column's name ends


def write_folder_table(folder: Path, images: Iterable[ImageResults]) -> None:
    """`all_cells.csv`: the rows of all images' tables, with the image's name, the size of its pixels and the model.

    One table has one unit: micrometres where the size of a pixel is known of all images with cells, else pixels. Rows
    are read and written one at a time.
    """
    rows = [image for image in images if image.cells]
    in_pixels = not all(image.pixel_size for image in rows)
    columns = _columns(folder, rows, in_pixels)
    with new_file(folder / TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for image in rows:
            own = {"file_name": image.image, "pixel_size_um": image.pixel_size or "", "model": image.model}
            with _open(folder, image) as table:
                for row in csv.DictReader(table):
                    shown = dict(_scaled(row, image.pixel_size)) if in_pixels and image.pixel_size else row
                    writer.writerow({**own, **shown})


def _columns(folder: Path, images: Iterable[ImageResults], in_pixels: bool) -> list[str]:
    """Of the table: those of all images' tables, in the order in which they come."""
    names: dict[str, None] = {}
    for image in images:
        with _open(folder, image) as table:
            for name in csv.DictReader(table).fieldnames or ():
                names[_in_pixels(name) if in_pixels else name] = None
    return ["file_name", *(names or ["id"]), "pixel_size_um", "model"]


def _open(folder: Path, image: ImageResults) -> TextIO:
    return (folder / f"{image.name}{ENDINGS['shapes']}").open(newline="", encoding="utf-8")


def _scaled(row: dict[str, str], pixel_size: float) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        power = next((power for end, power in POWERS.items() if name.endswith(end)), 0)
        yield _in_pixels(name), f"{float(value) / pixel_size**power:.6g}" if power else value


def _in_pixels(name: str) -> str:
    end = next((end for end in POWERS if name.endswith(end)), "")
    return f"{name.removesuffix(end)}_px" if end else name
