"""COCO JSON of data sets: checked, and read into rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from glioma_hf.data.sources.archive import Archive, check_relative
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row, annotated_objects, make_row, read_checked_image
from glioma_hf.errors import InputError


def load_coco(data: bytes, where: str) -> dict[str, Any]:
    """A COCO file's content, checked for what all readers need. Raises `InputError` that begins with `where`."""
    try:
        coco = json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{where} isn't JSON ({error})") from None
    return check_coco(coco, where)


def check_coco(coco: Any, where: str) -> dict[str, Any]:
    """The content of a COCO file, once parsed; see `load_coco`."""
    lists = ("images", "annotations", "categories")
    if isinstance(coco, dict) and isinstance(coco.get("annotations"), dict):
        coco["annotations"] = list(coco["annotations"].values())  # by id, as some files of LIVECell have them
    if not isinstance(coco, dict) or any(not isinstance(coco.get(key), list) for key in lists):
        raise InputError(f"{where} isn't COCO: the lists images, annotations and categories are needed")
    needed = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("id", "image_id", "category_id"),
        "categories": ("id",),
    }
    for key in lists:
        for number, entry in enumerate(coco[key]):
            missing = [f for f in needed[key] if not isinstance(entry, dict) or not _typed(f, entry.get(f))]
            if missing:
                raise InputError(f"{where} isn't COCO: {key} number {number} has no usable {missing[0]!r}")
        repeated = [i for i, n in Counter(entry["id"] for entry in coco[key]).items() if n > 1]
        if repeated:
            raise InputError(f"{where}: {key} has the id {repeated[0]} more than once")
    return coco


def read_coco_rows(
    archive: Archive,
    split: ArchiveSplit,
    repairs: Repairs,
    start: int,
    categories: Callable[[list[dict[str, Any]], str], Mapping[int, int]],
    files: Mapping[str, str],
    subset: Callable[[str], str] = lambda file_name: "",
) -> Iterator[Row]:
    """Rows of a split's COCO file, one per image by rising image id, from number `start` on.

    Args:
        categories: from the file's categories and its name to indices into `CATEGORIES`, by id.
        files: member of the archive by the image's base name.
        subset: a finer subset than the split's, from the image's file name; "" for none.

    Raises `InputError` that names file and object for whatever would corrupt a benchmark.
    """
    where = f"{archive.path}: {split.member}"
    coco = load_coco(archive.read(split.member), where)
    category_index = categories(coco["categories"], where)
    annotations = _by_image(coco, where)
    for image in sorted(coco["images"], key=lambda entry: entry["id"])[start:]:
        name = image["file_name"]
        check_relative(name, where)
        member = files.get(PurePosixPath(name.replace("\\", "/")).name)
        if member is None:
            raise InputError(f"{where}: image {image['id']} ({name}) isn't in the archive")
        data, size = read_checked_image(archive, member)
        if size != (image["width"], image["height"]):
            raise InputError(
                f"{where}: image {image['id']} ({name}) is said to be {image['width']} x {image['height']}, "
                f"the file is {size[0]} x {size[1]}"
            )
        objects = annotated_objects(annotations[image["id"]], size, category_index, where, repairs)
        yield make_row(data, member, size, image["id"], split, objects, subset(name))


def _typed(field: str, value: Any) -> bool:
    return isinstance(value, str) if field == "file_name" else isinstance(value, int) and not isinstance(value, bool)


def _by_image(coco: Mapping[str, Any], where: str) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        if annotation["image_id"] not in grouped:
            raise InputError(f"{where}: annotation {annotation['id']} is of the unknown image {annotation['image_id']}")
        grouped[annotation["image_id"]].append(annotation)
    return grouped
