"""References and predictions in files: COCO JSON, COCO results, folders of label maps, prepared data sets.

Read for scoring: masks alone, no images. Every `InputError` names the file and the object.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.benchmark.categories import Categories, read_categories
from glioma_hf.benchmark.image_names import LABEL_SUFFIXES, ImageKey, pair_paths, pair_stems
from glioma_hf.benchmark.label_maps import read_folder
from glioma_hf.data.features import ALL, CATEGORIES, TASKS, ignored_of
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.data.sources.cocofile import CocoFile
from glioma_hf.data.sources.rows import BOX_MARGIN, Repairs, check_annotations, is_crowd
from glioma_hf.data.splits import annotated_rows
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size
from glioma_hf.jsonfile import id_of
from glioma_hf.segmentation import is_finite


@dataclass(frozen=True)
class InstanceSet:
    """One side of many images.

    Attributes:
        instances: by image; their categories are indices into `categories`.
        names: file name of each image.
        path: the file or folder, as errors call it.
        kinds: the file's categories; of predictions, those of their references; none where neither has any.
        typed: whether the objects carry a category; those of label maps don't, and every task counts them.
        complete: whether a task that none of the objects belongs to is an error, as it is of references.
        by_stem: whether images are called by their names without ending, as those of label maps.
        unknown: of predictions, the names of their images that the references don't hold; these aren't scored.
    """

    instances: dict[ImageKey, Instances]
    names: dict[ImageKey, str]
    path: str = ""
    kinds: Categories = field(default_factory=Categories)
    typed: bool = False
    complete: bool = False
    by_stem: bool = False
    unknown: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Their names: cell, cell_a, cell_b and soma where they fit, otherwise the file's own."""
        return self.kinds.names

    def tasks(self) -> dict[str, int]:
        """How many objects each task counts, of the tasks that count any; of all tasks where there are no objects."""
        total = sum(int((~side.crowd).sum()) for side in self.instances.values())
        if not self.typed:
            return dict.fromkeys(self.kinds.tasks() if self.categories else (*TASKS, ALL), total)
        by_index: Counter[int] = Counter()
        for side in self.instances.values():
            by_index.update(side.categories[~side.crowd].tolist())
        counts = {task: sum(by_index[i] for i in indices) for task, indices in self.kinds.tasks().items()}
        return {task: count for task, count in counts.items() if count or not total}

    def of_task(self, task: str) -> dict[ImageKey, Instances]:
        """The objects of a task: "cells", one of the paper's, a category by its own name, or "all".

        Raises `InputError` that lists the tasks and their counts for an unknown task, and, of references, for one
        that counts none of the objects that there are.
        """
        known = self.kinds.tasks() if self.categories else dict.fromkeys((*TASKS, ALL), ())
        tasks = self.tasks()
        told = ", ".join(f"{name} ({count})" for name, count in tasks.items())
        if task not in known and task not in TASKS:
            raise InputError(f"{self.path}: the task {task!r} isn't one of its own; there are {told}")
        if not self.typed:
            return self.instances
        if self.complete and task not in tasks and any(map(len, self.instances.values())):
            raise InputError(f"{self.path}: no object belongs to the task {task!r}; there are {told}")
        counted = list(known.get(task, ()))
        chosen = {key: np.isin(side.categories, counted) for key, side in self.instances.items()}
        return {key: side if chosen[key].all() else side.select(chosen[key]) for key, side in self.instances.items()}


def read_references(path: str | Path, split: str = "test", repairs: Repairs | None = None) -> InstanceSet:
    """A COCO file, a folder of label maps, or a prepared data set, of which `split` is read (see `find_split`).

    Any categories will do. Annotations with `iscrowd` and negative labels are crowd regions, see `Instances.crowd`.
    `repairs` hears what `data prepare` would put right of a COCO file. Raises `InputError` for what can't be read.
    """
    path = Path(path)
    if (path / PROVENANCE).is_file():
        return _read_prepared(path, split)
    if path.is_dir():
        return read_label_maps(path)
    with _opened(path) as file:
        kinds = read_categories(file.categories)
        instances: dict[ImageKey, Instances] = {}
        for image in file.images.values():
            instances[image.id] = _objects(file, image.id, image.size[::-1], kinds.ids, path, repairs)
        names: dict[ImageKey, str] = {key: image.file_name for key, image in file.images.items()}
    return InstanceSet(instances, names, str(path), kinds, typed=True, complete=True)


