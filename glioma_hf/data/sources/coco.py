"""COCO JSON of data sets: checked, and read into rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.cocofile import CocoFile, ordered
from glioma_hf.data.sources.image_names import ImageNames
from glioma_hf.data.sources.rows import (
    ArchiveSplit,
    Repairs,
    Row,
    annotated_objects,
    ignored_regions,
    is_crowd,
    make_row,
    read_checked_image,
)
from glioma_hf.errors import InputError


def read_coco_rows(
    archive: Archive,
    split: ArchiveSplit,
    repairs: Repairs,
    start: int,
    categories: Callable[[Sequence[Mapping[str, Any]], str], Mapping[Any, int]],
    names: ImageNames,
    subset: Callable[[str], str] = lambda file_name: "",
) -> Iterator[Row]:
    """Rows of a split's COCO file, one per image by rising image id, from number `start` on.

    The file isn't held in memory, but for its images. Regions with `iscrowd` become the row's `ignored`. Ids that
    aren't whole numbers are numbered anew from 1, told as a repair; images are then in the file's order.

    Args:
        categories: from the file's categories and its name to indices into `CATEGORIES`, by id.
        names: of the archive's images.
        subset: a finer subset than the split's, from the image's file name; "" for none.

    Raises `InputError` that names file and object for whatever would corrupt a benchmark.
    """
    where = f"{archive.path}: {split.member}"
    with archive.open(split.member) as file:
        coco = CocoFile(file, where)
        category_index = categories(coco.categories, where)
        images = ordered(coco.images.values())
        if start == 0 and any(number != image.id for number, image in images):
            repairs.note("ids of images numbered anew", f"{where}: image {images[0][1].id!r} has no number as its id")
        if start == 0 and coco.renumbered:
            repairs.note("ids of annotations numbered anew", f"{where}: not all of them have a number as their id")
        for number, image in images[start:]:
            called = f"image {image.id} ({image.file_name})"
            member = names.find(image.file_name, f"{where}: {called}")
            data, size = read_checked_image(archive, member, image.size)
            if size != image.size:
                raise InputError(
                    f"{where}: {called} is said to be {image.size[0]} x {image.size[1]}, "
                    f"the file is {size[0]} x {size[1]}"
                )
            annotations = coco.annotations(image.id)
            crowds = [a for a in annotations if is_crowd(a, where)]
            cells = [a for a in annotations if not is_crowd(a, where)] if crowds else annotations
            objects = annotated_objects(cells, size, category_index, where, repairs)
            ignored = ignored_regions(crowds, size, category_index, where)
            yield make_row(data, member, size, number, split, objects, subset(image.file_name), ignored)
