"""A COCO file or COCO results, indexed once and then read image by image."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.jsonfile import id_of
from glioma_hf.jsonstream import JsonLists

MAX_IMAGES = 1_000_000
MAX_CATEGORIES = 10_000
KEPT = 4 * 2**20  # bytes at the file's beginning whose annotations aren't parsed again
Id = int | str  # see `id_of`
_LISTS = ("images", "annotations", "categories")


class CocoImage(NamedTuple):
    """An image as the file has it; `size` is (width, height)."""

    id: Id
    file_name: str
    size: tuple[int, int]


class CocoFile:
    """The images, categories and annotations of a COCO file, or the objects of a list of COCO results.

    The annotations stay in the file: some 30 bytes are kept of each, and those of an image are parsed when asked for.
    So a file of gigabytes is read in the memory of its images. Those of a small file are kept until asked for.

    Args:
        file: open for reading bytes, seekable; it stays open while annotations are read.
        where: what errors begin with.
        results: whether a list of results will do in place of a COCO file.

    Attributes:
        images: by id, in the file's order; none for results.
        categories: as the file has them, but for ids, which are as `id_of` gives them; none for results.
        is_results: whether the file is a list.
        renumbered: whether annotations have ids that aren't whole numbers, for which their number in the file stands,
            counted from 1.

    Raises `InputError` that names the entry for JSON that can't be read, entries without what all readers need, ids
    that come twice and annotations of unknown images.
    """

    def __init__(self, file: IO[bytes], where: str, results: bool = False):
        self.where = where
        self.images: dict[Id, CocoImage] = {}
        self.categories: list[dict[str, Any]] = []
        self.renumbered = False
        self._lists = JsonLists(file, where, by_name=("annotations",))  # by id, as some files of LIVECell have them
        self._category_ids: set[Id] = set()
        self._numbers: dict[Id, int] = {}  # of images, as annotations name them
        self._parsed: list[dict[str, Any] | None] = []  # the first annotations, None for those that were given away
        self._starts, self._ends, self._ids, self._images = array("q"), array("q"), array("q"), array("q")
        self._read_all(results)
        self.is_results = "" in self._lists.kinds
        self._check_kinds(results)
        self._order, self._bounds = self._grouped()
        if not self.is_results:
            self._check_ids()

    def __len__(self) -> int:
        """How many annotations there are."""
        return len(self._starts)

    def image_ids(self) -> list[Id]:
        """The images that annotations name, in the order in which they come."""
        return list(self._numbers)

    def annotations(self, image: Id) -> list[dict[str, Any]]:
        """The annotations of an image in the file's order; `id`, `image_id` and `category_id` as `id_of` gives them."""
        number = self._numbers.get(image)
        if number is None:
            return []
        chosen = self._order[self._bounds[number] : self._bounds[number + 1]]
        entries = self._given(chosen)
        for entry, position in zip(entries, chosen.tolist(), strict=True):
            entry["image_id"] = image
            if not self.is_results:
                entry["id"] = position + 1 if self.renumbered else self._ids[position]
            if type(entry.get("category_id", 0)) is not int:
                entry["category_id"] = _kept(entry["category_id"])
        return entries

    def _given(self, chosen: np.ndarray) -> list[dict[str, Any]]:
        """The annotations at these rising positions, which then are the caller's."""
        if chosen[-1] < len(self._parsed):
            kept = [self._parsed[i] for i in chosen]
            if entries := [entry for entry in kept if entry is not None]:  # of an image all or none
                for i in chosen:
                    self._parsed[i] = None
                return entries
        return self._lists.read([self._starts[i] for i in chosen], [self._ends[i] for i in chosen])

    # -- the index ------------------------------------------------------------------------

    def _read_all(self, results: bool) -> None:
        counts = dict.fromkeys(("", *_LISTS), 0)
        for name, start, end, entry in self._lists:
            if name == "annotations" or (name == "" and results):
                self._add(name, counts[name], entry, start, end)
            elif name == "images":
                self._add_image(counts[name], entry)
            elif name == "categories":
                self._add_category(counts[name], entry)
            elif name == "":
                break
            else:
                continue
            counts[name] += 1

    def _check_kinds(self, results: bool) -> None:
        kinds = self._lists.kinds
        if self.is_results and results:
            return
        usable = {"images": (list,), "annotations": (list, dict), "categories": (list,)}
        if any(kinds.get(name) not in usable[name] for name in _LISTS):
            raise InputError(f"{self.where} isn't COCO: the lists images, annotations and categories are needed")

    def _add(self, name: str, number: int, entry: Any, start: int, end: int) -> None:
        if type(entry) is not dict:
            raise self._unusable(name, number, "image_id" if name == "" else "id")
        key, image = id_of(entry.get("id")), id_of(entry.get("image_id"))
        if name and key is None:
            raise self._unusable(name, number, "id")
        if image is None:
            raise self._unusable(name, number, "image_id")
        if name and key is not None:
            if id_of(entry.get("category_id")) is None:
                raise self._unusable(name, number, "category_id")
            if isinstance(key, str):
                self.renumbered, key = True, hash(key)
            self._ids.append(key)
        number_of_image = self._numbers.get(image)
        if number_of_image is None:
            if len(self._numbers) >= MAX_IMAGES:
                raise InputError(f"{self.where} is of more than {MAX_IMAGES} images; split it")
            number_of_image = self._numbers[image] = len(self._numbers)
        self._images.append(number_of_image)
        self._starts.append(start)
        self._ends.append(end)
        if end <= KEPT:
            self._parsed.append(entry)

    def _add_image(self, number: int, entry: Any) -> None:
        if type(entry) is not dict:
            raise self._unusable("images", number, "id")
        key, name = id_of(entry.get("id")), entry.get("file_name")
        width, height = _whole(entry.get("width")), _whole(entry.get("height"))
        fields = {"id": key, "file_name": name if isinstance(name, str) else None, "width": width, "height": height}
        if key is None or not isinstance(name, str) or not name or width is None or height is None:
            raise self._unusable("images", number, next(f for f, v in fields.items() if v is None or v == ""))
        if key in self.images:
            raise InputError(f"{self.where}: images has the id {key} more than once")
        if len(self.images) >= MAX_IMAGES:
            raise InputError(f"{self.where} is of more than {MAX_IMAGES} images; split it")
        self.images[key] = CocoImage(key, name, (width, height))

    def _add_category(self, number: int, entry: Any) -> None:
        key = id_of(entry.get("id")) if type(entry) is dict else None
        if key is None:
            raise self._unusable("categories", number, "id")
        if number >= MAX_CATEGORIES:
            raise InputError(f"{self.where} has more than {MAX_CATEGORIES} categories")
        if key in self._category_ids:
            raise InputError(f"{self.where}: categories has the id {key} more than once")
        self._category_ids.add(key)
        self.categories.append({**entry, "id": key})

    def _grouped(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the annotations by image, and where each image's begin."""
        images = np.frombuffer(self._images, np.int64) if len(self._images) else np.zeros(0, np.int64)
        order = np.argsort(images, kind="stable")
        return order, np.searchsorted(images[order], np.arange(len(self._numbers) + 1))

    def _check_ids(self) -> None:
        ids = np.frombuffer(self._ids, np.int64) if len(self._ids) else np.zeros(0, np.int64)
        ordered = np.argsort(ids, kind="stable")
        twice = ordered[1:][np.diff(ids[ordered]) == 0]
        if len(twice):
            raise InputError(f"{self.where}: annotations has the id {self._id_at(twice.min())} more than once")
        for image, number in self._numbers.items():
            if image not in self.images:
                first = self._id_at(self._order[self._bounds[number]])
                raise InputError(f"{self.where}: annotation {first} is of the unknown image {image}")

    def _id_at(self, position: int) -> Any:
        return self._lists.read([self._starts[position]], [self._ends[position]])[0]["id"]

    def _unusable(self, name: str, number: int, field: str) -> InputError:
        if name == "":
            return InputError(
                f"{self.where} isn't a list of COCO results, each with image_id and segmentation: "
                f"number {number} has no usable {field!r}"
            )
        return InputError(f"{self.where} isn't COCO: {name} number {number} has no usable {field!r}")


def ordered(images: Iterable[CocoImage]) -> list[tuple[int, CocoImage]]:
    """(number, image) by rising id; the number is the id, or the image's place in the file where any isn't a number.

    Places are counted from 1.
    """
    images = list(images)
    if all(isinstance(image.id, int) for image in images):
        return sorted((int(image.id), image) for image in images)
    return list(enumerate(images, start=1))


def _kept(value: Any) -> Any:
    key = id_of(value)
    return value if key is None else key


def _whole(value: Any) -> int | None:
    """A size in pixels: whole, floats among them, as some tools write them."""
    number = id_of(value)
    return number if isinstance(number, int) and not isinstance(value, str) else None