def read_predictions(path: str | Path, references: InstanceSet, repairs: Repairs | None = None) -> InstanceSet:
    """COCO results (a list), a COCO file, or a folder of label maps, for the images of `references`.

    Results have the references' image and category ids. A COCO file has its own: its images are matched to theirs by
    file name (see `pair_paths`), its categories by name. Label maps are matched by name without ending. Images that
    the references don't hold are `unknown`; one that isn't there or without any object has no predictions.
    `repairs` hears what `data prepare` would put right; of results, which often carry a detector's box, outlines alone.

    Raises `InputError` for results of an unknown image, a category that the references lack, a size that isn't
    the image's, a score that isn't a finite number, names that may mean several images, and where no image is matched.
    """
    path = Path(path)
    if path.is_dir():
        return _matched_label_maps(path, references)
    with _opened(path, results=True) as file:
        if file.is_results:
            return _read_results(file, path, references, repairs)
        names: dict[ImageKey, str] = {key: image.file_name for key, image in file.images.items()}
        said = str(path), references.path
        pairs = (pair_stems if references.by_stem else pair_paths)(names, references.names, said)
        _check_matched(pairs, names, references, said)
        index = _matched_categories(file, pairs, path, references) if references.typed else None
        instances = {key: Instances.empty(side.size) for key, side in references.instances.items()}
        for image, key in pairs.items():
            size, expected = file.images[image].size[::-1], references.instances[key].size
            if size != expected:
                raise InputError(
                    f"{path}: image {image} ({names[image]}) is {size[1]} x {size[0]}, the references have it as "
                    f"{expected[1]} x {expected[0]} (image {key} of {references.path}); export both at one size"
                )
            instances[key] = _objects(file, image, size, index, path, repairs)
    unknown = tuple(name for key, name in names.items() if key not in pairs)
    return InstanceSet(instances, references.names, str(path), references.kinds, references.typed, unknown=unknown)


def read_label_maps(folder: str | Path) -> InstanceSet:
    """A folder of label maps (TIFF or PNG), by image name: without ending and what tools put behind it.

    That is `_label` (or `.label`), `_labels`, `_mask`, `_masks`, `_cp_masks` or `_seg`. Where any file has one of
    these, the pictures without one that lie beside it (overlays, say, or the images) are passed over. Negative labels
    are crowd regions. Raises `InputError` for files that can't be read and for two label maps of one image.
    """
    found = read_folder(Path(folder))
    instances: dict[ImageKey, Instances] = {key: side for key, (_, side) in found.items()}
    names: dict[ImageKey, str] = {key: name for key, (name, _) in found.items()}
    return InstanceSet(instances, names, str(folder), by_stem=True)


def _matched_label_maps(folder: Path, references: InstanceSet) -> InstanceSet:
    """Label maps under the references' image keys."""
    maps = read_label_maps(folder)
    said = str(folder), references.path
    pairs = pair_stems(maps.names, references.names, said)
    _check_matched(pairs, {key: str(key) for key in maps.names}, references, said)
    instances = {key: Instances.empty(side.size) for key, side in references.instances.items()}
    instances |= {key: maps.instances[image] for image, key in pairs.items()}
    unknown = tuple(name for key, name in maps.names.items() if key not in pairs)
    return InstanceSet(instances, references.names, str(folder), references.kinds, unknown=unknown)


def _check_matched(
    pairs: Mapping[Any, Any], names: Mapping[Any, str], references: InstanceSet, said: tuple[str, str]
) -> None:
    """Raise `InputError` where no image of the predictions is one of the references'."""
    if names and not pairs:
        there = ", ".join(list(references.names.values())[:3]) or "nothing"
        raise InputError(
            f"{said[0]}: predictions of {next(iter(names.values()))}, which the references don't hold; a label map is "
            f"called as its image, and {LABEL_SUFFIXES} may follow, an image of a COCO file as in the references "
            f"({said[1]} has {there})"
        )


def _matched_categories(
    file: CocoFile, pairs: Mapping[Any, Any], path: Path, references: InstanceSet
) -> dict[int, int]:
    """From the category ids of a COCO file to the references' indices; those that have objects must be there."""
    kinds = read_categories(file.categories)
    matched, lost = {}, set()
    for category, i in kinds.ids.items():
        index = references.kinds.index_of(kinds.names[i], kinds.own_names[i])
        if index is not None:
            matched[category] = index
        else:
            lost.add(category)
    used = {a["category_id"] for image in pairs for a in file.annotations(image)} if lost else set()
    for category in sorted(lost & used, key=str):
        raise InputError(
            f"{path}: its category {kinds.own_names[kinds.ids[category]]!r} isn't one of the references' "
            f"({', '.join(references.kinds.own_names)}); rename it there"
        )
    return matched


