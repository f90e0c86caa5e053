"""Rows of prepared data sets, read straight from their Parquet files and checked: anybody may have written those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.prepared import PreparedSplit
from glioma_hf.errors import InputError
from glioma_hf.files import checksum
from glioma_hf.instances import check_size

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_ROW_BYTES = 2**30  # of one image with its objects
_POLYGONS = [["number"]]
_COLUMNS: dict[str, Any] = {
    "image_id": "whole",
    "file_name": "text",
    "width": "whole",
    "height": "whole",
    "subset": "text",
    "split": "text",
    "objects": [
        {"id": "whole", "category": "whole", "segmentation": _POLYGONS, "bbox": ["number"], "area": "number"},
    ],
}
_IMAGE = {"bytes": "bytes", "path": "text"}
_IGNORED = [{"category": "whole", "segmentation": _POLYGONS}]  # what was prepared before has none


def split_rows(
    folder: str | Path,
    split: PreparedSplit,
    where: str,
    numbers: Sequence[int] | None = None,
    image: bool = False,
) -> Iterator[dict[str, Any]]:
    """Rows of a split in order, or those of these numbers (from 1) in theirs; `image` adds the encoded one.

    Each file is compared with its checksum before its first row is read, once while it doesn't change.

    Raises `InputError` that begins with `where` for files that are missing, damaged, of other columns, or hold other
    rows than the split says, and for rows that are no rows of a data set.
    """
    if numbers is None:
        yield from (read(image) for read in _row_readers(folder, split, where))
        return
    chosen = set(numbers)
    readers = islice(_row_readers(folder, split, where), max(chosen, default=0))
    rows = {number: read(image) for number, read in enumerate(readers, start=1) if number in chosen}
    yield from (rows[number] for number in numbers)


def image_bytes(row: Mapping[str, Any], where: str) -> bytes:
    """The encoded image of a row. Raises `InputError` for a path or an address in its place: these aren't followed."""
    image = row["image"]
    data = image.get("bytes") if isinstance(image, Mapping) else None
    if not isinstance(data, bytes):
        raise InputError(f"{where}: {row['file_name']}: the row holds no image but a path or nothing; prepare it again")
    return data


def _row_readers(folder: str | Path, split: PreparedSplit, where: str) -> Iterator[Callable[[bool], dict[str, Any]]]:
    """For each row of a split in order what reads it: a row group of one of its files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    ids: set[int] = set()
    for name, kept in zip_longest(split.files, split.checksums[: len(split.files)]):
        broken = InputError(f"{where}: {name} of {split.name} is missing or damaged; prepare it again")
        path = Path(folder) / name
        try:
            if not path.is_file() or (kept is not None and _checksum(path) != kept):
                raise broken
            file = pq.ParquetFile(path)
            schema = file.schema_arrow
        except (OSError, ValueError, MemoryError, pa.ArrowException):
            raise broken from None
        columns = _checked_columns(schema, f"{where}: {name}")
        for group in range(file.num_row_groups):
            number += 1
            if number <= split.images:
                yield partial(_read, file, group, columns, ids, f"{where}: {name}", broken)
    if number != split.images:
        raise InputError(f"{where}: {split.name} holds {number} images instead of {split.images}; prepare it again")


def _checksum(path: Path) -> str:
    """SHA-256 of a file: 0.3 s for 500 MB, and nothing for one that is as it was when it was last asked for."""
    known = path.stat()
    return _checksum_of(path.resolve(), known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino)


@lru_cache(maxsize=1024)
def _checksum_of(path: Path, *_state: int) -> str:
    return checksum(path)


def _read(
    file: pq.ParquetFile, group: int, columns: list[str], ids: set[int], where: str, broken: InputError, image: bool
) -> dict[str, Any]:
    import pyarrow as pa

    try:
        known = file.metadata.row_group(group)  # to ask it for a damaged column's metadata would end the process
        if known.num_rows != 1:
            raise InputError(f"{where} has {known.num_rows} rows in one row group instead of 1; prepare it again")
        if known.total_byte_size > MAX_ROW_BYTES:
            raise InputError(f"{where}: row {group + 1} is too large; prepare it again")
        table = file.read_row_group(group, [*columns, "image"] if image else columns)
        if table.nbytes > MAX_ROW_BYTES:
            raise InputError(f"{where}: row {group + 1} is too large; prepare it again")
        table.validate(full=True)
        row: dict[str, Any] = table.to_pylist()[0]
    except InputError:
        raise
    except (OSError, ValueError, IndexError, MemoryError, OverflowError, pa.ArrowException):
        raise broken from None
    _check_row(row, f"{where}: row {group + 1}")
    if row["image_id"] in ids:
        raise InputError(f"{where}: row {group + 1}: the image id {row['image_id']} is there twice; prepare it again")
    ids.add(row["image_id"])
    return row


def _check_row(row: dict[str, Any], where: str) -> None:
    for name in _COLUMNS:
        if row[name] is None:
            raise InputError(f"{where} has no {name}; prepare it again")
    try:
        check_size((row["height"], row["width"]))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    for name, needed in (("objects", ("id", "category", "segmentation")), ("ignored", ("category", "segmentation"))):
        for number, item in enumerate(row.get(name) or ()):
            missing = "object" if item is None else next((n for n in needed if item[n] is None), None)
            if missing:
                raise InputError(f"{where}: number {number} of its {name} has no {missing}; prepare it again")
            if not 0 <= item["category"] < len(CATEGORIES):
                raise InputError(
                    f"{where}: number {number} of its {name} is of the unknown category {item['category']}; "
                    "prepare it again"
                )


def _checked_columns(schema: pa.Schema, where: str) -> list[str]:
    """The columns to read but for the image. Raises `InputError` that names one that is missing or of another type."""
    expected = {**_COLUMNS, "image": _IMAGE} | ({"ignored": _IGNORED} if "ignored" in schema.names else {})
    for name, kind in expected.items():
        if schema.names.count(name) != 1:
            raise InputError(f"{where}: the column {name} is missing or there twice; prepare it again")
        found = schema.field(name).type
        if not _fits(found, kind):
            raise InputError(f"{where}: the column {name} is of the type {str(found)[:80]}; prepare it again")
    return [name for name in expected if name != "image"]


def _fits(found: pa.DataType, kind: Any) -> bool:
    """Whether an Arrow type is of a kind: a word, a list of a kind, or a dict of kinds."""
    from pyarrow import types

    if isinstance(kind, list):
        lists = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return bool(lists) and _fits(found.value_type, kind[0])
    if isinstance(kind, dict):
        if not types.is_struct(found):
            return False
        fields = {found.field(i).name: found.field(i).type for i in range(found.num_fields)}
        return set(kind) <= set(fields) and all(_fits(fields[name], inner) for name, inner in kind.items())
    tests: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
        "whole": (types.is_integer,),
        "number": (types.is_floating, types.is_integer),
        "text": (types.is_string, types.is_large_string),
        "bytes": (types.is_binary, types.is_large_binary),
    }
    return any(test(found) for test in tests[kind])
