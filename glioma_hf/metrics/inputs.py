"""What the metric takes for one side of one image, brought to `Instances` at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size
from glioma_hf.metrics.mask_arrays import (
    boolean,
    from_masks,
    from_planes,
    image_size,
    is_mask,
    nested_array,
    planes_of,
    to_array,
)
from glioma_hf.plain import plain, plain_row

FORMS = (
    "Instances, a list of COCO objects, RLEs or boolean masks, what SAM's mask generator gives, a data set row (width, "
    "height, objects), a 2-D integer label map or a 3-D boolean stack (masks, height, width)"
)


def pair_of_instances(predictions: Any, references: Any, name: str = "image") -> tuple[Instances, Instances]:
    """Both sides of one image; a side from which no size can be told takes the other's.

    Each side is one of `FORMS`, arrays of NumPy or of any library that NumPy can read. Raises `InputError` that begins
    with `name` for anything else, for probabilities, for a stack whose masks come last, and where the sizes differ.
    """
    labels = ("predictions", "references")
    given = []
    for side, label in zip((predictions, references), labels, strict=True):
        try:
            given.append(_plain(side))
        except InputError as error:
            raise InputError(f"{name}, {label}: {error}") from None
    certain = [None if isinstance(side, np.ndarray) and side.ndim == 3 else _size(side) for side in given]
    sizes = []
    for side, label, other in zip(given, labels, certain[::-1], strict=True):
        try:
            sizes.append(image_size(side, other) if isinstance(side, np.ndarray) else _size(side))
        except InputError as error:
            raise InputError(f"{name}, {label}: {error}") from None
    size = sizes[1] or sizes[0]
    if size is None:
        if len(given[0]) or len(given[1]):
            raise InputError(f"{name}: polygons without the image's size; give rows with width and height, or RLEs")
        size = (1, 1)  # nothing on either side: any size will do
    sides = []
    for side, own, label in zip(given, sizes, labels, strict=True):
        if (own or size) != size:
            raise InputError(f"{name}: the {label} are of size {list(own or size)}, the references of {list(size)}")
        try:
            sides.append(_instances(side, size))
        except InputError as error:
            raise InputError(f"{name}, {label}: {error}") from None
    return sides[0], sides[1]


def to_rles(instances: Instances) -> dict[str, Any]:
    """How a side travels through Arrow: size, RLE counts as str, categories; scores and crowd marks, none or all."""
    return {
        "size": list(instances.size),
        "counts": [rle["counts"].decode("ascii") for rle in instances.rles],
        "categories": instances.categories.tolist(),
        "scores": [] if instances.scores is None else instances.scores.tolist(),
        "crowd": instances.crowd.tolist() if instances.crowd.any() else [],
    }


def _plain(side: Any) -> Any:
    """A side as `Instances`, a NumPy array of 2 or 3 axes, a dict or a list, whatever library it comes from."""
    if isinstance(side, Instances):
        return side
    if any(hasattr(side, name) for name in ("to_pylist", "to_dicts", "columns")):  # a table that `datasets` gives
        return plain_row(side)
    array = to_array(side)
    if array is not None:
        return [] if array.size == 0 and array.ndim < 3 else planes_of(array)
    if isinstance(side, Mapping):
        if "size" not in side and not {"width", "height"} <= set(side):
            raise InputError(
                f"a dict with {', '.join(sorted(map(str, side))) or 'nothing'} is no side of an image; give {FORMS}"
            )
        return side
    if not isinstance(side, Sequence) or isinstance(side, str | bytes):
        raise InputError(f"{type(side).__name__} is no side of an image; give {FORMS}")
    nested = nested_array(side)
    return side if nested is None else nested


def _size(side: Any) -> tuple[int, int] | None:
    """(height, width) of one side, or None for a list that doesn't tell."""
    if isinstance(side, Instances):
        return side.size
    if isinstance(side, np.ndarray):
        return int(side.shape[-2]), int(side.shape[-1])
    if isinstance(side, Mapping):
        return check_size(side["size"] if "size" in side else (side["height"], side["width"]))
    for item in side:
        mask = item.get("segmentation", item) if isinstance(item, Mapping) else item
        if isinstance(mask, Mapping) and "size" in mask:
            return check_size(mask["size"])
        array = to_array(mask)
        if array is not None and array.ndim >= 2 and (mask is item or array.dtype.kind in "bu"):
            return int(array.shape[-2]), int(array.shape[-1])
    return None


def _instances(side: Any, size: tuple[int, int]) -> Instances:
    if isinstance(side, Instances):
        return side
    if isinstance(side, np.ndarray):
        return from_planes(side, size)
    if isinstance(side, Mapping):
        if "counts" in side:
            return _from_rles(side, size)
        row = plain_row(side)
        side = [*row["objects"], *({**region, "iscrowd": 1} for region in row.get("ignored") or ())]
    if side and all(is_mask(item) for item in side):
        return from_masks(side, size)
    return Instances.from_coco([_annotation(item, size, number) for number, item in enumerate(side)], size)


def _annotation(item: Any, size: tuple[int, int], number: int) -> dict[str, Any]:
    """A COCO annotation of an object: of a row, of COCO, of SAM's list, or a bare segmentation."""
    if _is_plain(item):
        return item if "category" not in item else {"category_id": item["category"], **item}
    if not isinstance(item, Mapping | list | tuple):
        raise InputError(f"object {number} is a {type(item).__name__}; give {FORMS}")
    made = dict(item) if isinstance(item, Mapping) and "segmentation" in item else {"segmentation": item}
    mask = to_array(made["segmentation"])
    if mask is not None and mask.ndim > 1 and (mask.dtype == bool or mask.shape[-2:] == size):
        plane = boolean(mask, f"the mask of object {number}")
        if plane.shape != size:
            raise InputError(f"the mask of object {number} has shape {plane.shape}, the image {size}")
        made["segmentation"] = dict(Instances.from_masks([plane]).rles[0])
    else:
        made["segmentation"] = plain(made["segmentation"])
    # A row of a data set says `category`, COCO `category_id`; SAM's own word for a score is `predicted_iou`.
    named = {"category_id": ("category_id", "category"), "score": ("score", "predicted_iou")}
    for name, words in named.items():
        made[name] = next((made[word] for word in words if made.get(word) is not None), None)
    for name in ("id", "category_id", "score", "iscrowd"):
        made[name] = plain(made.get(name, 0 if name == "iscrowd" else number))
    return made


def _is_plain(item: Any) -> bool:
    """Whether an object is as JSON gives it, which is checked first and fast: there may be many."""
    if type(item) is not dict or "predicted_iou" in item:
        return False
    given = item.get("segmentation")
    if type(given) is list and given and type(given[0]) is list:
        return bool(given[0]) and type(given[0][0]) in (float, int)
    return type(given) is dict


def _from_rles(side: Mapping[str, Any], size: tuple[int, int]) -> Instances:
    rles = [{"segmentation": {"size": list(size), "counts": counts}} for counts in side["counts"]]
    checked = Instances.from_coco(rles, size)
    return Instances.from_rles(
        checked.rles, size, side.get("categories"), side.get("scores") or None, crowd=side.get("crowd") or None
    )
