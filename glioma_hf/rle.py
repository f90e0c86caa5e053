"""Run-length masks without their image: encode and decode only inside a bounding box.

pycocotools decodes an RLE into the whole image; on 2592 x 1944 pixels and 200 cells that is a
gigabyte of zeros. The functions here touch only the pixels of an object's box. An RLE is COCO's:
column-major runs, zeros first, in the compressed string form of pycocotools.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco
from scipy import ndimage
from skimage import measure

Rle = dict[str, Any]  # {"size": [height, width], "counts": bytes}
BoxMask = tuple[np.ndarray, tuple[int, int]]  # boolean mask, (top, left)


def encode_runs(starts: np.ndarray, ends: np.ndarray, size: tuple[int, int]) -> Rle:
    """RLE of runs of ones [start, end) in column-major order, sorted and apart from each other."""
    counts = np.diff(np.r_[0, np.stack([starts, ends], 1).ravel(), size[0] * size[1]])
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return coco.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)


def encode_box_mask(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """RLE in an image of `size` of a small boolean mask whose top left pixel lies at `corner` (top, left).

    What reaches beyond the image is cut off; the corner may be negative.
    """
    (top, left), (height, width) = corner, size
    mask = mask[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    top, left = max(0, top), max(0, left)
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    padded[:, 1:-1] = mask.T
    steps = np.diff(padded, axis=1)
    column, row = np.nonzero(steps == 1)
    starts = (column + left) * height + row + top
    column, row = np.nonzero(steps == -1)
    ends = (column + left) * height + row + top
    if mask.shape[0] == height and len(starts):  # runs of full columns join across the column's end
        apart = starts[1:] != ends[:-1]
        starts, ends = starts[np.r_[True, apart]], ends[np.r_[apart, True]]
    return encode_runs(starts, ends, size)


def run_lengths(rle: Rle) -> np.ndarray:
    """Lengths of the runs (zeros, ones, zeros ...) of a compressed RLE: int64.

    Each number is base 32, least digit first, in characters from "0" on; bit 5 says that more
    digits follow, bit 4 of the last is the sign; from the fourth number on it is the difference
    to the number two before. Raises ValueError for counts that don't fill the image.
    """
    height, width = rle["size"]
    digits = np.frombuffer(rle["counts"], np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((digits & 32) == 0)
    broken = len(digits) and (digits.min() < 0 or digits.max() > 63 or len(last) == 0 or last[-1] != len(digits) - 1)
    if broken or len(digits) == 0:
        raise ValueError("the counts of its RLE can't be read")
    first = np.r_[0, last[:-1] + 1]
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    if place.max() > 7:
        raise ValueError("the counts of its RLE can't be read")
    numbers = np.add.reduceat((digits & 31) << (5 * place), first)
    negative = (digits[last] & 16) != 0
    numbers -= negative.astype(np.int64) << (5 * (last - first + 1))
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if (numbers < 0).any() or numbers.sum() != height * width:
        raise ValueError(f"the counts of its RLE don't fill the image of {width} x {height} pixels")
    return numbers


def decode_in_box(rle: Rle, box: np.ndarray) -> np.ndarray:
    """Boolean mask (h, w) of what an RLE holds inside the box (x, y, w, h), which lies in the image."""
    x, y, w, h = (int(v) for v in box)
    height = rle["size"][0]
    edges = np.cumsum(run_lengths(rle))
    starts, ends = edges[0:-1:2], edges[1::2]
    low, high = np.searchsorted(ends, x * height, "right"), np.searchsorted(starts, (x + w) * height, "left")
    starts = np.clip(starts[low:high] - x * height, 0, w * height)
    ends = np.clip(ends[low:high] - x * height, 0, w * height)
    if h == 0 or w == 0:
        return np.zeros((h, w), bool)
    # Full columns of the box alone; the box is small, the columns as high as the image.
    steps = np.zeros(w * height + 1, np.int8)
    np.add.at(steps, starts, 1)
    np.add.at(steps, ends, -1)
    return np.cumsum(steps[:-1], dtype=np.int8).reshape(w, height).T[y : y + h].astype(bool)


def trace_polygons(mask: np.ndarray, corner: tuple[int, int] = (0, 0)) -> list[list[float]]:
    """Outlines of a boolean mask as polygons (x0, y0, x1, y1 ...), shifted by `corner` (top, left).

    Rasterised by pycocotools and united they give the mask back exactly. COCO polygons have no
    holes, so a part with a hole is cut in two at the hole's first column.
    """
    parts, count = ndimage.label(mask)
    polygons: list[list[float]] = []
    for number, window in enumerate(ndimage.find_objects(parts, count), start=1):
        part = parts[window] == number
        top, left = corner[0] + window[0].start, corner[1] + window[1].start
        holes = ndimage.binary_fill_holes(part) & ~part
        if holes.any():
            cut = int(np.flatnonzero(holes.any(0))[0]) + 1
            polygons += trace_polygons(part[:, :cut], (top, left))
            polygons += trace_polygons(part[:, cut:], (top, left + cut))
            continue
        outline = measure.find_contours(np.pad(part, 1).astype(np.float32), 0.5, fully_connected="low")[0]
        points = outline[:-1, ::-1] + np.array([left, top]) - 0.5  # padding - 1, pixel centres + 0.5
        polygons.append(points.ravel().tolist())
    return polygons
