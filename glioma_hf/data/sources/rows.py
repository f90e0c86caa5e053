"""Rows, the form that the images of every source take, and what is repaired on the way into it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.row_images import row_image
from glioma_hf.data.sources.archive import Archive
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.segmentation import is_finite

Row = dict[str, Any]  # see `glioma_hf.data.features`
BOX_MARGIN = 2.0  # pixels by which an annotated box may miss its mask on a side
LOOSE = 1.0  # pixels by which an outline may leave its image before it is counted as cut


@dataclass(frozen=True)
class ArchiveSplit:
    """A split as it lies in an archive.

    Attributes:
        member: its COCO file, folder or npz.
        subset, split: as the rows have them.
    """

    member: str
    subset: str
    split: str


def find_split_files(archive: Archive, subset: str, pattern: str, said: str) -> list[ArchiveSplit]:
    """The official splits, by the names of their files.

    Args:
        pattern: of a base name in lower case; its first group is train, val or test.
        said: what to say is missing.

    Raises `InputError` where there is none or one is there twice.
    """
    members: dict[str, str] = {}
    for name in archive.names:
        match = re.fullmatch(pattern, PurePosixPath(name).name.lower())
        if match:
            if match[1] in members:
                raise InputError(f"{archive.path}: both {members[match[1]]} and {name} are {match[1]}; keep one")
            members[match[1]] = name
    if not members:
        some = ", ".join(archive.names[:5]) or "nothing"
        raise InputError(f"{archive.path}: no {said} in it ({some} ...)")
    names = {"train": "train", "val": "validation", "test": "test"}
    return [ArchiveSplit(members[key], subset, split) for key, split in names.items() if key in members]


class Repairs:
    """Counts what is put right while reading, by kind, and tells each case by file and object.

    With `strict` the first case is an `InputError` instead; `on_progress` hears of each otherwise, of no more than
    `most` of a kind where that is given; `word` is what it hears that was done.

        >>> repairs = Repairs()
        >>> repairs.note("objects without pixels left out", "a.json: annotation 7 covers no pixel")
        >>> dict(repairs.counts)
        {'objects without pixels left out': 1}
    """

    def __init__(
        self,
        strict: bool = False,
        on_progress: OnProgress = ignore,
        word: str = "repaired",
        most: int | None = None,
    ):
        self.strict, self.on_progress, self.word, self.most = strict, on_progress, word, most
        self.counts: Counter[str] = Counter()

    def note(self, kind: str, message: str) -> None:
        """One more case of `kind`; raises `InputError` where reading is strict."""
        if self.strict:
            raise InputError(f"{message}; without --strict: {kind}")
        self.counts[kind] += 1
        if self.most is None or self.counts[kind] <= self.most:
            self.on_progress(Progress(f"{self.word} ({kind}): {message}"))


def read_checked_image(
    archive: Archive, member: str, said: tuple[int, int] | None = None
) -> tuple[bytes, tuple[int, int]]:
    """An image as a row holds it, and its (width, height); `said` is the one that its objects' table has.

    It is decoded whole: a damaged image is found here, not in training. Raises `InputError` as `row_image` does.
    """
    return row_image(archive.read(member), f"{archive.path}: {member}", said)


def make_row(
    data: bytes,
    name: str,
    size: tuple[int, int],
    image_id: int,
    split: ArchiveSplit,
    objects: list[Row],
    subset: str = "",
    ignored: Sequence[Row] = (),
) -> Row:
    """A row of encoded image and objects; `size` is (width, height), `subset` the split's unless given.

    `ignored` are regions that count as no object and as no background, see `glioma_hf.data.features`.
    """
    file_name = PurePosixPath(name).name
    return {
        "image": {"bytes": data, "path": file_name},
        "image_id": image_id,
        "file_name": file_name,
        "width": size[0],
        "height": size[1],
        "subset": subset or split.subset,
        "split": split.split,
        "objects": objects,
        "ignored": list(ignored),
    }


def annotated_objects(
    annotations: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    category_index: Mapping[Any, int],
    where: str,
    repairs: Repairs,
) -> list[Row]:
    """The column `objects` from COCO annotations of one image of `size` (width, height), in their order.

    Boxes and areas that are missing are computed from the mask. Repaired: objects without a pixel in the
    image are left out; boxes that miss their outline and areas that can't be right are computed anew; outlines
    that leave the image by over a pixel count as cut at its border, with box and area of what is left. Raises
    `InputError` that begins with `where` for segmentations that can't be read.
    """
    try:
        instances = Instances.from_coco(annotations, size[::-1], category_index)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    rows = []
    for i, (kept, box, area) in enumerate(check_annotations(annotations, instances, where, repairs)):
        if not kept:
            continue
        segmentation = annotations[i]["segmentation"]
        if isinstance(segmentation, Mapping):
            polygons = instances.select([i]).to_polygons()[0]
        else:
            polygons = [[float(v) for v in polygon] for polygon in segmentation]
        rows.append(
            {
                "id": annotations[i]["id"],
                "category": int(instances.categories[i]),
                "segmentation": polygons,
                "bbox": [float(v) for v in (instances.boxes[i] if box is None else box)],
                "area": float(instances.areas[i] if area is None else area),
            }
        )
    return rows


def check_annotations(
    annotations: Sequence[Mapping[str, Any]], instances: Instances, where: str, repairs: Repairs, boxes: bool = True
) -> Iterator[tuple[bool, Any, Any]]:
    """What is put right of each annotation of an image, for `annotated_objects` and for scoring alike.

    Args:
        annotations: COCO's, with ids; their segmentations were read as `instances`.
        where: file and image, as errors and repairs call them.
        boxes: whether boxes and areas are looked at too.

    Yields whether the object has a pixel, and its own box and area where they can stay, None otherwise. Where most
    outlines leave the image and would lie in one of swapped width and height, that is told too.
    """
    height, width = instances.size
    extents = _extents(annotations)
    outside = _leave(extents, width, height)
    if 2 * outside.sum() > len(annotations) > 1 and not _leave(extents, height, width).any():
        repairs.note(
            "images with width and height swapped",
            f"{where}: {int(outside.sum())} of {len(annotations)} outlines leave the image of {width} x {height} and "
            f"would lie in one of {height} x {width}: width and height, or x and y, look swapped",
        )
    for i, annotation in enumerate(annotations):
        name = f"{where}: annotation {annotation.get('id', f'number {i}')}"
        if instances.areas[i] == 0:
            repairs.note("objects without pixels left out", f"{name} covers no pixel of the image")
            yield False, None, None
            continue
        box, area = (annotation.get("bbox"), annotation.get("area")) if boxes else (None, None)
        if outside[i]:
            repairs.note("outlines cut at the image's border", f"{name} reaches out of the image")
            box = area = None
        if box is not None and not _fits(box, instances.boxes[i]):
            repairs.note("boxes computed anew", f"{name} has the box {box}, its outline {instances.boxes[i].tolist()}")
            box = None
        if area is not None and not (is_finite(area) and area > 0):
            repairs.note("areas computed anew", f"{name} has the area {area}")
            area = None
        yield True, box, area


def ignored_regions(
    annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], category_index: Mapping[Any, int], where: str
) -> list[Row]:
    """The column `ignored` from COCO annotations with `iscrowd`; those without a pixel in the image are left out.

    Raises `InputError` as `annotated_objects`.
    """
    if not annotations:
        return []
    try:
        regions = Instances.from_coco(annotations, size[::-1], category_index)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    regions = regions.select(regions.areas > 0)
    columns = zip(regions.categories.tolist(), regions.to_polygons(), strict=True)
    return [{"category": category, "segmentation": polygons} for category, polygons in columns]


def is_crowd(annotation: Mapping[str, Any], where: str) -> bool:
    """Whether an annotation is a region of objects that aren't told apart. Raises `InputError` for neither 0 nor 1."""
    value = annotation.get("iscrowd")
    if value in (None, 0, "0"):
        return False
    if value in (1, "1"):
        return True
    raise InputError(f"{where}: annotation {annotation['id']} has the iscrowd {value!r}; it is 0 or 1")


