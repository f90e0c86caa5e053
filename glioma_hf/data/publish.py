"""Publishing a prepared data set: the tree of files that `glioma_hf.hub.push` brings to the Hub."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from glioma_hf.data import statistics
from glioma_hf.data.card import card
from glioma_hf.data.features import ALL, CATEGORIES, instances_of, task_categories
from glioma_hf.data.images import decode_image, to_uint8
from glioma_hf.data.parquet import image_bytes, split_rows
from glioma_hf.data.prepared import PROVENANCE, PreparedSplit, read_prepared
from glioma_hf.data.sources import get_source
from glioma_hf.data.sources.archive import check_relative
from glioma_hf.draw import OVERLAP, draw_outlines, overlap_map, tint
from glioma_hf.errors import InputError
from glioma_hf.faults import write_fault
from glioma_hf.files import checksum
from glioma_hf.palette import CATEGORY_COLOURS, name_of
from glioma_hf.plots import pyplot
from glioma_hf.progress import OnProgress, Progress, ignore

PREVIEW_SIDE = 1600  # pixels of the preview's longer side


def build_tree(folder: str | Path, out: Path, repo: str = "THIS_FOLDER", on_progress: OnProgress = ignore) -> list[str]:
    """What goes to the Hub, into the empty folder `out`: Parquet, provenance, figures and the card that shows them.

    Args:
        folder: made by `prepare`; its files are taken as they are.
        repo: the name by which the card's example opens the data set.

    Returns the files' names, sorted. Raises `InputError` where `folder` isn't a prepared data set or matplotlib
    isn't installed.
    """
    folder = Path(folder)
    prepared = read_prepared(folder)
    pyplot()  # without matplotlib nothing is begun
    source = get_source(prepared.source)
    for name in (PROVENANCE, *(file for split in prepared.splits for file in split.files)):
        _copy(folder, name, out)
    for split in prepared.splits:
        for name, kept in zip(split.files, split.checksums, strict=False):
            if checksum(out / name) != kept:
                raise InputError(f"{folder}: {name} isn't the file that was prepared; prepare it again")
    (out / "figures").mkdir()
    pictures = {}
    shown = next((s for s in prepared.splits if sum(s.objects.values())), None)
    if shown is not None:
        on_progress(Progress(f"drawing a preview of {shown.name}"))
        _draw_preview(folder, shown).save(out / "figures" / "preview.png")
        pictures["figures/preview.png"] = f"Polygons over an image of {shown.name}: {_legend(shown)}."
        objects = statistics.measure_objects(folder, on_progress)
        statistics.plot_figures(objects, out / "figures", source.title)
        pictures |= {
            "figures/areas.png": "Areas of the objects.",
            "figures/shapes.png": "Mean axis ratio (short over long axis, the paper's eccentricity) and solidity.",
            "figures/solidity.png": "Solidity against axis ratio and area.",
        }
    text = card(source, prepared, folder, repo, pictures)
    (out / "README.md").write_text(text, encoding="utf-8")
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.name != ".glioma-hf")


def _copy(folder: Path, name: str, out: Path) -> None:
    """A file of the folder, no link and nothing from elsewhere, to the same name in the tree."""
    check_relative(name, str(folder))
    source, target = folder / name, out / name
    try:
        if os.path.realpath(source) != os.path.join(os.path.realpath(folder), *name.split("/")):
            raise InputError(f"{folder}: {name} is a link or lies elsewhere; publish the data set's own files")
        if not source.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as read, target.open("wb") as written:
            shutil.copyfileobj(read, written, 2**20)
    except OSError as error:
        if write_fault(error, out):
            raise
        raise InputError(f"{folder}: {name} can't be read ({error.strerror}); prepare it again") from None


def _draw_preview(folder: Path, split: PreparedSplit) -> Image.Image:
    rows = split_rows(folder, split, str(folder), image=True)
    row = next((row for row in rows if row["objects"]), None)
    if row is None:
        raise InputError(f"{folder}: {split.name} holds no objects, though it says so; prepare it again")
    instances = instances_of(row, ALL)
    grey = to_uint8(decode_image(image_bytes(row, str(folder)), f"{folder}: {row['file_name']}"))
    if grey.shape != instances.size:
        raise InputError(f"{folder}: {row['file_name']} isn't of the size that its row says; prepare it again")
    shown = np.repeat(grey[..., None], 3, 2)
    cells = instances.select(np.isin(instances.categories, list(task_categories("cells"))))
    tint(shown, overlap_map(cells) >= 2, OVERLAP)  # somata and nuclei lie in their cells
    picture = Image.fromarray(shown)
    colours = [CATEGORY_COLOURS[CATEGORIES[c]] for c in instances.categories]
    draw_outlines(picture, instances, colours, line=max(2, max(picture.size) // 800))
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return picture


def _legend(split: PreparedSplit) -> str:
    named = [f"{name} {name_of(CATEGORY_COLOURS[name])}" for name, count in split.objects.items() if count]
    return ", ".join([*named, f"overlaps of cells {name_of(OVERLAP)}"])
