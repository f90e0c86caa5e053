"""COCO objects -> the columns of `Instances`: segmentations checked and rasterised in one go, fields as they may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Literal, get_args

import numpy as np
from pycocotools import mask as coco

from glioma_hf.errors import InputError
from glioma_hf.rle import Rle, parse_counts

Priority = Literal["first", "last"]  # which of overlapping objects, in annotation order, has a contested pixel
Name = Callable[[int], str]  # what to call the object at a position, in an error
MAX_COUNTS = 2**22  # characters of an RLE's counts: over a million runs, more than any cell has
_BATCH = 2**22  # characters of counts that are checked in one go
FAR = 2.0**15  # pixels outside the image, from which on an outline is cut before pycocotools counts its way there
_MARGIN = 2.0**10  # pixels around the image at which it is cut
MAX_LENGTH = 2.0**22  # pixels that an outline may be long; pycocotools takes 40 bytes for each
_NOWHERE = np.array([-9.0, -9.0] * 3)  # an outline without pixels


def read_columns(
    annotations: Sequence[Mapping[str, Any]], category_index: Mapping[Any, int] | None, name: Name
) -> dict[str, Any]:
    """`categories`, `scores`, `ids` and `crowd` of COCO annotations or results, as `Instances.from_coco` has them.

    Ids are whole numbers, also those written as "7" or 7.0; where any is another thing, all objects are numbered by
    position. Raises `InputError` for categories and scores that can't be read.
    """
    ids = [a.get("id", i) for i, a in enumerate(annotations)]
    if set(map(type, ids)) - {int} or (ids and not -(2**63) <= min(ids) <= max(ids) < 2**63):
        numbers = [whole_number(i) for i in ids]
        ids = list(range(len(ids))) if None in numbers else numbers
    categories = [a.get("category_id", 0) for a in annotations]
    if set(map(type, categories)) - {int} or not _known(categories, category_index):
        categories = [_category(a, category_index, name, i) for i, a in enumerate(annotations)]
    if category_index is not None:
        categories = [category_index[c] for c in categories]
    scores = [a["score"] for a in annotations if a.get("score") is not None]
    if scores and len(scores) != len(annotations):
        raise InputError(
            f"{len(annotations) - len(scores)} of {len(annotations)} objects have no score: give all or none"
        )
    if set(map(type, scores)) - {float} or not np.isfinite(scores).all():
        for i, score in enumerate(scores):
            if not is_finite(score):
                raise InputError(f"{name(i)}: the score {str(score)[:40]!r} isn't a finite number")
    crowd: Any = [a.get("iscrowd") for a in annotations]
    crowd = [mark in (1, "1") for mark in crowd] if any(crowd) else None  # True and 1.0 equal 1
    return {"categories": categories, "scores": scores or None, "ids": ids, "crowd": crowd}


def whole_number(value: Any) -> int | None:
    """A whole number within 64 bits, also one written as 7.0 or "7"; None for anything else."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer):
        return None
    if not math.isfinite(value) or value != int(value):
        return None
    return int(value) if -(2**63) <= value < 2**63 else None


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number, as a float has it; booleans aren't."""
    if type(value) is float:
        return math.isfinite(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def priority_order(priority: Priority | Sequence[int], n: int) -> list[int]:
    """Positions of n objects, the one that wins a contested pixel first.

    Args:
        priority: "first" where the earlier object wins, "last" where the later does, or the positions themselves.

    Raises `InputError` for another word, and where a position is missing or comes twice.
    """
    if isinstance(priority, str):
        if priority not in get_args(Priority):
            raise InputError(
                f"the priority {priority!r} isn't known; it is {' or '.join(map(repr, get_args(Priority)))}"
            )
        return list(range(n)) if priority == "first" else list(range(n))[::-1]
    order = list(priority)
    if sorted(order) != list(range(n)):
        raise InputError(f"the priority must name each of the {n} objects once")
    return order


def _known(categories: Sequence[int], index: Mapping[Any, int] | None) -> bool:
    if index is None:
        return not categories or -(2**63) <= min(categories) <= max(categories) < 2**63
    return not set(categories) - set(index)


def _category(annotation: Mapping[str, Any], index: Mapping[Any, int] | None, name: Name, position: int) -> Any:
    given = annotation.get("category_id")
    if index is None and given is None:
        return 0
    if index is not None and isinstance(given, str) and given in index:
        return given
    listed = "" if index is None else ", ".join(map(str, sorted(index, key=lambda i: (str(type(i)), i))))
    known = f"; there are {listed}" if listed else ""
    if given is None:
        raise InputError(f"{name(position)}: it has no category_id{known}")
    category = whole_number(given)
    if category is None:
        raise InputError(f"{name(position)}: the category_id {str(given)[:40]!r} isn't a whole number{known}")
    if index is not None and category not in index:
        raise InputError(f"{name(position)}: category {category} isn't among [{listed}]")
    return category


def column(values: Any, n: int, dtype: type, default: np.ndarray | None, name: str) -> np.ndarray:
    """A read-only column of n values; raises `InputError` where there are others than n of them."""
    made = default if values is None else np.array(values, dtype)
    assert made is not None
    if made.shape != (n,):
        raise InputError(f"{len(made)} {name} for {n} objects")
    made.setflags(write=False)
    return made


def encode_annotations(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], name: Name) -> list[Rle]:
    """RLEs of COCO annotations' segmentations, see `encode_segmentations`; those of boxes alone are told so."""
    segmentations = [a.get("segmentation") for a in annotations]
    try:
        return encode_segmentations(segmentations, size, name)
    except InputError:
        for index, (annotation, given) in enumerate(zip(annotations, segmentations, strict=True)):
            if (given is None or given == []) and annotation.get("bbox") is not None:
                raise InputError(
                    f"{name(index)}: it has a box and no segmentation (a list of polygons or an RLE is needed)"
                ) from None
        raise