def _read_prepared(folder: Path, split: str) -> InstanceSet:
    instances: dict[ImageKey, Instances] = {}
    names: dict[ImageKey, str] = {}
    for row, objects in annotated_rows(folder, split):
        key, regions = row["image_id"], ignored_of(row, ALL)
        if len(regions):
            objects = Instances.from_rles(
                [*objects.rles, *regions.rles],
                objects.size,
                np.r_[objects.categories, regions.categories],
                ids=np.r_[objects.ids, np.arange(len(regions)) + objects.ids.max(initial=0) + 1],
                crowd=np.r_[objects.crowd, np.ones(len(regions), bool)],
            )
        instances[key], names[key] = objects, row["file_name"]
    kinds = Categories(CATEGORIES, CATEGORIES, {i: i for i in range(len(CATEGORIES))})
    return InstanceSet(instances, names, str(folder), kinds, typed=True, complete=True)


def _read_results(file: CocoFile, path: Path, references: InstanceSet, repairs: Repairs | None) -> InstanceSet:
    """COCO results, which have the references' ids."""
    known = {id_of(key): key for key in references.instances}
    for image in file.image_ids():
        if image not in known:
            item = file.annotations(image)[0]
            some = ", ".join(map(str, list(known)[:3]))
            told = f"object {item['id']}" if "id" in item else "an object"
            raise InputError(
                f"{path}: {told} is of the unknown image {image}; results have the references' image ids ({some} ...)"
            )
    index = references.kinds.ids if references.typed else None
    instances = {
        key: _objects(file, image, references.instances[key].size, index, path, repairs) for image, key in known.items()
    }
    return InstanceSet(instances, references.names, str(path), references.kinds, references.typed)


def _objects(
    file: CocoFile,
    image: Any,
    size: tuple[int, int],
    index: Mapping[Any, int] | None,
    path: Path,
    repairs: Repairs | None,
) -> Instances:
    """The objects of an image, by (height, width); of results the field `iscrowd` says nothing, as in pycocotools."""
    where = f"{path}: image {image}"
    items = file.annotations(image)
    scores = [item["score"] for item in items if item.get("score") is not None]
    if not all(map(is_finite, scores)):
        for number, item in enumerate(items):
            score, name = item.get("score"), item.get("id", f"number {number}")
            if score is not None and not is_finite(score):
                raise InputError(
                    f"{path}: object {name} of image {image} has the score {str(score)[:40]}; scores are finite numbers"
                )
    if file.is_results:
        for item in items:
            item["iscrowd"] = 0
        ids = Counter(id_of(item["id"]) for item in items if "id" in item)  # those of a COCO file were told apart
        repeated = [i for i, n in ids.items() if n > 1 and i is not None]
        if repeated:
            raise InputError(f"{where} has the object id {repeated[0]} more than once")
    else:
        for item in items:
            if item.get("iscrowd", 0) != 0 and is_crowd(item, where):
                item["iscrowd"] = 1
    try:
        found = Instances.from_coco(items, check_size(size), index)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if repairs is not None:
        chosen = _doubtful(items, found, not file.is_results)
        if 0 < len(chosen) < len(items):
            items, objects = [items[i] for i in chosen], found.select(chosen)
        else:
            objects = found
        for _ in check_annotations(items, objects, where, repairs, boxes=not file.is_results) if len(chosen) else ():
            pass
    return found


def _doubtful(items: Sequence[Mapping[str, Any]], found: Instances, boxes: bool) -> np.ndarray:
    """Positions of the objects of which a look at all at once doesn't show that `check_annotations` is silent.

    All where it takes more than a look: for polygons, and for boxes and areas that are missing or no numbers.
    """
    everything = np.arange(len(items))
    if not items or not all(type(item["segmentation"]) is dict for item in items):
        return everything
    shown = found.boxes[:, 2] > 0
    if not boxes:
        return everything if not shown.all() else everything[:0]
    areas: list[Any] = [item.get("area") for item in items]
    given: list[Any] = [item.get("bbox") for item in items]
    if set(map(type, given)) != {list} or set(map(len, given)) != {4} or set(map(type, areas)) - {int, float}:
        return everything
    numbers = list(chain.from_iterable(given))
    if set(map(type, numbers)) - {int, float}:
        return everything
    ends, true_ends = (np.hstack([b[:, :2], b[:, :2] + b[:, 2:]]) for b in (np.reshape(numbers, (-1, 4)), found.boxes))
    fitting = (np.abs(ends - true_ends) <= BOX_MARGIN).all(1)
    sound = fitting & shown & np.array([0 < area < math.inf for area in areas])
    return np.flatnonzero(~sound)


@contextmanager
def _opened(path: Path, results: bool = False) -> Iterator[CocoFile]:
    """A COCO file, or results where these will do. Raises `InputError` where it can't be read."""
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read ({reason}); give a COCO file or a folder of label maps") from None
    with file:
        yield CocoFile(file, str(path), results)
