"""COCO segmentations of many objects -> RLE, checked and rasterised in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco

from glioma_hf.errors import InputError
from glioma_hf.rle import Rle, parse_counts

Name = Callable[[int], str]  # what to call the object at a position, in an error


def encode_segmentations(segmentations: Sequence[Any], size: tuple[int, int], name: Name) -> list[Rle]:
    """RLEs of COCO segmentations, polygons and RLEs in any order. Raises `InputError` that begins with a name."""
    given = [i for i, s in enumerate(segmentations) if isinstance(s, Mapping)]
    if not given:
        return polygons_to_rles(segmentations, size, name)
    drawn = [i for i, s in enumerate(segmentations) if not isinstance(s, Mapping)]
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
            raise InputError(f"{name(index)}: no segmentation (a list of polygons or an RLE is needed)")
        parts.extend(polygons)
        ends.append(len(parts))
    if not parts:
        return []
    lengths, flat = np.zeros(0, np.int64), np.zeros(0)
    try:
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        flat = np.fromiter(chain.from_iterable(parts), np.float64, int(lengths.sum()))
    except (TypeError, ValueError):
        _name_bad_polygon(objects, name)
    if (lengths % 2).any() or (lengths < 6).any() or not np.isfinite(flat).all():
        _name_bad_polygon(objects, name)
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
            except (TypeError, ValueError):
                points = np.zeros((0, 0))
            if points.ndim != 1:
                raise InputError(f"{name(index)}: polygon {number} isn't a flat list of numbers x0, y0, x1, y1 ...")
            if len(points) % 2:
                raise InputError(f"{name(index)}: polygon {number} has an odd number of coordinates ({len(points)})")
            if len(points) < 6:
                raise InputError(
                    f"{name(index)}: polygon {number} has {len(points) // 2} points, at least 3 are needed"
                )
            if not np.isfinite(points).all():
                raise InputError(f"{name(index)}: polygon {number} has a coordinate that isn't a finite number")


def _checked_rles(segmentations: Sequence[Mapping[str, Any]], size: tuple[int, int], name: Name) -> list[Rle]:
    """Compressed RLEs of these, each checked to fill the image."""
    rles: list[Rle] = []
    expected = list(size)
    for index, segmentation in enumerate(segmentations):
        counts = segmentation.get("counts")
        if list(segmentation.get("size", [])) != expected:
            raise InputError(f"{name(index)}: its RLE is of size {segmentation.get('size')}, the image of {list(size)}")
        if isinstance(counts, list):
            if any(not isinstance(c, int) or c < 0 for c in counts) or sum(counts) != size[0] * size[1]:
                raise InputError(
                    f"{name(index)}: the counts of its RLE don't fill the image of {size[1]} x {size[0]} pixels"
                )
            rles.append(coco.frPyObjects({"size": list(size), "counts": counts}, *size))
            continue
        if isinstance(counts, str):
            counts = counts.encode("ascii", "replace")
        if not isinstance(counts, bytes):
            raise InputError(f"{name(index)}: its RLE has no counts")
        rles.append({"size": list(size), "counts": counts})
    faults = parse_counts([rle["counts"] for rle in rles], size[0] * size[1])[2]
    for index, fault in enumerate(faults):
        if fault:
            raise InputError(f"{name(index)}: {fault}")
    return rles
