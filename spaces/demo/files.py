"""Jobs that write what a visitor takes home: the files of one image, and one archive of many."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from batch import FILES, told_apart
from cells import chosen
from kept import kept_image
from PIL import Image
from sessions import session

from glioma_hf import Instances
from glioma_hf.data.exports import write_geojson, write_label_map, write_rois
from glioma_hf.data.images import to_uint8
from glioma_hf.draw import overlay, scale_bar
from glioma_hf.palette import SERIES
from glioma_hf.progress import OnProgress, Progress
from glioma_hf.workflows.outputs import coco_file, for_qupath, measures

CUT = 0.2  # share of its area from which on a cell counts as cut by flattening
OF_IMAGE = ("pixel_size_um", "model", "score_threshold", "date")  # columns that say the same of all cells of an image
Job = tuple[str, str, dict[str, Any]]  # folder of an image, stem of its files' names, its facts


def write_files(tell: OnProgress, folder: str, stem: str, facts: dict[str, Any]) -> tuple[list[str], int]:
    """The files of one image, a zip of all of them first; how many cells the label map cuts by over a fifth."""
    target = Path(folder) / FILES
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    cells, kinds = chosen(folder, facts["threshold"])
    table = _table(cells, kinds, facts)
    names = {name: target / f"{stem}_{name}" for name in ("cells.csv", "coco.json", "session.json")}
    names["cells.csv"].write_text(_csv(table, facts["pixel"]), encoding="utf-8")
    names["coco.json"].write_text(json.dumps(coco_file([(facts["name"], cells)])))
    names["session.json"].write_text(session([(folder, facts)]))
    pictures, lost = _pictures(target, stem, folder, cells, facts, table)
    files = [*names.values(), *pictures]
    packed = target / f"{stem}_all.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
    return [str(file) for file in (packed, *files)], lost


def write_all(tell: OnProgress, jobs: Sequence[Job], target: str) -> str:
    """One zip of many images: a table of cells, one of images, one COCO file, one session, and each image's pictures.

    Images called the same, of several folders, get a number in tables and COCO: their cells couldn't be told apart.
    """
    rows: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    sets: list[tuple[str, Instances]] = []
    folder = Path(target).parent / "all"
    folder.mkdir(exist_ok=True)
    known = all(facts["pixel"] for _, _, facts in jobs)
    names = told_apart([(Path(facts["name"]).stem, Path(facts["name"]).suffix) for _, _, facts in jobs])
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (place, stem, facts) in enumerate(jobs):
            tell(Progress(f"writing {facts['name']}", number, len(jobs)))
            facts = {**facts, "name": names[number]}
            cells, kinds = chosen(place, facts["threshold"])
            sets.append((facts["name"], cells))
            images.append(_image(cells, facts))
            table = _table(cells, kinds, facts)
            # One table has one unit: micrometres where all images have them, else pixels.
            rows += table if known or not facts["pixel"] else _table(cells, kinds, facts, in_pixels=True)
            for file in _pictures(folder, stem, place, cells, facts, table)[0]:
                kind = file.name.removeprefix(f"{stem}_")
                archive.write(file, f"{FOLDERS[kind]}/{stem}{Path(kind).suffix}")
                file.unlink()
        archive.writestr("cells.csv", _csv(rows, float(known)))
        archive.writestr("images.csv", _written(list(images[0]), images))
        archive.writestr("coco.json", json.dumps(coco_file(sets)))
        archive.writestr("session.json", session([(place, facts) for place, _, facts in jobs]))
    folder.rmdir()
    return target


FOLDERS = {
    "qupath.geojson": "qupath",
    "imagej_rois.zip": "imagej_rois",
    "labels.tif": "label_maps",
    "labels_preview.png": "label_maps_preview",
    "overlay.png": "overlays",
}


def _pictures(
    target: Path, stem: str, folder: str, cells: Instances, facts: dict[str, Any], table: list[dict[str, Any]]
) -> tuple[list[Path], int]:
    """Regions and pictures of an image in `target`; how many cells its label map cuts."""
    files = [target / f"{stem}_{kind}" for kind in FOLDERS]
    geojson, rois, labels, preview, outlined = files
    write_geojson(cells, geojson, for_qupath(cells, table))
    write_rois(cells, rois, by_id=True)
    write_label_map(cells, labels, by_id=True)
    flat = cells.to_label_map()
    _coloured(flat).save(preview)
    picture = overlay(to_uint8(kept_image(folder)), cells)
    scale_bar(picture, facts["pixel"])
    picture.save(outlined)
    left = np.bincount(flat.ravel(), minlength=len(cells) + 1)[1:]
    return files, int((left < (1 - CUT) * cells.areas).sum())


def _table(
    cells: Instances, kinds: Sequence[str], facts: dict[str, Any], in_pixels: bool = False
) -> list[dict[str, Any]]:
    """A row for each cell, with the image's name and the units in the columns' names."""
    rows = measures(cells, 0.0 if in_pixels else facts["pixel"]).to_dict("records")
    own = dict(zip(OF_IMAGE, (facts["pixel"] or "", facts["model"], facts["threshold"], facts["date"]), strict=True))
    return [{"file_name": _called(facts), **row, "source": kind, **own} for row, kind in zip(rows, kinds, strict=True)]


def _called(facts: dict[str, Any]) -> str:
    """What an image is called in tables: of a stack with the page."""
    return f"{facts['name']} ({facts['plane']})" if facts["plane"] else facts["name"]


def _image(cells: Instances, facts: dict[str, Any]) -> dict[str, Any]:
    """A row for an image: those without a cell are in no row of cells, and count for a mean."""
    height, width = cells.size
    area = width * height * facts["pixel"] ** 2 / 1e6
    own = {name: facts[key] for name, key in zip(OF_IMAGE[1:], ("model", "threshold", "date"), strict=True)}
    return {
        "file_name": _called(facts),
        "cells": len(cells),
        "cells_per_mm2": len(cells) / area if area else "",
        "width_px": width,
        "height_px": height,
        OF_IMAGE[0]: facts["pixel"] or "",
        **own,
        "corrections": facts["corrections"],
    }


def _csv(rows: list[dict[str, Any]], pixel: float) -> str:
    none = Instances.from_rles([], (1, 1), scores=[])
    names = list(rows[0]) if rows else ["file_name", *measures(none, pixel), "source", *OF_IMAGE]
    return _written(names, rows)


def _written(names: list[str], rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


def _coloured(labels: np.ndarray) -> Image.Image:
    """A label map that can be looked at."""
    colours = np.zeros((len(SERIES) + 1, 3), np.uint8)
    colours[1:] = SERIES
    return Image.fromarray(colours[np.where(labels > 0, (labels - 1) % len(SERIES) + 1, 0)])
