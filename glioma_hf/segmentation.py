"""COCO segmentations of many objects -> RLE, checked and rasterised in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from pycocotools import mask as coco

from glioma_hf.errors import InputError
from glioma_hf.rle import Rle, parse_counts


def encode_segmentations(segmentations: Sequence[Any], size: tuple[int, int], names: Sequence[str]) -> list[Rle]:
    """RLEs of COCO segmentations, polygons and RLEs in any order; errors begin with the object's name."""
    is_rle = [isinstance(s, Mapping) for s in segmentations]
    drawn = polygons_to_rles(
        [s for s, rle in zip(segmentations, is_rle, strict=True) if not rle],
        size,
        [n for n, rle in zip(names, is_rle, strict=True) if not rle],
    )
    given = _checked_rles(
        [s for s, rle in zip(segmentations, is_rle, strict=True) if rle],
        size,
        [n for n, rle in zip(names, is_rle, strict=True) if rle],
    )
    sources = iter(drawn), iter(given)
    return [next(sources[rle]) for rle in is_rle]


def polygons_to_rles(objects: Sequence[Any], size: tuple[int, int], names: Sequence[str]) -> list[Rle]:
    """One RLE per object, the union of its polygons; checked and rasterised in one go."""
    parts: list[Any] = []
    ends = []
    for polygons, name in zip(objects, names, strict=True):
        if not isinstance(polygons, list | tuple | np.ndarray) or len(polygons) == 0:
            raise InputError(f"{name}: no segmentation (a list of polygons or an RLE is needed)")
        parts.extend(polygons)
        ends.append(len(parts))
    if not parts:
        return []
    lengths, flat = np.zeros(0, np.int64), np.zeros(0)
    try:
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        flat = np.fromiter(chain.from_iterable(parts), np.float64, int(lengths.sum()))
    except (TypeError, ValueError):
        _name_bad_polygon(objects, names)
    if (lengths % 2).any() or (lengths < 6).any() or not np.isfinite(flat).all():
        _name_bad_polygon(objects, names)
    encoded = coco.frPyObjects(np.split(flat, np.cumsum(lengths)[:-1]), *size)
    if len(ends) == len(encoded):
        return encoded
    starts = [0, *ends[:-1]]
    return [encoded[a] if b - a == 1 else coco.merge(encoded[a:b]) for a, b in zip(starts, ends, strict=True)]


def _name_bad_polygon(objects: Sequence[Any], names: Sequence[str]) -> None:
    """Raise `InputError` for the first unsound polygon."""
    for polygons, name in zip(objects, names, strict=True):
        for number, polygon in enumerate(polygons):
            try:
                points = np.asarray(polygon, np.float64)
            except (TypeError, ValueError):
                points = np.zeros((0, 0))
            if points.ndim != 1:
                raise InputError(f"{name}: polygon {number} isn't a flat list of numbers x0, y0, x1, y1 ...")
            if len(points) % 2:
                raise InputError(f"{name}: polygon {number} has an odd number of coordinates ({len(points)})")
            if len(points) < 6:
                raise InputError(f"{name}: polygon {number} has {len(points) // 2} points, at least 3 are needed")
            if not np.isfinite(points).all():
                raise InputError(f"{name}: polygon {number} has a coordinate that isn't a finite number")


def _checked_rles(segmentations: Sequence[Mapping[str, Any]], size: tuple[int, int], names: Sequence[str]) -> list[Rle]:
    """Compressed RLEs of these, each checked to fill the image."""
    rles: list[Rle] = []
    for segmentation, name in zip(segmentations, names, strict=True):
        counts = segmentation.get("counts")
        if list(segmentation.get("size", [])) != list(size):
            raise InputError(f"{name}: its RLE is of size {segmentation.get('size')}, the image of {list(size)}")
        if isinstance(counts, list):
            if any(not isinstance(c, int) or c < 0 for c in counts) or sum(counts) != size[0] * size[1]:
                raise InputError(f"{name}: the counts of its RLE don't fill the image of {size[1]} x {size[0]} pixels")
            rles.append(coco.frPyObjects({"size": list(size), "counts": counts}, *size))
            continue
        if isinstance(counts, str):
            counts = counts.encode("ascii", "replace")
        if not isinstance(counts, bytes):
            raise InputError(f"{name}: its RLE has no counts")
        rles.append({"size": list(size), "counts": counts})
    faults = parse_counts([rle["counts"] for rle in rles], size[0] * size[1])[2]
    for fault, name in zip(faults, names, strict=True):
        if fault:
            raise InputError(f"{name}: {fault}")
    return rles