def encode_segmentations(segmentations: Sequence[Any], size: tuple[int, int], name: Name) -> list[Rle]:
    """RLEs of COCO segmentations, polygons and RLEs in any order. Raises `InputError` that begins with a name."""
    is_rle = [type(s) is dict or isinstance(s, Mapping) for s in segmentations]
    if not any(is_rle):
        return polygons_to_rles(segmentations, size, name)
    if all(is_rle):
        return _checked_rles(segmentations, size, name)
    given, drawn = ([i for i, of_rle in enumerate(is_rle) if of_rle is kind] for kind in (True, False))
    rles: list[Rle] = [{}] * len(segmentations)
    encoded = (
        polygons_to_rles([segmentations[i] for i in drawn], size, lambda i: name(drawn[i])),
        _checked_rles([segmentations[i] for i in given], size, lambda i: name(given[i])),
    )
    for chosen, part in zip((drawn, given), encoded, strict=True):
        for i, rle in zip(chosen, part, strict=True):
            rles[i] = rle
    return rles


def polygons_to_rles(objects: Sequence[Any], size: tuple[int, int], name: Name) -> list[Rle]:
    """One RLE per object, the union of its polygons; checked and rasterised in one go."""
    parts: list[Any] = []
    ends = []
    for index, polygons in enumerate(objects):
        if not isinstance(polygons, list | tuple | np.ndarray) or len(polygons) == 0:
            raise InputError(f"{name(index)}: {_not_polygons(polygons)} (a list of polygons or an RLE is needed)")
        parts.extend(polygons)
        ends.append(len(parts))
    if not parts:
        return []
    lengths, flat = np.zeros(0, np.int64), np.zeros(0)
    try:
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        flat = np.fromiter(chain.from_iterable(parts), np.float64, int(lengths.sum()))
    except (TypeError, ValueError, OverflowError):
        _name_bad_polygon(objects, name)
        raise InputError(f"{name(0)}: its polygons or those after it can't be read") from None
    sound = not set(map(type, parts)) & {str, bytes, dict}
    if not sound or (lengths % 2).any() or (lengths < 6).any() or not np.isfinite(flat).all():
        _name_bad_polygon(objects, name)
    low, high = float(flat.min()), float(flat.max())
    if low < -FAR or high > min(size) + FAR:
        flat, lengths = _cut_far_ones(flat, lengths, size)
        low, high = float(flat.min()), float(flat.max())
    if (high - low) * lengths.max() / 2 > MAX_LENGTH:
        long = _too_long(flat, lengths)
        if len(long):
            at = int(np.searchsorted(ends, long[0], "right"))
            raise InputError(f"{name(at)}: its outline is over {MAX_LENGTH:.0f} pixels long; draw it plainer")
    cuts = [0, *np.cumsum(lengths).tolist()]
    encoded = coco.frPyObjects([flat[a:b] for a, b in pairwise(cuts)], *size)
    if len(ends) == len(encoded):
        return encoded
    starts = [0, *ends[:-1]]
    return [encoded[a] if b - a == 1 else coco.merge(encoded[a:b]) for a, b in zip(starts, ends, strict=True)]


def _name_bad_polygon(objects: Sequence[Any], name: Name) -> None:
    """Raise `InputError` for the first unsound polygon."""
    for index, polygons in enumerate(objects):
        for number, polygon in enumerate(polygons):
            try:
                points = np.asarray(polygon, np.float64)
            except (TypeError, ValueError, OverflowError):
                points = np.zeros((0, 0))
            if points.ndim != 1 or isinstance(polygon, str | bytes | dict):
                raise InputError(f"{name(index)}: polygon {number} isn't a flat list of numbers x0, y0, x1, y1 ...")
            if len(points) % 2:
                raise InputError(f"{name(index)}: polygon {number} has an odd number of coordinates ({len(points)})")
            if len(points) < 6:
                raise InputError(
                    f"{name(index)}: polygon {number} has {len(points) // 2} points, at least 3 are needed"
                )
            if not np.isfinite(points).all():
                raise InputError(f"{name(index)}: polygon {number} has a coordinate that isn't a finite number")


