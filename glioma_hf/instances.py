"""`Instances`: the objects of one image, held as run-length masks that may overlap.

All rooms pass it on. Masks are COCO RLE (column-major runs, compressed): nothing of shape (instances, H, W) exists.

    >>> square = [2.0, 1.0, 5.0, 1.0, 5.0, 4.0, 2.0, 4.0]
    >>> cells = Instances.from_polygons([[square]], size=(8, 10))
    >>> len(cells), cells.areas.tolist(), cells.boxes.tolist()
    (1, [9], [[2.0, 1.0, 3.0, 3.0]])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco

from glioma_hf.errors import InputError
from glioma_hf.rle import BoxMask, Rle, decode_in_boxes, encode_box_mask, encode_runs, trace_polygons
from glioma_hf.segmentation import Priority, column, encode_annotations, polygons_to_rles, priority_order, read_columns

MAX_PIXELS = 2**28  # of what is held pixel by pixel: 16k x 16k, small enough to refuse bombs
MAX_RUN_PIXELS = 2**29 - 1  # of what is held as runs: pycocotools gets the difference of two longer ones wrong
_AREA_CHUNK = 255  # pycocotools' area overflows under NumPy 2 for 256 RLEs or more


@dataclass(frozen=True, eq=False)
class Instances:
    """Annotated or predicted objects of one image, in annotation (priority) order.

    Attributes:
        size: (height, width) of the image in pixels.
        rles: one compressed COCO RLE per object, each of that size.
        categories: int64, shape (N,): index of the object's category; 0 where there is one alone.
        scores: float64, shape (N,), or None where the objects carry no score.
        ids: int64, shape (N,): the object's id in its file; 0 ... N-1 where it has none.
        crowd: bool, shape (N,): COCO's `iscrowd`, a region and no object; scoring ignores it and what lies in it.
    """

    size: tuple[int, int]
    rles: tuple[Rle, ...]
    categories: np.ndarray
    scores: np.ndarray | None
    ids: np.ndarray
    crowd: np.ndarray

    # -- making ---------------------------------------------------------------------------

    @classmethod
    def from_rles(
        cls,
        rles: Iterable[Rle],
        size: tuple[int, int],
        categories: Sequence[int] | np.ndarray | None = None,
        scores: Sequence[float] | np.ndarray | None = None,
        ids: Sequence[int] | np.ndarray | None = None,
        crowd: Sequence[bool] | np.ndarray | None = None,
    ) -> Instances:
        """From compressed RLEs, all of `size`. Raises `InputError` where a size or a length differs."""
        size = check_size(size, MAX_RUN_PIXELS)
        rles, expected = tuple(rles), list(size)
        for index, rle in enumerate(rles):
            if rle["size"] != expected and tuple(rle["size"]) != size:
                raise InputError(f"object {index}: its RLE is of size {list(rle['size'])}, the image of {list(size)}")
        n = len(rles)
        return cls(
            size,
            rles,
            column(categories, n, np.int64, np.zeros(n, np.int64), "categories"),
            None if scores is None else column(scores, n, np.float64, None, "scores"),
            column(ids, n, np.int64, np.arange(n), "ids"),
            column(crowd, n, bool, np.zeros(n, bool), "crowd marks"),
        )

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Instances:
        """No objects in an image of `size`."""
        return cls.from_rles([], size)

    @classmethod
    def from_polygons(
        cls, objects: Sequence[Sequence[Sequence[float]]], size: tuple[int, int], **columns: Any
    ) -> Instances:
        """From polygons: `objects[i]` is the list of polygons (x0, y0, x1, y1 ...) of object i.

        Rasterised by pycocotools' rule; several polygons of one object are united. Coordinates are in pixels, (0, 0)
        the top left corner of the top left pixel. Raises `InputError` for a polygon of fewer than three points, an odd
        number of coordinates or one that isn't finite.
        """
        size = check_size(size, MAX_RUN_PIXELS)
        return cls.from_rles(polygons_to_rles(objects, size, "object {}".format), size, **columns)

    @classmethod
    def from_coco(
        cls,
        annotations: Sequence[Mapping[str, Any]],
        size: tuple[int, int],
        category_index: Mapping[int, int] | None = None,
    ) -> Instances:
        """From COCO annotations or results: polygons, or RLE with counts as list, str or bytes.

        Args:
            annotations: dicts with `segmentation` and, where known, `id`, `category_id`, `score`, `iscrowd`.
            category_index: from the file's category ids to category indices; without it ids are kept.

        Raises `InputError` that names the annotation for a segmentation or a field that can't be read.
        """
        size = check_size(size, MAX_RUN_PIXELS)

        def name(index: int) -> str:
            return f"annotation {annotations[index].get('id', f'number {index}')}"

        rles = encode_annotations(annotations, size, name)
        return cls.from_rles(rles, size, **read_columns(annotations, category_index, name))

    @classmethod
    def from_label_map(cls, labels: np.ndarray, **columns: Any) -> Instances:
        """From an integer label map (H, W), 0 the background: one object per label, by rising label.

        Negative labels, StarDist's mark for what isn't to count, are crowd regions.
        """
        labels = np.asarray(labels)
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise InputError(f"a label map is a 2-D integer array, this one is {labels.ndim}-D {labels.dtype}")
        size = check_size(labels.shape)
        flat = labels.ravel(order="F")
        starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
        ends, values = np.r_[starts[1:], flat.size], flat[starts]
        order = np.argsort(values, kind="stable")
        order = order[values[order] != 0]
        present, first = np.unique(values[order], return_index=True)
        groups = np.split(order, first[1:]) if len(present) else []
        columns = {"ids": present.astype(np.int64), "crowd": present < 0} | columns
        return cls.from_rles([encode_runs(starts[g], ends[g], size) for g in groups], size, **columns)

    @classmethod
    def from_masks(cls, masks: Iterable[np.ndarray], size: tuple[int, int] | None = None, **columns: Any) -> Instances:
        """From boolean masks (H, W), one at a time: a generator is fine. `size` is needed where none come."""
        rles = []
        for index, mask in enumerate(masks):
            mask = np.asarray(mask)
            if mask.ndim != 2 or (size is not None and mask.shape != tuple(size)):
                raise InputError(f"mask {index} has shape {mask.shape}, expected {size or '(height, width)'}")
            size = check_size(mask.shape)
            rles.append(encode_box_mask(mask.astype(bool), (0, 0), size))
        if size is None:
            raise InputError("no masks: give the image's size")
        return cls.from_rles(rles, size, **columns)

    @classmethod
    def from_box_masks(cls, masks: Iterable[BoxMask], size: tuple[int, int], **columns: Any) -> Instances:
        """From small boolean masks, each with the (top, left) pixel at which it lies; outside is cut off."""
        size = check_size(size, MAX_RUN_PIXELS)
        return cls.from_rles([encode_box_mask(mask, corner, size) for mask, corner in masks], size, **columns)

    # -- looking --------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rles)

    def __repr__(self) -> str:
        return f"Instances({len(self)} objects, {self.size[0]} x {self.size[1]} pixels)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instances):
            return NotImplemented
        if self.scores is None or other.scores is None:
            same_scores = self.scores is other.scores
        else:
            same_scores = np.array_equal(self.scores, other.scores)
        return (
            self.size == other.size
            and [r["counts"] for r in self.rles] == [r["counts"] for r in other.rles]
            and np.array_equal(self.categories, other.categories)
            and np.array_equal(self.ids, other.ids)
            and np.array_equal(self.crowd, other.crowd)
            and same_scores
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def areas(self) -> np.ndarray:
        """Pixels of each object: int64, shape (N,)."""
        chunks = [coco.area(list(self.rles[i : i + _AREA_CHUNK])) for i in range(0, len(self), _AREA_CHUNK)]
        return column(np.concatenate(chunks) if chunks else [], len(self), np.int64, None, "areas")

    @cached_property
    def boxes(self) -> np.ndarray:
        """(x, y, width, height) of each object in pixels: float64, shape (N, 4)."""
        boxes = np.array(coco.toBbox(list(self.rles)) if self.rles else [], np.float64).reshape(-1, 4)
        boxes.setflags(write=False)
        return boxes

    def iou(self, other: Instances) -> np.ndarray:
        """Intersection over union of every pair: float64, shape (len(self), len(other))."""
        if self.size != other.size:
            raise InputError(f"images of different sizes can't be compared: {self.size} and {other.size}")
        if not len(self) or not len(other):
            return np.zeros((len(self), len(other)))
        return np.asarray(coco.iou(list(self.rles), list(other.rles), [0] * len(other)))

    def touching_border(self, width: int = 2) -> np.ndarray:
        """True for objects with a pixel in the outer frame `width` pixels wide: bool, shape (N,)."""
        x, y, w, h = self.boxes.T
        touching = (x < width) | (y < width) | (x + w > self.size[1] - width) | (y + h > self.size[0] - width)
        return touching & (w > 0)  # an empty object has no box

    def box_masks(self) -> Iterator[BoxMask]:
        """Each object as (boolean mask of its bounding box, (top, left)); empty objects give (0, 0) masks."""
        boxes = self.boxes.astype(int)
        for mask, box in zip(decode_in_boxes(self.rles, boxes), boxes, strict=True):
            yield mask, (int(box[1]), int(box[0]))

    # -- changing (always into a new object) ----------------------------------------------

    def select(self, index: Any) -> Instances:
        """The objects that a boolean mask, a slice or a list of positions picks, in that order."""
        picked = np.arange(len(self))[np.asarray(index, int) if isinstance(index, list) and not index else index]
        chosen = Instances.from_rles(
            [self.rles[i] for i in picked],
            self.size,
            self.categories[picked],
            None if self.scores is None else self.scores[picked],
            self.ids[picked],
            self.crowd[picked],
        )
        for name in self.__dict__.keys() & {"areas", "boxes"}:  # what is known already isn't computed again
            chosen.__dict__[name] = self.__dict__[name][picked]
            chosen.__dict__[name].setflags(write=False)
        return chosen

    def crop(self, top: int, left: int, height: int, width: int) -> Instances:
        """What lies in a window, in its coordinates. Objects outside it are left out; cut ones are kept."""
        boxes = self.boxes.astype(int)
        inside = (
            (boxes[:, 0] < left + width)
            & (boxes[:, 0] + boxes[:, 2] > left)
            & (boxes[:, 1] < top + height)
            & (boxes[:, 1] + boxes[:, 3] > top)
        )
        near = self.select(inside)
        moved = ((mask, (y - top, x - left)) for mask, (y, x) in near.box_masks())
        cut = Instances.from_box_masks(
            moved, (height, width), categories=near.categories, scores=near.scores, ids=near.ids, crowd=near.crowd
        )
        return cut.select(cut.areas > 0)

    def flatten(self, priority: Priority | Sequence[int] = "first") -> Instances:
        """Without overlaps: a contested pixel goes to the object of higher priority.

        Args:
            priority: "first" (the earlier object covers the later) or "last", as the paper's "priority order of the
                annotated polygons" (section 4) can be read both ways; or positions of the objects, highest first.

        Objects that are covered whole stay, with no pixels, so that order and ids are kept. Crowd regions cover
        nothing and aren't covered.
        """
        labels = self.to_label_map(priority)
        shown = Instances.from_label_map(labels)
        rles = [encode_runs(np.zeros(0, int), np.zeros(0, int), self.size)] * len(self)
        for label, rle in zip(shown.ids, shown.rles, strict=True):
            rles[label - 1] = rle
        for position in np.flatnonzero(self.crowd):
            rles[position] = self.rles[position]
        return Instances.from_rles(rles, self.size, self.categories, self.scores, self.ids, self.crowd)

    # -- giving away ----------------------------------------------------------------------

    def to_label_map(self, priority: Priority | Sequence[int] = "first") -> np.ndarray:
        """int32 (H, W): position + 1 of the object of highest priority at each pixel, 0 for none or a crowd region."""
        order = priority_order(priority, len(self))
        labels = np.zeros(check_size(self.size), np.int32)
        boxes = self.boxes.astype(int)
        placed = [i for i in order[::-1] if not self.crowd[i]] if self.crowd.any() else order[::-1]
        masks = decode_in_boxes([self.rles[i] for i in placed], boxes[placed])
        for position, mask in zip(placed, masks, strict=True):
            x, y, w, h = boxes[position]
            labels[y : y + h, x : x + w][mask] = position + 1
        return labels

    def to_masks(self) -> Iterator[np.ndarray]:
        """Boolean masks (H, W), one at a time."""
        for mask, (top, left) in self.box_masks():
            full = np.zeros(check_size(self.size), bool)
            full[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
            yield full

    def to_polygons(self) -> list[list[list[float]]]:
        """Polygons of each object that pycocotools rasterises into the very same pixels."""
        return [trace_polygons(mask, corner) for mask, corner in self.box_masks()]

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO annotations (results where there are scores) with RLE counts as str, ready for JSON."""
        rows = []
        for i, (rle, box, area) in enumerate(zip(self.rles, self.boxes.tolist(), self.areas.tolist(), strict=True)):
            category = int(self.categories[i])
            row = {
                "id": int(self.ids[i]),
                "image_id": image_id,
                "category_id": category if category_ids is None else category_ids[category],
                "segmentation": {"size": list(self.size), "counts": rle["counts"].decode("ascii")},
                "bbox": box,
                "area": area,
                "iscrowd": int(self.crowd[i]),
            }
            if self.scores is not None:
                row["score"] = float(self.scores[i])
            rows.append(row)
        return rows


def check_size(size: Sequence[Any], most: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as ints; raises `InputError` where they aren't whole, positive or are over `most` pixels."""
    try:
        height, width = int(size[0]), int(size[1])
        whole = all(v == int(v) for v in size[:2] if isinstance(v, float | np.floating))
    except (TypeError, ValueError, OverflowError, LookupError):
        whole = False
    if not whole:
        raise InputError(f"an image's size is two whole numbers of pixels, not {str(size)[:60]}")
    if min(height, width) < 1 or max(height, width) > MAX_PIXELS or height * width > most:
        raise InputError(f"an image of {width} x {height} pixels is out of bounds (1 to {most} pixels in all)")
    return height, width
