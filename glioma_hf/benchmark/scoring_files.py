"""References and predictions in files: COCO JSON, COCO results, folders of label maps, prepared data sets.

Read for scoring: masks alone, no images. Every `InputError` names the file and the object.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from glioma_hf.benchmark.categories import Categories, read_categories
from glioma_hf.data.features import ALL, CATEGORIES, TASKS
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.data.sources.coco import check_coco, load_coco
from glioma_hf.data.splits import annotated_rows
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size

ImageKey = int | str  # a COCO image id, or the name of a label map
# What tools put behind an image's name: NAME_label, NAME.label, NAME_labels, NAME_mask, NAME_masks, NAME_cp_masks and
# NAME_seg, each also as OME-TIFF.
_LABEL_SUFFIX = re.compile(r"([._]labels?|(_cp)?_masks?|_seg)?(\.ome)?$", re.IGNORECASE)
_SUFFIXES_SAID = "_label, _labels, _mask, _masks, _cp_masks or _seg"


@dataclass(frozen=True)
class InstanceSet:
    """One side of many images.

    Attributes:
        instances: by image; their categories are indices into `categories`.
        names: file name of each image.
        path: the file or folder, as errors call it.
        kinds: the file's categories; of predictions, those of their references; none where neither has any.
        typed: whether the objects carry a category; those of label maps don't, and every task counts them.
        complete: whether a task that none of the objects belongs to is an error, as it is of references.
    """

    instances: dict[ImageKey, Instances]
    names: dict[ImageKey, str]
    path: str = ""
    kinds: Categories = field(default_factory=Categories)
    typed: bool = False
    complete: bool = False

    @property
    def categories(self) -> tuple[str, ...]:
        """Their names: cell, cell_a, cell_b and soma where they fit, otherwise the file's own."""
        return self.kinds.names

    def tasks(self) -> dict[str, int]:
        """How many objects each task counts, of the tasks that count any; of all tasks where there are no objects."""
        total = sum(map(len, self.instances.values()))
        if not self.typed:
            return dict.fromkeys(self.kinds.tasks() if self.categories else (*TASKS, ALL), total)
        by_index: Counter[int] = Counter()
        for side in self.instances.values():
            by_index.update(side.categories.tolist())
        counts = {task: sum(by_index[i] for i in indices) for task, indices in self.kinds.tasks().items()}
        return {task: count for task, count in counts.items() if count or not total}

    def of_task(self, task: str) -> dict[ImageKey, Instances]:
        """The objects of a task: "cells", one of the paper's, a category by its own name, or "all".

        Raises `InputError` that lists the tasks and their counts for an unknown task, and, of references, for one
        that counts none of the objects that there are.
        """
        known = self.kinds.tasks() if self.categories else dict.fromkeys((*TASKS, ALL), ())
        tasks = self.tasks()
        told = ", ".join(f"{name} ({count})" for name, count in tasks.items())
        if task not in known and task not in TASKS:
            raise InputError(f"{self.path}: the task {task!r} isn't one of its own; there are {told}")
        if not self.typed:
            return self.instances
        if self.complete and task not in tasks and any(map(len, self.instances.values())):
            raise InputError(f"{self.path}: no object belongs to the task {task!r}; there are {told}")
        counted = list(known.get(task, ()))
        return {key: side.select(np.isin(side.categories, counted)) for key, side in self.instances.items()}


def read_references(path: str | Path, split: str = "test") -> InstanceSet:
    """A COCO file, a folder of label maps, or a prepared data set, of which `split` is read (see `find_split`).

    Any categories will do. Raises `InputError` for what can't be read.
    """
    path = Path(path)
    if (path / PROVENANCE).is_file():
        return _read_prepared(path, split)
    if path.is_dir():
        return read_label_maps(path)
    coco = load_coco(_read(path), str(path))
    kinds = read_categories(coco["categories"])
    images = {image["id"]: image for image in coco["images"]}
    names: dict[ImageKey, str] = {key: image["file_name"] for key, image in images.items()}
    instances = _by_image(coco["annotations"], images, kinds.ids, path)
    return InstanceSet(instances, names, str(path), kinds, typed=True, complete=True)


def read_predictions(path: str | Path, references: InstanceSet) -> InstanceSet:
    """COCO results (a list), a COCO file, or a folder of label maps, for the images of `references`.

    Results have the references' category ids; a COCO file's own categories are matched to theirs by name. Label
    maps are matched to the references' images by name without ending. In results and COCO files an image without
    any object has no predictions.

    Raises `InputError` for results of an unknown image, a category that the references lack, a size that isn't
    the image's or a score that isn't a finite number.
    """
    path = Path(path)
    if path.is_dir():
        return _matched_label_maps(path, references)
    try:
        results = json.loads(_read(path))
    except ValueError as error:
        raise InputError(f"{path} isn't JSON ({error})") from None
    index: Mapping[int, int] | None = references.kinds.ids if references.typed else None
    if isinstance(results, dict):
        coco = check_coco(results, str(path))
        results = coco["annotations"]
        if references.typed:
            index = _matched_categories(coco, path, references)
    if not isinstance(results, list) or any(not isinstance(r, dict) or "image_id" not in r for r in results):
        raise InputError(f"{path} isn't a list of COCO results, each with image_id and segmentation")
    images = {
        key: {"id": key, "height": side.size[0], "width": side.size[1]} for key, side in references.instances.items()
    }
    instances = _by_image(results, images, index, path)
    return InstanceSet(instances, references.names, str(path), references.kinds, references.typed)


