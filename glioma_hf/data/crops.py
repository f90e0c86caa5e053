"""Random crops of a data set with their overlapping instances, as PyTorch models take them.

    from datasets import load_dataset
    from torch.utils.data import DataLoader
    from glioma_hf import CellCrops, Cropper, collate

    crops = CellCrops(load_dataset("glioma_c6", "spec", split="train"), Cropper(size=512, task="cells"))
    for images, targets in DataLoader(crops, batch_size=4, shuffle=True, num_workers=2, collate_fn=collate):
        losses = model(images, targets)

A crop costs what lies in it: the columns are read where `datasets` maps them into memory, of a TIFF only
the strips that the crop meets are decoded, and only objects whose box meets the crop are rasterised.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from glioma_hf.data.crop_rows import CropRow
from glioma_hf.data.features import check_task_of_rows, task_categories
from glioma_hf.data.sources.rows import BOX_MARGIN
from glioma_hf.extras import missing_libraries_named
from glioma_hf.segmentation import Priority, priority_order

with missing_libraries_named():
    import torch
    from torch import Tensor
    from torch.utils.data import Dataset as TorchDataset
    from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from datasets import Dataset

Item = tuple[Tensor, dict[str, Any]]


@dataclass(frozen=True)
class Cropper:
    """How a crop is cut and what it holds.

    Attributes:
        size: side of the crops in pixels.
        task: see `instances_of`.
        flattened: a contested pixel goes to one object (masks alone); by `priority` to the "first" or the "last".
        shapes: "masks" or "polygons".
        channels: 1 (colour is averaged) or 3 (grey is repeated).
        min_area: objects with fewer pixels in the crop are left out.
    """

    size: int = 512
    task: str = "cells"
    flattened: bool = False
    shapes: Literal["masks", "polygons"] = "masks"
    channels: int = 3
    min_area: int = 1
    priority: Priority = "first"

    def __post_init__(self) -> None:
        task_categories(self.task)  # refuses an unknown one at once
        priority_order(self.priority, 0)

    def random(self, row: CropRow, rng: np.random.Generator) -> Item:
        """A crop from anywhere in the image."""
        top, left = (int(rng.integers(0, max(side - self.size, 0) + 1)) for side in row.size)
        return self.crop(row, top, left)

    def crop(self, row: CropRow, top: int, left: int) -> Item:
        """The crop whose top left pixel is (top, left): (image, target).

        - image: float32 (`channels`, `size`, `size`), 0 ... 1; what a small image lacks is 0.
        - target: `boxes` float32 (N, 4) as x0, y0, x1, y1 around the part in the crop; `labels` int64 (N,), 1 +
          the index in `CATEGORIES` (0 is background to detection models); `ids` int64 (N,); `image_id`;
          `origin` (top, left); and, by `shapes`, `masks` bool (N, `size`, `size`), overlapping unless
          `flattened`, or `polygons`, whole ones in coordinates of the crop.
        """
        pixels = row.reader.read(top, left, self.size, self.size)
        full = pixels.shape[:2] == (self.size, self.size)
        image = (np.empty if full else np.zeros)((self.channels, self.size, self.size), np.float32)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if self.channels == 1 and len(planes) == 3:
            planes = planes.mean(0, dtype=np.float32, keepdims=True)
        scale = np.float32(1 / np.iinfo(pixels.dtype).max)
        np.multiply(planes, scale, out=image[:, : pixels.shape[0], : pixels.shape[1]])
        kept, boxes, masks = self._objects(row, top, left)
        target: dict[str, Any] = {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(row.categories[kept] + 1),
            "ids": torch.from_numpy(row.ids[kept]),
            "image_id": row.image_id,
            "origin": (top, left),
        }
        if self.shapes == "masks":
            target["masks"] = torch.from_numpy(masks)
        else:
            shift = np.array([left, top])
            whole = [row.segmentations[i] for i in kept]
            target["polygons"] = [[(np.reshape(p, (-1, 2)) - shift).ravel() for p in parts] for parts in whole]
        return torch.from_numpy(image), target

    def _objects(self, row: CropRow, top: int, left: int) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Positions of the objects in the crop, their boxes there and their masks, if `shapes` is "masks"."""
        height, width = (min(side - start, self.size) for side, start in zip(row.size, (top, left), strict=True))
        x, y, w, h = row.boxes.T
        near = (
            (x - BOX_MARGIN < left + width)
            & (x + w + BOX_MARGIN > left)
            & (y - BOX_MARGIN < top + height)
            & (y + h + BOX_MARGIN > top)
            & (row.categories[:, None] == list(task_categories(self.task))).any(1)
        )
        chosen = np.flatnonzero(near).tolist()
        if self.priority == "last":  # whoever comes before takes the pixels
            chosen = chosen[::-1]
        masks = np.zeros((len(chosen) if self.shapes == "masks" else 0, self.size, self.size), bool)
        taken = np.zeros((height, width) if self.flattened else (0, 0), bool)
        kept: list[int] = []
        boxes = []
        for index, (mask, (y, x)) in zip(chosen, row.box_masks(chosen), strict=True):
            # Where the object's box and the crop meet, in the crop.
            y0, x0 = max(y - top, 0), max(x - left, 0)
            y1, x1 = min(y - top + mask.shape[0], height), min(x - left + mask.shape[1], width)
            if y0 >= y1 or x0 >= x1:
                continue
            part = mask[y0 + top - y : y1 + top - y, x0 + left - x : x1 + left - x]
            if self.flattened:
                window = taken[y0:y1, x0:x1]
                part = part & ~window
                window |= part
            if np.count_nonzero(part) < max(self.min_area, 1):
                continue
            if len(masks):
                masks[len(kept), y0:y1, x0:x1] = part
            if part.shape == mask.shape and not self.flattened:
                boxes.append((x0, y0, x1, y1))  # whole: the box is the object's own
            else:
                rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
                boxes.append((x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1))
            kept.append(index)
        masks = masks[: len(kept)]
        if self.priority == "last":
            kept, boxes, masks = kept[::-1], boxes[::-1], masks[::-1].copy()
        return kept, np.array(boxes, np.float32).reshape(-1, 4), masks


