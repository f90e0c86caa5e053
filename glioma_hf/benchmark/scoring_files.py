"""References and predictions in files: COCO JSON, COCO results, folders of label maps, prepared data sets.

Read for scoring: masks alone, no images. Every `InputError` names the file and the object.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.data.features import CATEGORIES, TASKS
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.data.sources.coco import check_coco, load_coco
from glioma_hf.data.sources.glioma_c6 import map_categories
from glioma_hf.data.splits import annotated_rows
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size

ImageKey = int | str  # a COCO image id, or the name of a label map


@dataclass(frozen=True)
class InstanceSet:
    """One side of many images.

    Attributes:
        instances: by image; categories are indices into `CATEGORIES`, 0 where the source names none.
        names: file name of each image.
        category_index: from the source's category ids to indices, where it has any.
    """

    instances: dict[ImageKey, Instances]
    names: dict[ImageKey, str]
    category_index: dict[int, int] | None = None

    def of_task(self, task: str) -> dict[ImageKey, Instances]:
        """The objects of one of the paper's tasks, or of "all"."""
        if task == "all" or self.category_index is None:
            return self.instances
        wanted = [CATEGORIES.index(name) for name in TASKS[task]]
        return {key: found.select(np.isin(found.categories, wanted)) for key, found in self.instances.items()}


def read_references(path: str | Path, split: str = "spec/test") -> InstanceSet:
    """A COCO file, a folder of label maps, or a prepared data set (of which `split` is read)."""
    path = Path(path)
    if (path / PROVENANCE).is_file():
        return _read_prepared(path, split)
    if path.is_dir():
        return read_label_maps(path)
    coco = load_coco(_read(path), str(path))
    index = map_categories(coco["categories"], str(path))
    images = {image["id"]: image for image in coco["images"]}
    return InstanceSet(
        _by_image(coco["annotations"], images, index, path),
        {key: image["file_name"] for key, image in images.items()},
        index,
    )


def read_predictions(path: str | Path, references: InstanceSet) -> InstanceSet:
    """COCO results (a list), a COCO file, or a folder of label maps, for the images of `references`.

    An image without any result has no predictions. Raises `InputError` for results of an unknown image,
    an unknown category, a size that isn't the image's or a score that isn't a finite number.
    """
    path = Path(path)
    if path.is_dir():
        found = read_label_maps(path)
    else:
        try:
            results = json.loads(_read(path))
        except ValueError as error:
            raise InputError(f"{path} isn't JSON ({error})") from None
        if isinstance(results, dict):
            results = check_coco(results, str(path))["annotations"]
        if not isinstance(results, list) or any(not isinstance(r, dict) or "image_id" not in r for r in results):
            raise InputError(f"{path} isn't a list of COCO results, each with image_id and segmentation")
        images = {
            key: {"id": key, "height": side.size[0], "width": side.size[1]}
            for key, side in references.instances.items()
        }
        found = InstanceSet(
            _by_image(results, images, references.category_index, path), references.names, references.category_index
        )
    unknown = [key for key in found.instances if key not in references.instances]
    if unknown:
        raise InputError(f"{path}: predictions of {unknown[0]}, which the references don't hold")
    missing = [key for key in references.instances if key not in found.instances]
    if missing:
        raise InputError(f"{path}: no predictions of {missing[0]}; give an empty label map if there are none")
    return found


def read_label_maps(folder: str | Path) -> InstanceSet:
    """A folder of label maps (TIFF or PNG), by name without ending and without `_label` or `_masks`."""
    from glioma_hf.data.images import decode_labels

    instances: dict[ImageKey, Instances] = {}
    names: dict[ImageKey, str] = {}
    for file in sorted(Path(folder).iterdir()):
        if file.suffix.lower() not in (".tif", ".tiff", ".png"):
            continue
        key = file.stem.removesuffix("_label").removesuffix("_masks")
        if key in instances:
            raise InputError(f"{file}: a second label map of {key}; keep one")
        instances[key], names[key] = Instances.from_label_map(decode_labels(_read(file), str(file))), file.name
    if not instances:
        raise InputError(f"{folder}: no label maps (TIFF or PNG) in it")
    return InstanceSet(instances, names)


def _read_prepared(folder: Path, split: str) -> InstanceSet:
    instances: dict[ImageKey, Instances] = {}
    names: dict[ImageKey, str] = {}
    for row, objects in annotated_rows(folder, split):
        instances[row["image_id"]], names[row["image_id"]] = objects, row["file_name"]
    return InstanceSet(instances, names, {i: i for i in range(len(CATEGORIES))})


def _by_image(
    objects: list[dict[str, Any]], images: Mapping[Any, Mapping[str, Any]], index: dict[int, int] | None, path: Path
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
    found: dict[ImageKey, Instances] = {}
    for key, items in grouped.items():
        repeated = [i for i, n in Counter(o["id"] for o in items if "id" in o).items() if n > 1]
        if repeated:
            raise InputError(f"{path}: image {key} has the object id {repeated[0]} more than once")
        try:
            size = check_size((images[key]["height"], images[key]["width"]))
            found[key] = Instances.from_coco(items, size, index)
        except InputError as error:
            raise InputError(f"{path}: image {key}: {error}") from None
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); give a COCO file or a folder of label maps"
        ) from None
