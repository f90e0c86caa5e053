"""Predictions as the record keeps them: Parquet, a row an image, masks as COCO's compressed run lengths."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from glioma_hf.benchmark.image_names import ImageKey
from glioma_hf.benchmark.scoring_files import InstanceSet
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

_TYPED = b"glioma_hf_typed"  # whether the objects carry a category
_COLUMNS = ("file_name", "height", "width", "categories", "scores", "counts")


def write_predictions(path: str | Path, found: InstanceSet) -> None:
    """A file of the instances of all images, crowd regions left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[object]] = {name: [] for name in _COLUMNS}
    for key, side in found.instances.items():
        side = side.select(~side.crowd) if side.crowd.any() else side
        columns["file_name"].append(found.names[key])
        columns["height"].append(side.size[0])
        columns["width"].append(side.size[1])
        columns["categories"].append(side.categories.tolist())
        columns["scores"].append(None if side.scores is None else side.scores.tolist())
        columns["counts"].append([rle["counts"] for rle in side.rles])
    kinds = (
        pa.string(),
        pa.int32(),
        pa.int32(),
        pa.list_(pa.int64()),
        pa.list_(pa.float64()),
        pa.list_(pa.binary()),
    )
    schema = pa.schema(list(zip(_COLUMNS, kinds, strict=True)), {_TYPED: b"1" if found.typed else b"0"})
    pq.write_table(pa.table(columns, schema), path, row_group_size=64, compression="zstd")


def read_predictions_file(path: str | Path, references: InstanceSet) -> InstanceSet:
    """The predictions of a file for the images of `references`, whose categories are theirs.

    Raises `InputError` where the file is damaged or of other images.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys: dict[str, ImageKey] = {name: key for key, name in references.names.items()}
    instances: dict[ImageKey, Instances] = {k: Instances.empty(s.size) for k, s in references.instances.items()}
    try:
        with pq.ParquetFile(path) as file:
            typed = (file.schema_arrow.metadata or {}).get(_TYPED) == b"1"
            for batch in file.iter_batches(64, columns=list(_COLUMNS)):
                for row in batch.to_pylist():
                    key, size = keys[row["file_name"]], (row["height"], row["width"])
                    rles = [{"size": list(size), "counts": counts} for counts in row["counts"]]
                    instances[key] = Instances.from_rles(rles, size, row["categories"], row["scores"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{Path(path).name}: no predictions for these images ({str(error)[:80]})") from None
    return InstanceSet(instances, references.names, str(path), references.kinds, references.typed and typed)


def image_of(path: str | Path, file_name: str, counted: Collection[int]) -> Instances | None:
    """The predictions of one image of a file; None where it has none of that name.

    Args:
        counted: categories that the task counts; objects without a category are all counted.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path, filters=[("file_name", "=", file_name)])
    rows = table.to_pylist()
    if not rows:
        return None
    size = (rows[0]["height"], rows[0]["width"])
    rles = [{"size": list(size), "counts": counts} for counts in rows[0]["counts"]]
    found = Instances.from_rles(rles, size, rows[0]["categories"], rows[0]["scores"])
    typed = (table.schema.metadata or {}).get(_TYPED) == b"1"
    return found.select(np.isin(found.categories, list(counted))) if typed else found