class CellCrops(TorchDataset):
    """Random crops of the images of a split, for a `DataLoader`; an item is what `Cropper.crop` gives.

    Item i is of image i // `per_image`; which crop it is depends on `seed`, the epoch (`set_epoch`) and i
    alone, so that workers and runs agree.

    Args:
        rows: a split from `load_dataset`; selected, filtered or shuffled as you like.
        cached: images whose masks are kept once rasterised, some 1 MB each at most; the last used ones.

    Raises `InputError` for a task of which the rows' features name no category.
    """

    def __init__(
        self, rows: Dataset, cropper: Cropper | None = None, per_image: int = 1, seed: int = 0, cached: int = 64
    ):
        self.rows, self.cropper = rows.with_format("arrow"), cropper or Cropper()
        check_task_of_rows(self.cropper.task, rows.features)
        self.per_image, self.seed, self.cached, self.epoch = per_image, seed, cached, 0
        self._kept: OrderedDict[int, CropRow] = OrderedDict()

    def __len__(self) -> int:
        return len(self.rows) * self.per_image

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}  # views of mapped memory don't travel to other processes

    def set_epoch(self, epoch: int) -> None:
        """Other crops for another epoch. Workers take it on when the loader is iterated anew."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = index // self.per_image
        row = self._kept.pop(number, None) or CropRow.from_table(self.rows[number])
        self._kept[number] = row
        while len(self._kept) > self.cached:
            self._kept.popitem(last=False)
        return self.cropper.random(row, np.random.default_rng((self.seed, self.epoch, index)))


class CropStream(IterableDataset):
    """Random crops of rows that come one after the other: streamed ones, or straight from an archive.

    Each row is seen once an epoch, however many workers the loader has: a streamed data set shares its files out
    among them by itself, of other rows each worker takes every n-th. Which crop of an image comes depends on `seed`,
    the epoch (`set_epoch`) and the image's id alone. Of rows from `load_dataset(..., streaming=True)` leave the images
    encoded (`.cast_column("image", Image(decode=False))`), so that only windows are decoded.

    Args:
        rows: iterated anew in each epoch, so not a generator itself where there are several.
    """

    def __init__(
        self, rows: Iterable[Mapping[str, Any]], cropper: Cropper | None = None, per_image: int = 1, seed: int = 0
    ):
        self.rows, self.cropper, self.per_image, self.seed = rows, cropper or Cropper(), per_image, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Other crops for another epoch, and another order of shuffled streams."""
        self.epoch = epoch
        if hasattr(self.rows, "set_epoch"):
            self.rows.set_epoch(epoch)

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # As they are stored: what formats make of images and objects would only have to be undone.
        rows = self.rows.with_format(None) if hasattr(self.rows, "with_format") else self.rows
        shared_out = _shares_itself_out(rows)
        for index, row in enumerate(rows):
            if shared_out or index % workers == number:
                opened = CropRow.from_row(row)
                rng = np.random.default_rng((self.seed, self.epoch, abs(opened.image_id)))
                for _ in range(self.per_image):
                    yield self.cropper.random(opened, rng)


def _shares_itself_out(rows: Any) -> bool:
    """Whether rows give each worker its part: streamed ones of `datasets` do, once they know that torch is there."""
    import datasets

    return isinstance(rows, datasets.IterableDataset) and isinstance(rows, IterableDataset)


def collate(items: Sequence[Item]) -> tuple[Tensor, list[dict[str, Any]]]:
    """A batch: images (B, C, S, S) in one tensor, targets in a list, as they hold different numbers of objects."""
    return torch.stack([image for image, _ in items]), [target for _, target in items]