def read_label_maps(folder: str | Path) -> InstanceSet:
    """A folder of label maps (TIFF or PNG), by image name: without ending and what tools put behind it.

    That is `_label` (or `.label`), `_labels`, `_mask`, `_masks`, `_cp_masks` or `_seg`. Where any file has one of
    these, the pictures without one that lie beside it (overlays, say, or the images) are passed over.
    """
    from glioma_hf.data.images import decode_labels

    files = [
        file
        for file in sorted(Path(folder).iterdir())
        if file.suffix.lower() in (".tif", ".tiff", ".png") and not file.name.startswith(".")
    ]
    files = [file for file in files if _has_suffix(file)] or files
    instances: dict[ImageKey, Instances] = {}
    names: dict[ImageKey, str] = {}
    for file in files:
        key = _image_name(file.name)
        if key in instances:
            raise InputError(f"{file}: a second label map of {key}; keep one")
        instances[key], names[key] = Instances.from_label_map(decode_labels(_read(file), str(file))), file.name
    if not instances:
        raise InputError(f"{folder}: no label maps (TIFF or PNG) in it")
    return InstanceSet(instances, names, str(folder))


def _matched_label_maps(folder: Path, references: InstanceSet) -> InstanceSet:
    """Label maps under the references' image keys."""
    maps = read_label_maps(folder)
    keys: dict[str, ImageKey] = {}
    for key, name in references.names.items():
        image = key if isinstance(key, str) else _image_name(name)
        if image in keys:
            raise InputError(
                f"{references.path}: its images {keys[image]} and {key} are both called {image}; name them apart"
            )
        keys[image] = key
    unknown = [name for name in maps.instances if name not in keys]
    if unknown:
        raise InputError(
            f"{folder}: predictions of {unknown[0]}, which the references don't hold; a label map is called as its "
            f"image, and {_SUFFIXES_SAID} may follow"
        )
    missing = [image for image in keys if image not in maps.instances]
    if missing:
        raise InputError(f"{folder}: no predictions of {missing[0]}; give an empty label map if there are none")
    instances = {key: maps.instances[image] for image, key in keys.items()}
    return InstanceSet(instances, references.names, str(folder), references.kinds)


def _matched_categories(coco: Mapping[str, Any], path: Path, references: InstanceSet) -> dict[int, int]:
    """From the category ids of a COCO file to the references' indices; those that have objects must be there."""
    kinds = read_categories(coco["categories"])
    used = {annotation["category_id"] for annotation in coco["annotations"]}
    matched = {}
    for category, i in kinds.ids.items():
        index = references.kinds.index_of(kinds.names[i], kinds.own_names[i])
        if index is not None:
            matched[category] = index
        elif category in used:
            raise InputError(
                f"{path}: its category {kinds.own_names[i]!r} isn't one of the references' "
                f"({', '.join(references.kinds.own_names)}); rename it there"
            )
    return matched


def _read_prepared(folder: Path, split: str) -> InstanceSet:
    instances: dict[ImageKey, Instances] = {}
    names: dict[ImageKey, str] = {}
    for row, objects in annotated_rows(folder, split):
        instances[row["image_id"]], names[row["image_id"]] = objects, row["file_name"]
    kinds = Categories(CATEGORIES, CATEGORIES, {i: i for i in range(len(CATEGORIES))})
    return InstanceSet(instances, names, str(folder), kinds, typed=True, complete=True)


def _has_suffix(file: Path) -> bool:
    match = _LABEL_SUFFIX.search(file.stem)
    return match is not None and match[1] is not None


def _image_name(file_name: str) -> str:
    """A file's name without folder, ending and what tools put behind the name of an image."""
    return _LABEL_SUFFIX.sub("", PurePosixPath(file_name.replace("\\", "/")).stem)


def _by_image(
    objects: list[dict[str, Any]], images: Mapping[Any, Mapping[str, Any]], index: Mapping[int, int] | None, path: Path
) -> dict[ImageKey, Instances]:
    grouped: dict[ImageKey, list[dict[str, Any]]] = {key: [] for key in images}
    for number, item in enumerate(objects):
        name = f"object {item.get('id', f'number {number}')}"
        if item["image_id"] not in grouped:
            raise InputError(f"{path}: {name} is of the unknown image {item['image_id']}")
        score = item.get("score")
        if score is not None and (
            isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score)
        ):
            raise InputError(
                f"{path}: {name} of image {item['image_id']} has the score {score}; scores are finite numbers"
            )
        grouped[item["image_id"]].append(item)
    sides: dict[ImageKey, Instances] = {}
    for key, items in grouped.items():
        repeated = [i for i, n in Counter(o["id"] for o in items if "id" in o).items() if n > 1]
        if repeated:
            raise InputError(f"{path}: image {key} has the object id {repeated[0]} more than once")
        try:
            size = check_size((images[key]["height"], images[key]["width"]))
            sides[key] = Instances.from_coco(items, size, index)
        except InputError as error:
            raise InputError(f"{path}: image {key}: {error}") from None
    return sides


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give a COCO file or a folder of label maps"
        ) from None
