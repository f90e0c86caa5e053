"""Rows of a data set opened so that crops can be cut from them: windows of the image, masks of the objects met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from glioma_hf.data.parquet import image_bytes
from glioma_hf.data.row_images import decoded_pixels
from glioma_hf.data.windows import ArrayReader, WindowReader
from glioma_hf.instances import Instances
from glioma_hf.plain import plain_row
from glioma_hf.rle import BoxMask

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class CropRow:
    """One image with its objects, from which crops are cut.

    Attributes:
        size: (height, width).
        reader: of windows of the image.
        ids, categories: int64 (N,).
        boxes: float64 (N, 4), x, y, width, height.
        segmentations: by position, the polygons of an object, each x0, y0, x1, y1 ...
    """

    image_id: int
    size: tuple[int, int]
    reader: WindowReader | ArrayReader
    ids: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    segmentations: Any

    def __post_init__(self) -> None:
        self._masks: dict[int, BoxMask] = {}

    @classmethod
    def from_table(cls, table: pa.Table) -> CropRow:
        """From an Arrow table of one row, without a copy of it."""
        row = {name: table.column(name).chunk(0) for name in ("image_id", "file_name", "height", "width")}
        objects = table.column("objects").chunk(0).flatten()
        data = _first_value(table.column("image").chunk(0).field("bytes"))
        return cls(
            image_id=row["image_id"][0].as_py(),
            size=(row["height"][0].as_py(), row["width"][0].as_py()),
            reader=WindowReader(data, row["file_name"][0].as_py()),
            ids=objects.field("id").to_numpy(),
            categories=objects.field("category").to_numpy(),
            boxes=objects.field("bbox").flatten().to_numpy(zero_copy_only=False).reshape(-1, 4),
            segmentations=_MappedPolygons(objects.field("segmentation")),
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | pa.Table) -> CropRow:
        """From a row as `datasets` gives it, in any format, or as a source's `read_rows` does."""
        if hasattr(row, "combine_chunks"):
            return cls.from_table(row.combine_chunks())
        row = plain_row(row)
        image, objects = row["image"], row["objects"]
        size, name = (row["height"], row["width"]), str(row["file_name"])
        reader: WindowReader | ArrayReader
        if isinstance(image, Mapping):
            reader = WindowReader(image_bytes(row, "a row"), name)
        else:
            reader = ArrayReader(decoded_pixels(image, size, name))
        return cls(
            image_id=int(row["image_id"]),
            size=size,
            reader=reader,
            ids=np.array([o["id"] for o in objects], np.int64),
            categories=np.array([o["category"] for o in objects], np.int64),
            boxes=np.array([o["bbox"] for o in objects], np.float64).reshape(-1, 4),
            segmentations=[o["segmentation"] for o in objects],
        )

    def box_masks(self, indices: Sequence[int]) -> list[BoxMask]:
        """Objects as (mask of their box, (top, left)), rasterised when first asked for."""
        missing = [i for i in indices if i not in self._masks]
        made = Instances.from_polygons([self.segmentations[i] for i in missing], self.size).box_masks()
        self._masks.update(zip(missing, made, strict=True))
        return [self._masks[i] for i in indices]


def _first_value(column: pa.Array) -> memoryview:
    """The first value of a column of bytes as Arrow holds it; as a scalar it would be copied."""
    import pyarrow as pa

    wide = pa.types.is_large_binary(column.type)
    _, offsets, data = column.buffers()
    start, end = np.frombuffer(offsets, np.int64 if wide else np.int32)[column.offset : column.offset + 2].tolist()
    return memoryview(data)[start:end]


class _MappedPolygons:
    """The column `segmentation` of one row: polygons as views of Arrow's memory."""

    def __init__(self, column: pa.Array):
        polygons = column.values
        # Object i has the polygons parts[i] ... parts[i + 1], polygon j the coordinates ends[j] ... ends[j + 1].
        self._parts, self._ends = column.offsets.to_numpy(), polygons.offsets.to_numpy()
        self._coordinates = polygons.values.to_numpy()

    def __getitem__(self, index: int) -> list[np.ndarray]:
        ends = self._ends[self._parts[index] : self._parts[index + 1] + 1]
        return [self._coordinates[a:b] for a, b in pairwise(ends)]
