"""Run-length masks without their image: encode and decode only inside a bounding box.

pycocotools decodes an RLE into the whole image; on 2592 x 1944 pixels and 200 cells that is a
gigabyte of zeros. The functions here touch only the pixels of an object's box. An RLE is COCO's:
column-major runs, zeros first, in the compressed string form of pycocotools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

Rle = dict[str, Any]  # {"size": [height, width], "counts": bytes}
BoxMask = tuple[np.ndarray, tuple[int, int]]  # boolean mask, (top, left)
_PASS = 1024  # RLEs whose counts are read in one pass: about as fast as all at once, and little is held


def encode_runs(starts: np.ndarray, ends: np.ndarray, size: tuple[int, int]) -> Rle:
    """RLE of runs of ones [start, end) in column-major order, sorted and apart from each other."""
    edges = np.empty(2 * len(starts) + 2, np.int64)
    edges[0], edges[-1] = 0, size[0] * size[1]
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    counts = edges[1:] - edges[:-1]
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


def parse_counts(counts: Sequence[bytes], pixels: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Run lengths of many compressed RLEs of images of so many `pixels`, in one pass.

    Each number is base 32, least digit first, in characters from "0" on; bit 5 says that more digits
    follow, bit 4 of the last is the sign; from the fourth number of an RLE on it is the difference to
    the number two before.

    Returns: all lengths after one another, int64; where each RLE's begin, int64 (N + 1,); what is wrong
    with each RLE, "" for nothing. The lengths of faulty ones mean nothing.
    """
    sizes = np.fromiter(map(len, counts), np.int64, len(counts))
    digits = np.frombuffer(b"".join(counts), np.uint8) - np.uint8(48)  # wraps below "0", to be refused like above "o"
    ends = np.cumsum(sizes)
    unread = sizes == 0
    if (digits > 63).any():
        unread[np.searchsorted(ends, np.flatnonzero(digits > 63), "right")] = True
    final = digits < 32
    closing = ends[sizes > 0] - 1
    unread[np.flatnonzero(sizes > 0)[~final[closing]]] = True
    final[closing] = True  # keeps a faulty RLE from running into the next one
    last = np.flatnonzero(final)
    width = np.diff(last, prepend=-1)
    owner = np.searchsorted(ends, last, "right")
    if len(width) and width.max() > 6:  # more digits than an image within bounds can need
        unread[owner[width > 6]] = True
    # Digit by digit, most numbers have one or two of them.
    values = digits[last].astype(np.int64) & 31
    values -= (values & 16) << 1  # the sign
    for place in range(1, min(int(width.max(initial=1)), 6)):
        longer = np.flatnonzero(width > place)
        values[longer] = (values[longer] << 5) | (digits[last[longer] - place] & 31)
    starts = np.r_[0, np.cumsum(np.bincount(owner, minlength=len(counts)))]
    index = np.arange(len(values)) - np.repeat(starts[:-1], np.diff(starts))
    # Undo the differences: odd places sum from the second number on, even ones from the third, per RLE.
    for parity in (0, 1):
        chosen = np.flatnonzero((index & 1 == parity) & (index > 0))
        if len(chosen):
            sums = np.cumsum(values[chosen])
            fresh = np.flatnonzero(index[chosen] <= 2)
            before = np.r_[0, sums][fresh]
            values[chosen] = sums - np.repeat(before, np.diff(np.r_[fresh, len(chosen)]))
    faults = ["the counts of its RLE can't be read" if bad else "" for bad in unread]
    totals = np.add.reduceat(np.r_[values, 0], starts[:-1]) if len(counts) else np.zeros(0, np.int64)
    short = totals != pixels
    if len(values) and values.min() < 0:
        short[owner[values < 0]] = True
    for i in np.flatnonzero(short & ~unread):
        faults[i] = f"the counts of its RLE don't fill the image of {pixels} pixels"
    return values, starts, faults


def decode_in_boxes(rles: Sequence[Rle], boxes: Sequence[np.ndarray] | np.ndarray) -> Iterator[np.ndarray]:
    """Boolean mask (h, w) of what each RLE holds inside its box (x, y, w, h), which lies in the image.

    All RLEs are of one image; the counts of many are read in one pass.
    """
    for start in range(0, len(rles), _PASS):
        yield from _decoded(rles[start : start + _PASS], boxes[start : start + _PASS])


def _decoded(rles: Sequence[Rle], boxes: Sequence[np.ndarray] | np.ndarray) -> Iterator[np.ndarray]:
    height, width = rles[0]["size"]
    lengths, first, faults = parse_counts([rle["counts"] for rle in rles], height * width)
    for i, box in enumerate(boxes):
        if faults[i]:
            raise ValueError(faults[i])
        x, y, w, h = (int(v) for v in box)
        if h == 0 or w == 0:
            yield np.zeros((h, w), bool)
            continue
        edges = np.cumsum(lengths[first[i] : first[i + 1]])
        starts, ends = edges[0:-1:2], edges[1::2]
        low, high = np.searchsorted(ends, x * height, "right"), np.searchsorted(starts, (x + w) * height, "left")
        starts = _bounded(starts[low:high] - x * height, w * height)
        ends = _bounded(ends[low:high] - x * height, w * height)
        yield _fill(starts, ends, height, y, w, h)


def _bounded(values: np.ndarray, most: int) -> np.ndarray:
    """Values cut to 0 ... most; of short arrays it takes a third of `np.clip`'s time."""
    result: np.ndarray = np.minimum(np.maximum(values, 0), most)
    return result


def _fill(starts: np.ndarray, ends: np.ndarray, height: int, y: int, w: int, h: int) -> np.ndarray:
    """Rows y ... y + h of w columns of `height` pixels, with the runs [start, end) set."""
    starts, ends = starts[ends > starts], ends[ends > starts]
    column, last = starts // height, (ends - 1) // height
    if (last > column).any():  # runs across the end of a column are cut there
        parts = last - column + 1
        owner = np.repeat(np.arange(len(starts)), parts)
        inner = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        column = column[owner] + inner
        starts, ends = np.maximum(starts[owner], column * height), np.minimum(ends[owner], (column + 1) * height)
    # One row more than the box, to hold where a run ends at its lower edge.
    steps = np.zeros((w, h + 1), np.int8)
    np.add.at(steps, (column, _bounded(starts - column * height - y, h)), 1)
    np.add.at(steps, (column, _bounded(ends - column * height - y, h)), -1)
    return np.cumsum(steps, axis=1, dtype=np.int8)[:, :h].T.astype(bool)


def trace_polygons(mask: np.ndarray, corner: tuple[int, int] = (0, 0)) -> list[list[float]]:
    """Outlines of a boolean mask as polygons (x0, y0, x1, y1 ...), shifted by `corner` (top, left).

    Rasterised by pycocotools and united they give the mask back exactly. COCO polygons have no
    holes, so a part with a hole is cut in two at the hole's first column.
    """
    from scipy import ndimage  # takes longer to load than most scores to compute

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
        polygons += [points.ravel().tolist() for points in contours(part, (top, left))]
    return polygons


def contours(mask: np.ndarray, corner: tuple[int, int] = (0, 0)) -> list[np.ndarray]:
    """Closed outlines of a boolean mask, those of its holes among them: (x, y) points, each (P, 2)."""
    from skimage import measure

    outlines = measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="low")
    shift = np.array([corner[1], corner[0]]) - 0.5  # padding - 1, pixel centres + 0.5
    return [outline[:-1, ::-1] + shift for outline in outlines]
