"""Which objects of two sides overlap, and by how much: only pairs whose boxes meet are ever looked at.

Memory and time grow with the number of overlaps, not with the product of the sides: 100,000 objects on each side of
one image have some hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

DENSE = 2**20  # pairs up to which all IoUs are computed at once, which is then the fastest way
MAX_PAIRS = 2**24  # pairs whose boxes meet, above which this is no image of cells
MAX_STEPS = 2**29  # pairs that are near each other in one direction
_STEP = 2**21  # of those looked at in one go
_BLOCK = 32  # objects whose IoUs are computed in one go


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The pairs of two sides that share a pixel, by rising row, then column.

    Attributes:
        shape: number of objects of either side (predictions, references).
        rows, columns: int64 (P,), the pairs' positions on the first and on the second side.
        iou: float64 (P,), above 0: intersection over union, or over the first object alone where that was asked for.
    """

    shape: tuple[int, int]
    rows: np.ndarray
    columns: np.ndarray
    iou: np.ndarray

    @classmethod
    def of_matrix(cls, iou: np.ndarray) -> Overlaps:
        """From a matrix of all IoUs, float (predictions, references)."""
        rows, columns = np.nonzero(iou)
        return cls((iou.shape[0], iou.shape[1]), rows, columns, iou[rows, columns])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def turned(self) -> Overlaps:
        """The same with the sides in each other's place."""
        order = np.lexsort((self.rows, self.columns))
        return Overlaps(self.shape[::-1], self.columns[order], self.rows[order], self.iou[order])

    def where(self, chosen: np.ndarray) -> Overlaps:
        """The pairs that a boolean (P,) picks; positions stay."""
        return Overlaps(self.shape, self.rows[chosen], self.columns[chosen], self.iou[chosen])

    def among(self, rows: np.ndarray, columns: np.ndarray) -> Overlaps:
        """The pairs of these objects alone, each a boolean over its side or rising positions; counted anew."""
        places = []
        for chosen, length in zip((rows, columns), self.shape, strict=True):
            kept = np.zeros(length, bool)
            kept[chosen] = True
            places.append((kept, np.cumsum(kept) - 1, int(kept.sum())))
        (row_kept, row_place, n), (column_kept, column_place, m) = places
        pairs = self.where(row_kept[self.rows] & column_kept[self.columns])
        return Overlaps((n, m), row_place[pairs.rows], column_place[pairs.columns], pairs.iou)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """IoU of these pairs, each of which must be among the overlaps: float64."""
        found: np.ndarray = self.iou[np.searchsorted(self._keys, rows * self.shape[1] + columns)]
        return found

    @cached_property
    def _keys(self) -> np.ndarray:
        return self.rows * self.shape[1] + self.columns

    def best_of_columns(self) -> np.ndarray:
        """For each object of the second side its greatest IoU with any of the first, 0 for none: float64."""
        best = np.zeros(self.shape[1])
        np.maximum.at(best, self.columns, self.iou)
        return best


def overlaps(first: Instances, second: Instances, of_first: bool = False) -> Overlaps:
    """The pairs of two sides that share a pixel, with pycocotools' own IoU, the same bits by every way.

    Args:
        first, second: of one size.
        of_first: divide by the area of the first object, as pycocotools does for crowd regions, not by the union.

    Raises `InputError` where the sizes differ, and for more than `MAX_PAIRS` pairs of boxes that meet.

        >>> cell = Instances.from_polygons([[[4, 4, 8, 4, 8, 8, 4, 8]], [[6, 4, 10, 4, 10, 8, 6, 8]]], (20, 20))
        >>> found = overlaps(cell, cell.select([0]))
        >>> found.rows.tolist(), found.columns.tolist(), found.iou.round(2).tolist()
        ([0, 1], [0, 0], [1.0, 0.33])
    """
    if first.size != second.size:
        raise InputError(f"images of different sizes can't be compared: {first.size} and {second.size}")
    if len(first) * len(second) <= DENSE:
        return Overlaps.of_matrix(_dense(first.rles, second.rles, of_first))
    rows, columns = _meeting_boxes(first.boxes, second.boxes)
    values = _iou_of_pairs(first, second, rows, columns, of_first)
    kept = np.flatnonzero(values > 0)
    order = kept[np.lexsort((columns[kept], rows[kept]))]
    return Overlaps((len(first), len(second)), rows[order], columns[order], values[order])


def _dense(first: Any, second: Any, of_first: bool) -> np.ndarray:
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    return np.asarray(coco.iou(list(first), list(second), [int(of_first)] * len(second)))