def labelled_objects(labels: np.ndarray, category: str = "cell", first_id: int = 0) -> list[Row]:
    """The column `objects` from a label map (H, W), by rising label; ids are the labels plus `first_id`.

    The polygons give the label map's pixels back exactly. Negative labels mark what isn't to count, no objects.
    """
    instances = Instances.from_label_map(labels)
    instances = instances.select(~instances.crowd)
    index = CATEGORIES.index(category)
    columns = (instances.ids, instances.to_polygons(), instances.boxes.tolist(), instances.areas)
    return [
        {"id": int(i) + first_id, "category": index, "segmentation": polygons, "bbox": box, "area": float(area)}
        for i, polygons, box, area in zip(*columns, strict=True)
    ]


def labelled_regions(labels: np.ndarray, category: str = "cell") -> list[Row]:
    """The column `ignored` from a label map (H, W): its negative labels."""
    if labels.min(initial=0) >= 0:
        return []
    polygons = Instances.from_label_map(np.minimum(labels, 0)).to_polygons()
    return [{"category": CATEGORIES.index(category), "segmentation": polygon} for polygon in polygons]


def _extents(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Least x and y, greatest x and y of each annotation's polygons: float (N, 4); 0 of RLEs, which leave no image."""
    extents = np.zeros((len(annotations), 4))
    drawn = [i for i, a in enumerate(annotations) if not isinstance(a["segmentation"], Mapping)]
    if drawn:
        lengths = [sum(map(len, annotations[i]["segmentation"])) for i in drawn]
        parts = chain.from_iterable(annotations[i]["segmentation"] for i in drawn)
        points = np.fromiter(chain.from_iterable(parts), np.float64, sum(lengths)).reshape(-1, 2)
        starts = ((np.cumsum(lengths) - lengths) // 2).tolist()
        extents[drawn] = np.hstack([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)])
    return extents


def _leave(extents: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which of the extents leave an image by more than `LOOSE`: bool (N,)."""
    beyond = np.hstack([extents[:, :2] < -LOOSE, extents[:, 2:] > [width + LOOSE, height + LOOSE]])
    return np.asarray(beyond.any(1))


def _fits(box: Any, true: np.ndarray) -> bool:
    """Whether an annotated box misses the mask's own by no more than `BOX_MARGIN` pixels on any side."""
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(is_finite, box)):
        return False
    x, y, w, h = box
    left, top, true_w, true_h = true.tolist()
    sides = (x - left, y - top, x + w - (left + true_w), y + h - (top + true_h))
    return max(map(abs, sides)) <= BOX_MARGIN