def _cut_far_ones(flat: np.ndarray, lengths: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The polygons, each with a point over `FAR` pixels outside the image cut at `_MARGIN` around it."""
    polygons = []
    for polygon in np.split(flat, np.cumsum(lengths)[:-1]):
        x, y = polygon[0::2], polygon[1::2]
        far = min(x.min(), y.min()) < -FAR or x.max() > size[1] + FAR or y.max() > size[0] + FAR
        polygons.append(_cut(polygon, size) if far else polygon)
    return np.concatenate(polygons), np.array([len(polygon) for polygon in polygons])


def _cut(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What of a polygon lies in the image and the margin around it, by Sutherland and Hodgman, one side at a time."""
    points = np.clip(polygon, -1e15, 1e15).reshape(-1, 2)
    for axis, limit, sign in (
        (0, size[1] + _MARGIN, 1),
        (1, size[0] + _MARGIN, 1),
        (0, -_MARGIN, -1),
        (1, -_MARGIN, -1),
    ):
        following = np.roll(points, -1, 0)
        inside, follows = (sign * p[:, axis] <= sign * limit for p in (points, following))
        crossing = inside != follows
        step = following - points
        share = np.divide(limit - points[:, axis], step[:, axis], out=np.zeros(len(points)), where=crossing)
        crossings = points + share[:, None] * step
        crossings[:, axis] = limit
        points = np.stack([points, crossings], 1)[np.column_stack([inside, crossing])]
    return points.ravel() if len(points) >= 3 else _NOWHERE


def _too_long(flat: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Positions of the polygons that are longer than `MAX_LENGTH`."""
    ends = np.cumsum(lengths) // 2
    starts = ends - lengths // 2
    points = flat.reshape(-1, 2)
    following = np.r_[points[1:], points[:1]]
    following[ends - 1] = points[starts]
    return np.flatnonzero(np.add.reduceat(np.abs(following - points).max(1), starts) > MAX_LENGTH)


def _not_polygons(given: Any) -> str:
    if given is None or (isinstance(given, list | tuple | np.ndarray) and not len(given)):
        return "no segmentation"
    return f"its segmentation is {str(given)[:40]!r}"


def _checked_rles(segmentations: Sequence[Mapping[str, Any]], size: tuple[int, int], name: Name) -> list[Rle]:
    """Compressed RLEs of these, each checked to fill the image."""
    rles: list[Rle] = []
    expected, pixels = list(size), size[0] * size[1]
    most = min(MAX_COUNTS, 7 * (pixels + 2))
    for index, segmentation in enumerate(segmentations):
        counts, given = segmentation.get("counts"), segmentation.get("size")
        if (type(given) is not list or given != expected) and (
            not isinstance(given, tuple | np.ndarray) or list(given) != expected
        ):
            raise InputError(f"{name(index)}: its RLE is of size {given}, the image of {expected}")
        if type(counts) is not str and isinstance(counts, list | tuple | np.ndarray):
            if len(counts) <= most:
                rles.append(_compressed(counts, size))
            if len(counts) > most or not rles[-1]:
                raise InputError(
                    f"{name(index)}: the counts of its RLE don't fill the image of {size[1]} x {size[0]} pixels"
                )
            continue
        if type(counts) is str:
            counts = counts.encode("ascii", "replace")
        if type(counts) is not bytes:
            raise InputError(f"{name(index)}: its RLE has no counts")
        if len(counts) > most:
            raise InputError(f"{name(index)}: its RLE has {len(counts)} characters of counts, more than it can need")
        rles.append({"size": expected.copy(), "counts": counts})
    strings = [rle["counts"] for rle in rles]
    portions = np.cumsum(list(map(len, strings))) // _BATCH
    cuts = np.flatnonzero(portions[1:] != portions[:-1]) + 1
    for start, end in pairwise([0, *cuts.tolist(), len(rles)]):
        faults = parse_counts(strings[start:end], pixels)[2]
        for index, fault in enumerate(faults, start):
            if fault:
                raise InputError(f"{name(index)}: {fault}")
    return rles


def _compressed(counts: Any, size: tuple[int, int]) -> Rle:
    """The RLE of uncompressed counts, whole floats among them; empty where they aren't counts of this image."""
    try:
        given = np.asarray(counts)
    except (TypeError, ValueError, OverflowError):
        return {}
    pixels = size[0] * size[1]
    if given.dtype.kind not in "iuf" or given.ndim != 1 or not ((given >= 0) & (given <= pixels)).all():
        return {}
    runs = given.astype(np.int64)
    if int(runs.sum()) != pixels or (runs != given).any():
        return {}
    rle: Rle = coco.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)
    return rle