def _iou_of_pairs(
    first: Instances, second: Instances, rows: np.ndarray, columns: np.ndarray, of_first: bool
) -> np.ndarray:
    """IoU of the pairs; `rows` come in runs, neighbours in the image near each other."""
    values = np.zeros(len(rows))
    fresh = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, int)
    cuts = [*fresh[::_BLOCK].tolist(), len(rows)]
    for a, b in pairwise(cuts):
        left, left_place = np.unique(rows[a:b], return_inverse=True)
        right, right_place = np.unique(columns[a:b], return_inverse=True)
        # A block that overlaps much is cut, so that no large matrix comes of it.
        for c in range(0, len(right), 2**15):
            part = right[c : c + 2**15]
            matrix = _dense([first.rles[i] for i in left], [second.rles[j] for j in part], of_first)
            here = np.flatnonzero((right_place >= c) & (right_place < c + len(part)))
            values[a + here] = matrix[left_place[here], right_place[here] - c]
    return values


def _meeting_boxes(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all pairs of boxes (x, y, w, h) that share a pixel; each row's pairs come after one another."""
    tall = np.r_[first[:, 1] + first[:, 3], second[:, 1] + second[:, 3]].max()
    strip = max(1.0, float(np.r_[first[:, 3], second[:, 3]].mean()), float(tall) / 2**20)
    sides = [_in_strips(boxes, strip) for boxes in (first, second)]
    found = [(np.zeros(0, int), np.zeros(0, int))]
    total = steps = 0
    for turned in (False, True):
        (keys, ends, owner), (other_keys, _, other_owner) = sides[::-1] if turned else sides
        # Pairs of which the second begins within the first; where both begin alike they are counted once.
        low = np.searchsorted(other_keys, keys, "right" if turned else "left")
        high = np.searchsorted(other_keys, ends, "left")
        counts = np.maximum(high - low, 0)
        steps += int(counts.sum())
        if steps > MAX_STEPS:
            raise _too_crowded()
        for chosen in _portions(counts):
            many = counts[chosen]
            mine = np.repeat(owner[chosen], many)
            within = np.arange(len(mine)) - np.repeat(np.cumsum(many) - many, many)
            theirs = other_owner[np.repeat(low[chosen], many) + within]
            a, b = (theirs, mine) if turned else (mine, theirs)
            top = np.maximum(first[a, 1], second[b, 1])
            meet = top < np.minimum(first[a, 1] + first[a, 3], second[b, 1] + second[b, 3])
            # Two boxes may share several strips: the one in which their common part begins has them.
            strips = np.repeat(keys[chosen] // _WIDEST, many)
            meet &= np.floor(top / strip) == strips
            found.append((a[meet], b[meet]))
            total += int(meet.sum())
            if total > MAX_PAIRS:
                raise _too_crowded()
    rows, columns = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    # Rows near each other in the image stay near each other: by strip, then from left to right.
    place = np.lexsort((first[:, 0], np.floor(first[:, 1] / strip)))
    rank = np.empty(len(first), int)
    rank[place] = np.arange(len(first))
    order = np.argsort(rank[rows], kind="stable")
    return rows[order], columns[order]


_WIDEST = 2.0**29  # beyond any x; keys are whole numbers below 2**53, exact as floats


def _in_strips(boxes: np.ndarray, strip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every box once for each horizontal strip that it reaches into, sorted.

    Returns: where each begins, as strip times `_WIDEST` plus x; where it ends alike; positions of the boxes.
    """
    shown = np.flatnonzero((boxes[:, 2] > 0) & (boxes[:, 3] > 0))
    x, y, w, h = boxes[shown].T
    low, high = np.floor(y / strip).astype(int), np.floor((y + h - 1) / strip).astype(int)
    many = high - low + 1
    strips = np.repeat(low, many) + np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
    keys = strips * _WIDEST + np.repeat(x, many)
    order = np.argsort(keys, kind="stable")
    return keys[order], (keys + np.repeat(w, many))[order], np.repeat(shown, many)[order]


def _portions(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Positions with counts, in order, in portions of at most some `_STEP` counts together."""
    chosen = np.flatnonzero(counts)
    portion = np.cumsum(counts[chosen]) // _STEP
    yield from np.split(chosen, np.flatnonzero(np.diff(portion)) + 1) if len(chosen) else []


def _too_crowded() -> InputError:
    return InputError(f"over {MAX_PAIRS} pairs of objects overlap in one image; leave out those that repeat others")
