"""Glioma C6: from the archive of Zenodo record 15083188 (or 17352019) to rows.

Layout: `dataset/spec/{train,valid,test}/images/*.tif` and `dataset/gen/images/*.tif`, with COCO files
`anno_train.json`, `anno_valid.json`, `anno_test.json` and `anno_gen.json` among them. The reader finds
the COCO files by name wherever they are nested and is strict in what would corrupt a benchmark.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from glioma_hf.data.archive import Archive, check_relative
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import SUFFIXES, decode_image, image_size
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

ZENODO_URL = "https://zenodo.org/records/17352019/files/dataset.zip?download=1"
LICENCE_NOTE = (
    "Zenodo states CC BY-NC 4.0, the paper (arXiv 2511.07286) CC BY-NC-ND: keep to the stricter of the two in doubt."
)
# (subset, split) by the ending of the COCO file's name.
ANNOTATION_FILES = {
    "train": ("spec", "train"),
    "valid": ("spec", "validation"),
    "val": ("spec", "validation"),
    "test": ("spec", "test"),
    "gen": ("gen", "test"),
}


@dataclass(frozen=True)
class Part:
    """One COCO file of the archive: its name there, its subset (spec, gen) and its split."""

    name: str
    subset: str
    split: str


def find_parts(archive: Archive) -> list[Part]:
    """The parts of an archive in the order train, validation, test, gen; raises `InputError` for none."""
    found: dict[tuple[str, str], Part] = {}
    for name in archive.names:
        path = PurePosixPath(name)
        match = re.fullmatch(r"anno(?:tations?)?_(\w+)\.json", path.name.lower())
        if "__MACOSX" in path.parts or not match or match[1] not in ANNOTATION_FILES:
            continue
        key = ANNOTATION_FILES[match[1]]
        if key in found:
            raise InputError(f"{archive.path}: both {found[key].name} and {name} annotate {key[0]}/{key[1]}; keep one")
        found[key] = Part(name, *key)
    if not found:
        some = ", ".join(archive.names[:5]) or "nothing"
        raise InputError(
            f"{archive.path}: no anno_train.json, anno_valid.json, anno_test.json or anno_gen.json in it ({some} ...)"
        )
    order = list(dict.fromkeys(ANNOTATION_FILES.values()))
    return [found[key] for key in order if key in found]


def read_rows(archive: Archive, part: Part) -> Iterator[dict[str, Any]]:
    """Rows of one part, one per image, by rising image id; see `glioma_hf.data.features`.

    `image` is {"bytes", "path"} with the archive's own bytes. Raises `InputError` that names file and
    object for whatever would corrupt a benchmark.
    """
    where = f"{archive.path}: {part.name}"
    coco = load_coco(archive.read(part.name), where)
    category_index = map_categories(coco["categories"], where)
    files = _image_files(archive, part)
    annotations = _by_image(coco, where)
    for image in sorted(coco["images"], key=lambda entry: entry["id"]):
        name = image["file_name"]
        check_relative(name, where)
        member = files.get(PurePosixPath(name.replace("\\", "/")).name)
        if member is None:
            raise InputError(f"{where}: image {image['id']} ({name}) isn't in the archive")
        data = archive.read(member)
        size = image_size(data, f"{archive.path}: {member}")
        decode_image(data, f"{archive.path}: {member}")  # a damaged image is found here, not in training
        if size != (image["width"], image["height"]):
            raise InputError(
                f"{where}: image {image['id']} ({name}) is said to be {image['width']} x {image['height']}, "
                f"the file is {size[0]} x {size[1]}"
            )
        yield {
            "image": {"bytes": data, "path": PurePosixPath(member).name},
            "image_id": image["id"],
            "file_name": PurePosixPath(member).name,
            "width": size[0],
            "height": size[1],
            "subset": part.subset,
            "split": part.split,
            "objects": [_object_row(a, size, category_index, where) for a in annotations[image["id"]]],
        }


def map_categories(categories: Sequence[Mapping[str, Any]], where: str) -> dict[int, int]:
    """From the file's category ids to indices into `CATEGORIES`, by pattern of name and supercategory.

    Somata have the supercategory `cell_part`; types are told by a name that ends in A or B.
    """
    index = {}
    for category in categories:
        words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", str(category.get("name", ""))).lower())
        supercategory = str(category.get("supercategory", "")).lower()
        if supercategory == "cell_part" or any(w.startswith(("soma", "nucle")) for w in words):
            name = "soma"
        elif words and words[-1] in ("a", "b"):
            name = f"cell_{words[-1]}"
        elif any(w.startswith(("cell", "glioma")) for w in words) or (not words and supercategory == "cell"):
            name = "cell"
        else:
            names = ", ".join(repr(c.get("name")) for c in categories)
            raise InputError(
                f"{where}: category {category.get('name')!r} is neither a cell, a type A or B cell "
                f"nor a soma (found: {names})"
            )
        index[category["id"]] = CATEGORIES.index(name)
    return index


def load_coco(data: bytes, where: str) -> dict[str, Any]:
    """A COCO file's content, checked for what all readers need. Raises `InputError` that begins with `where`."""
    try:
        coco = json.loads(data)
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError alike
        raise InputError(f"{where} isn't JSON ({error})") from None
    lists = ("images", "annotations", "categories")
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


def _typed(field: str, value: Any) -> bool:
    return isinstance(value, str) if field == "file_name" else isinstance(value, int) and not isinstance(value, bool)


def _by_image(coco: Mapping[str, Any], where: str) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        if annotation["image_id"] not in grouped:
            raise InputError(f"{where}: annotation {annotation['id']} is of the unknown image {annotation['image_id']}")
        grouped[annotation["image_id"]].append(annotation)
    return grouped


def _image_files(archive: Archive, part: Part) -> dict[str, str]:
    """Member by base name: those beside the COCO file go before those under a folder of the split's name."""
    folder = PurePosixPath(part.name).parent
    names = {"validation": ("valid", "val", "validation")}.get(part.split, (part.split,))
    names = ("gen",) if part.subset == "gen" else names

    def rank(member: str) -> int:
        path = PurePosixPath(member)
        if path.parent in (folder / "images", folder):
            return 0
        return 1 if set(names) & set(path.parts[:-1]) else 2

    images = [m for m in archive.names if m.lower().endswith(SUFFIXES) and "__MACOSX" not in m]
    files: dict[str, str] = {}
    for member in sorted(images, key=rank, reverse=True):
        files[PurePosixPath(member).name] = member
    return files


def _object_row(
    annotation: Mapping[str, Any], size: tuple[int, int], category_index: Mapping[int, int], where: str
) -> dict[str, Any]:
    width, height = size
    try:
        instances = Instances.from_coco([annotation], (height, width), category_index)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    segmentation = annotation["segmentation"]
    return {
        "id": annotation["id"],
        "category": int(instances.categories[0]),
        "segmentation": instances.to_polygons()[0]
        if isinstance(segmentation, Mapping)
        else [[float(v) for v in polygon] for polygon in segmentation],
        "bbox": [float(v) for v in annotation.get("bbox") or instances.boxes[0]],
        "area": float(annotation["area"] if annotation.get("area") is not None else instances.areas[0]),
    }
