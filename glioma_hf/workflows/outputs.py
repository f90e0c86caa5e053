"""The files that say what was found in an image: one piece of code for every command and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glioma_hf.data.exports import write_geojson, write_label_map, write_label_tiles, write_rois
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import to_uint8
from glioma_hf.data.opened import OpenedImage, reduced
from glioma_hf.draw import overlay, reduced_overlay
from glioma_hf.files import new_file
from glioma_hf.instances import Instances
from glioma_hf.models.base import Pixels
from glioma_hf.shape import shape_table

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

LONGEST = 8192  # pixels of a side of an overlay, where the image is too large to hold
CATEGORY_ID = 1  # of a cell in COCO results, as COCO files count from 1
# Ends of file names by what a file holds; the results come last, so that they are there only where all else is.
ENDINGS = {
    "overlay": ".png",
    "shapes": ".csv",
    "labels": "_labels.tif",
    "rois": "_rois.zip",
    "qupath": ".geojson",
    "results": ".json",
}
UNITS = {"um2": "µm^2", "um": "µm", "px": "px"}  # as columns' names end, and as QuPath writes them


def write_instances(
    files: Mapping[str, Path], pixels: Pixels, instances: Instances, image_id: int = 1, pixel_size: float = 0.0
) -> None:
    """Write what was found in one image, each file whole or not at all; in all of them cells count from 1.

    Args:
        files: where, by kind, some or all of `ENDINGS`: an overlay PNG, a CSV of shapes, a flattened label map, a zip
            of ImageJ regions, GeoJSON for QuPath, COCO results.
        pixels: the image (H, W[, channels]). Of one that is opened the overlay may be smaller, see `reduction`, and the
            label map is in tiles: nothing of its size is held.
        image_id: of the results.
        pixel_size: micrometres per pixel, for the shapes; 0 where it isn't known.
    """
    instances = numbered(instances)
    measured = measures(instances, pixel_size) if {"shapes", "qupath"} & set(files) else None
    for kind in ENDINGS:
        if kind not in files:
            continue
        with new_file(files[kind]) as partial:
            if kind == "overlay":
                _picture(pixels, instances).save(partial, "PNG")
            elif kind == "shapes" and measured is not None:
                measured.to_csv(partial, index=False, float_format="%.6g")
            elif kind == "labels":
                (write_label_tiles if isinstance(pixels, OpenedImage) else write_label_map)(instances, partial)
            elif kind == "rois":
                write_rois(instances, partial)
            elif kind == "qupath" and measured is not None:
                write_geojson(instances, partial, for_qupath(instances, measured.to_dict("records")))
            else:
                partial.write_text(json.dumps(results(instances, image_id)))


def reduction(pixels: Pixels) -> int:
    """How many pixels of an image, along a side, become one of its overlay: 1 unless it is too large to hold."""
    return -(-max(pixels.shape[:2]) // LONGEST) if isinstance(pixels, OpenedImage) else 1


def _picture(pixels: Pixels, instances: Instances) -> Image:
    if isinstance(pixels, OpenedImage):
        factor = reduction(pixels)
        return reduced_overlay(to_uint8(reduced(pixels, factor)), instances, factor)
    return overlay(to_uint8(pixels), instances)


def results(instances: Instances, image_id: int) -> list[dict[str, Any]]:
    """COCO results: annotations without what only a data set's file needs.

    `category_id` is 1, or where types are told apart the place in `CATEGORIES`, as prepared data sets have it.
    """
    rows = instances.to_coco(image_id, range(len(CATEGORIES)) if is_typed(instances) else [CATEGORY_ID])
    return [{name: value for name, value in row.items() if name not in ("id", "iscrowd")} for row in rows]


def shapes(instances: Instances, pixel_size: float = 1.0) -> DataFrame:
    """`shape_table` with the categories' names, or without them where all are the same."""
    table = shape_table(instances, pixel_size)
    if not is_typed(instances):
        return table.drop(columns="category")
    return table.assign(category=[CATEGORIES[category] for category in instances.categories])


def is_typed(instances: Instances) -> bool:
    """Whether what found them told types apart: all are of the first category otherwise."""
    return bool(instances.categories.any())


def measures(instances: Instances, pixel_size: float = 0.0) -> DataFrame:
    """What is measured of each object, every column with its unit in its name, ids as they are.

    Lengths and areas are all in micrometres (`area_um2`, `x_um`) where the size of a pixel is known and all in pixels
    (`area_px`, `x_px`) where it is 0. `axis_ratio` is short over long axis, which the paper calls eccentricity;
    `eccentricity` is the usual one, that of the ellipse of the same moments: 0 for a circle, towards 1 for a line.
    """
    table = shapes(instances, pixel_size or 1.0)
    table[["x", "y"]] *= pixel_size or 1.0
    table.insert(table.columns.get_loc("axis_ratio") + 1, "eccentricity", np.sqrt(1 - table["axis_ratio"] ** 2))
    if instances.scores is None:
        table = table.drop(columns="score")
    length, area = ("um", "um2") if pixel_size else ("px", "px")
    units = {"area": area} | dict.fromkeys(("x", "y", "perimeter", "major_axis", "minor_axis"), length)
    return table.rename(columns={name: f"{name}_{unit}" for name, unit in units.items()})


def numbered(instances: Instances) -> Instances:
    """The same, with ids from 1 on in their order, as label maps and regions count them."""
    return replace(instances, ids=np.arange(1, len(instances) + 1))


def for_qupath(instances: Instances, rows: Sequence[Mapping[Any, Any]]) -> list[dict[str, float]]:
    """The numbers of each object's row of `measures`, by names as QuPath's tables have them: "Area µm^2"."""
    by_id = {row["id"]: row for row in rows}  # an object without pixels has no row
    told = (by_id.get(number, {}) for number in instances.ids.tolist())
    return [{_told(name): value for name, value in row.items() if isinstance(value, float)} for row in told]


def _told(column: str) -> str:
    name, _, unit = column.rpartition("_")
    told = f"{name} {UNITS[unit]}" if unit in UNITS else column
    return told.replace("_", " ").replace("axis ratio", "axis ratio (short / long)").capitalize()


def coco_file(images: Sequence[tuple[str, Instances]]) -> dict[str, Any]:
    """COCO content of named images and what was found in them: entries of images, annotations with scores, categories.

    Other than COCO results it says which image is which, so that `evaluate` matches images by their names. Ids of
    annotations count from 1 through all images, which isn't to say that they are an object's own: that is `cell_id`.
    """
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, instances) in enumerate(images, start=1):
        height, width = instances.size
        entries.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for row in instances.to_coco(image_id, range(CATEGORY_ID, CATEGORY_ID + len(CATEGORIES))):
            annotations.append({**row, "id": len(annotations) + 1, "cell_id": row["id"]})
    used = {row["category_id"] for row in annotations} | {CATEGORY_ID}
    named = ({"id": number, "name": name} for number, name in enumerate(CATEGORIES, start=CATEGORY_ID))
    categories = [category for category in named if category["id"] in used]
    return {"images": entries, "annotations": annotations, "categories": categories}
