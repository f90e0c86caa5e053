"""What the metric takes for one side of one image, brought to `Instances` at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

FORMS = (
    "Instances, a list of COCO objects or RLEs, a data set row (width, height, objects), "
    "a 2-D integer label map or a 3-D boolean stack"
)


def pair_of_instances(predictions: Any, references: Any, name: str = "image") -> tuple[Instances, Instances]:
    """Both sides of one image; a side from which no size can be told takes the other's.

    Each side is one of `FORMS`. Raises `InputError` that begins with `name` for anything else and where
    the sizes differ.
    """
    size = _size(references) or _size(predictions)
    if size is None:
        if len(predictions) or len(references):
            raise InputError(f"{name}: polygons without the image's size; give rows with width and height, or RLEs")
        size = (1, 1)  # nothing on either side: any size will do
    sides = []
    for side, label in ((predictions, "predictions"), (references, "references")):
        own = _size(side) or size
        if own != size:
            raise InputError(f"{name}: the {label} are of size {list(own)}, the references of {list(size)}")
        try:
            sides.append(_instances(side, size))
        except InputError as error:
            raise InputError(f"{name}, {label}: {error}") from None
    return sides[0], sides[1]


def to_rles(instances: Instances) -> dict[str, Any]:
    """How a side travels through Arrow: size, RLE counts as str, categories, and scores (none or one each)."""
    return {
        "size": list(instances.size),
        "counts": [rle["counts"].decode("ascii") for rle in instances.rles],
        "categories": instances.categories.tolist(),
        "scores": [] if instances.scores is None else instances.scores.tolist(),
    }


def _size(side: Any) -> tuple[int, int] | None:
    """(height, width) of one side, or None for a list that doesn't tell."""
    if isinstance(side, Instances):
        return side.size
    if isinstance(side, np.ndarray) and side.ndim in (2, 3):
        return int(side.shape[-2]), int(side.shape[-1])
    if isinstance(side, Mapping):
        if "size" in side:
            return int(side["size"][0]), int(side["size"][1])
        if "width" in side and "height" in side:
            return int(side["height"]), int(side["width"])
        raise InputError(f"a dict with {', '.join(sorted(side)) or 'nothing'} is no side of an image; give {FORMS}")
    if not isinstance(side, Sequence) or isinstance(side, str):
        raise InputError(f"{type(side).__name__} is no side of an image; give {FORMS}")
    for item in side:
        rle = item.get("segmentation", item) if isinstance(item, Mapping) else None
        if isinstance(rle, Mapping) and "size" in rle:
            return int(rle["size"][0]), int(rle["size"][1])
    return None


def _instances(side: Any, size: tuple[int, int]) -> Instances:
    if isinstance(side, Instances):
        return side
    if isinstance(side, np.ndarray):
        return Instances.from_masks(iter(side), size) if side.ndim == 3 else Instances.from_label_map(side)
    if isinstance(side, Mapping):
        if "counts" in side:
            return _from_rles(side, size)
        side = side["objects"]
    objects = [o if "segmentation" in o else {"segmentation": o} for o in side]
    # A row of a data set says `category`, COCO `category_id`.
    return Instances.from_coco(
        [{**o, "category_id": o.get("category_id", o.get("category", 0))} for o in objects], size
    )


def _from_rles(side: Mapping[str, Any], size: tuple[int, int]) -> Instances:
    rles = [{"segmentation": {"size": list(size), "counts": counts}} for counts in side["counts"]]
    checked = Instances.from_coco(rles, size)
    return Instances.from_rles(checked.rles, size, side.get("categories"), side.get("scores") or None)
