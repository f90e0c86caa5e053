"""Prepared folders and published trees as input: whatever their files hold, the answer is rows or a sentence."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("matplotlib", reason="one of the doors tried draws figures")

from glioma_hf import InputError
from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.data.prepared import PROVENANCE, read_prepared
from glioma_hf.data.publish import build_tree
from glioma_hf.data.splits import annotated_rows, load_images
from glioma_hf.data.statistics import measure_objects
from tests.cli.test_cli import refused

TEST = "data/spec-test-00000-of-00001.parquet"
DOORS: dict[str, Callable[[Path, Path], object]] = {
    "stats": lambda folder, out: measure_objects(folder),
    "publish": lambda folder, out: build_tree(folder, out),
    "train": lambda folder, out: load_images(folder, "test"),
    "evaluate": lambda folder, out: read_references(folder, "test"),
    "rows": lambda folder, out: list(annotated_rows(folder, "spec/test")),
}


@pytest.fixture
def prepared(folder, tmp_path) -> Path:
    """A copy of the data set that a test may spoil."""
    shutil.copytree(folder, tmp_path / "set")
    return tmp_path / "set"


def provenance(folder: Path, change: Callable[[dict], None]) -> None:
    content = json.loads((folder / PROVENANCE).read_text())
    change(content)
    (folder / PROVENANCE).write_text(json.dumps(content))


def split_of(content: dict) -> dict:
    return next(s for s in content["splits"] if (s["subset"], s["split"]) == ("spec", "test"))


def in_split(**changes) -> Callable[[Path], None]:
    return lambda folder: provenance(folder, lambda content: split_of(content).update(changes))


def in_rows(change: Callable[[list[dict]], None], together: bool = False) -> Callable[[Path], None]:
    """The rows of spec/test changed, and written as they were: a row group each."""

    def spoil(folder: Path) -> None:
        file = folder / TEST
        schema, rows = pq.read_schema(file), pq.read_table(file).to_pylist()
        change(rows)
        provenance(folder, lambda content: split_of(content).pop("checksums", None))
        with pq.ParquetWriter(file, schema) as writer:
            for group in [rows] if together else [[row] for row in rows]:
                writer.write_table(pa.Table.from_pylist(group, schema))

    return spoil


def in_first(**changes) -> Callable[[Path], None]:
    return in_rows(lambda rows: rows[0].update(changes))


def in_object(**changes) -> Callable[[Path], None]:
    return in_rows(lambda rows: rows[0]["objects"][0].update(changes))


def in_table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        table = change(pq.read_table(folder / TEST))
        provenance(folder, lambda content: split_of(content).pop("checksums", None))
        pq.write_table(table, folder / TEST, row_group_size=1)

    return spoil


def in_file(change: Callable[[bytes], bytes], name: str = TEST) -> Callable[[Path], None]:
    """Bytes changed by a hand that leaves no checksum of a Parquet file."""

    def spoil(folder: Path) -> None:
        if name == TEST:
            provenance(folder, lambda content: split_of(content).pop("checksums", None))
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return spoil


def linked(folder: Path) -> None:
    (folder / TEST).unlink()
    os.mkfifo(folder / TEST)


PROVENANCES = {
    "no JSON": (in_file(lambda data: data[:-5], PROVENANCE), "provenance.json isn't JSON"),
    "a list": (in_file(lambda data: b"[]", PROVENANCE), "isn't what prepare writes"),
    "nothing": (in_file(lambda data: b"", PROVENANCE), "isn't JSON"),
    "deep": (in_file(lambda data: b"[" * 10**5, PROVENANCE), "nested too deeply"),
    "long": (in_file(lambda data: b" " * 5 * 10**6, PROVENANCE), "holds more than"),
    "twice": (in_file(lambda data: data.replace(b'"source"', b'"archive"'), PROVENANCE), "twice"),
    "another entry": (lambda f: provenance(f, lambda c: c.update(more=1)), "isn't what prepare writes"),
    "no splits": (lambda f: provenance(f, lambda c: c.pop("splits")), "isn't what prepare writes"),
    "splits of words": (lambda f: provenance(f, lambda c: c.update(splits=["a"])), "isn't what prepare writes"),
    "a source of numbers": (lambda f: provenance(f, lambda c: c.update(source=3)), "no names of source"),
    "repairs of words": (lambda f: provenance(f, lambda c: c.update(repairs="a")), "the repairs a"),
    "a split twice": (lambda f: provenance(f, lambda c: c["splits"].append(split_of(c))), "twice"),
    "a name that climbs": (in_split(split="../x"), "the split"),
    "a name of numbers": (in_split(split=3), "the split"),
    "files that climb": (in_split(files=["../x.parquet"]), r"the file '\.\./x\.parquet'"),
    "files elsewhere": (in_split(files=["/etc/passwd"]), "the file '/etc/passwd'"),
    "files deeper": (in_split(files=["data/../../x.parquet"]), "the file"),
    "files of numbers": (in_split(files=[3]), "the file '3'"),
    "a file as text": (in_split(files=TEST), "no list of files"),
    "a file twice": (in_split(files=[TEST, TEST]), "the file"),
    "images below zero": (in_split(images=-1), "counts"),
    "images of text": (in_split(images="2"), "counts"),
    "images of 1e300": (in_split(images=1e300), "counts"),
    "images of 400 digits": (in_split(images=10**399), "inf, which is no number|counts"),
    "objects of text": (in_split(objects={"cell": "many"}), "counts"),
    "objects as list": (in_split(objects=[1]), "counts"),
    "objects unknown": (in_split(objects={"dust": 3}), "the unknown category 'dust'"),
}


@pytest.mark.parametrize("kind", PROVENANCES)
def test_a_provenance_by_another_hand_is_named(prepared, kind):
    spoil, says = PROVENANCES[kind]
    spoil(prepared)
    with pytest.raises(InputError, match=says) as caught:
        read_prepared(prepared)
    assert str(caught.value).startswith(f"{prepared}: provenance.json")


def drop(name: str) -> Callable[[Path], None]:
    return in_table(lambda table: table.drop_columns([name]))


def retyped(name: str, kind: pa.DataType) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, pa.array([None] * len(table), kind))

    return in_table(change)


FILES = {
    "cut": (in_file(lambda data: data[:-30]), "is missing or damaged"),
    "emptied": (in_file(lambda data: b""), "is missing or damaged"),
    "no Parquet": (in_file(lambda data: b"PAR1" + bytes(100) + b"PAR1"), "is missing or damaged"),
    "its footer only": (in_file(lambda data: data[:4] + data[-3000:]), "is missing or damaged|is too large"),
    "missing": (lambda folder: (folder / TEST).unlink(), "is missing or damaged"),
    "a pipe": (linked, "is missing or damaged"),
    "a split of no files": (in_split(files=[]), "spec/test holds 0 images instead of 2"),
    "fewer rows": (in_rows(lambda rows: rows.pop()), "spec/test holds 1 images instead of 2"),
    "more rows": (in_split(images=1), "spec/test holds 2 images instead of 1"),
    "rows together": (in_rows(lambda rows: None, together=True), "has 2 rows in one row group"),
    "no objects column": (drop("objects"), "the column objects is missing"),
    "no width": (drop("width"), "the column width is missing"),
    "no image": (drop("image"), "the column image is missing"),
    "width of text": (retyped("width", pa.string()), "the column width is of the type string"),
    "objects of text": (retyped("objects", pa.list_(pa.string())), "the column objects is of the type list"),
    "image of text": (retyped("image", pa.string()), "the column image is of the type string"),
    "ignored of text": (retyped("ignored", pa.string()), "the column ignored is of the type string"),
    "no file name": (in_first(file_name=None), "row 1 has no file_name"),
    "objects null": (in_first(objects=None), "row 1 has no objects"),
    "an object null": (in_first(objects=[None]), "number 0 of its objects has no object"),
    "a category null": (in_object(category=None), "number 0 of its objects has no category"),
    "a category unknown": (in_object(category=77), "number 0 of its objects is of the unknown category 77"),
    "a category below": (in_object(category=-1), "unknown category -1"),
    "an outline null": (in_object(segmentation=None), "number 0 of its objects has no segmentation"),
    "an outline of none": (in_object(segmentation=[]), "no segmentation"),
    "an outline of two": (in_object(segmentation=[[1.0, 2.0, 3.0, 4.0]]), "has 2 points, at least 3"),
    "an outline of nulls": (in_object(segmentation=[[None] * 6]), "polygon 0 "),
    "an outline of nan": (in_object(segmentation=[[float("nan")] * 6]), "isn't a finite number"),
    "a width of zero": (in_first(width=0), "is out of bounds"),
    "a width below zero": (in_first(width=-5), "is out of bounds"),
    "a width of billions": (in_first(width=2**31 - 1, height=2**31 - 1), "is out of bounds"),
    "an id twice": (in_rows(lambda rows: rows[1].update(image_id=rows[0]["image_id"])), "is there twice"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", FILES)
def test_files_by_another_hand_are_named(prepared, tmp_path, kind, door):
    spoil, says = FILES[kind]
    spoil(prepared)
    if door == "publish":
        provenance(prepared, lambda content: [split.pop("checksums", None) for split in content["splits"]])
        (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=f"{says}|can't be read") as caught:
        DOORS[door](prepared, tmp_path / "out")
    assert str(caught.value).startswith(f"{prepared}: ")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("damage", ["a bit", "cut", "emptied", "another split's"])
def test_a_file_that_isn_t_the_one_prepared_is_named(prepared, tmp_path, door, damage):
    """Its checksum tells, also where it can be read and although it was read before."""
    file = prepared / TEST
    first, data = [objects for _, objects in annotated_rows(prepared, "spec/test")], file.read_bytes()
    half = len(data) // 2
    spoiled = {
        "a bit": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
        "cut": data[:-30],
        "emptied": b"",
        "another split's": (prepared / TEST.replace("test", "train")).read_bytes(),
    }
    file.write_bytes(spoiled[damage])
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=rf"^{prepared}: {TEST} (of spec/test is missing or damaged|isn't the file)"):
        DOORS[door](prepared, tmp_path / "out")
    file.write_bytes(data)
    assert [objects for _, objects in annotated_rows(prepared, "spec/test")] == first


IMAGES = {
    "garbage": (in_first(image={"bytes": b"garbage", "path": "a.tif"}), "not a readable image"),
    "nothing": (in_first(image={"bytes": b"", "path": "a.tif"}), "the file is empty"),
    "a path": (in_first(image={"bytes": None, "path": "/etc/passwd"}), "no image but a path"),
    "an address": (in_first(image={"bytes": None, "path": "http://127.0.0.1:9/a.tif"}), "no image but a path"),
    "null": (in_first(image=None), "no image but a path"),
    "a width that lies": (in_first(width=77), "is said to be 77 x"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_that_are_none_are_named_and_paths_never_followed(prepared, kind):
    spoil, says = IMAGES[kind]
    spoil(prepared)
    with pytest.raises(InputError, match=says) as caught:
        load_images(prepared, "test")
    assert str(caught.value).startswith(f"{prepared}: ")


def test_the_preview_takes_no_other_image(prepared, tmp_path):
    (tmp_path / "out").mkdir()
    provenance(prepared, lambda content: content.update(splits=[split_of(content)]))
    for kind in ("garbage", "a path", "a width that lies"):
        IMAGES[kind][0](prepared)
        with pytest.raises(InputError, match=f"^{prepared}: "):
            build_tree(prepared, tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").mkdir()


def test_a_data_set_of_nothing(prepared, tmp_path):
    provenance(prepared, lambda content: content.update(splits=[]))
    with pytest.raises(InputError, match="there is nothing to measure"):
        measure_objects(prepared)
    with pytest.raises(InputError, match="no test images"):
        load_images(prepared, "test")
    (tmp_path / "out").mkdir()
    assert build_tree(prepared, tmp_path / "out") == ["README.md", PROVENANCE]


def test_counts_that_lie_are_told(prepared):
    in_split(objects={"cell_a": 1})(prepared)
    with pytest.raises(InputError, match=r"it holds \d+ objects of cell_a instead of \d+"):
        measure_objects(prepared)


def test_an_unknown_source_is_told(prepared, tmp_path):
    provenance(prepared, lambda content: content.update(source="mine"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="the source 'mine' isn't known"):
        build_tree(prepared, tmp_path / "out")


def test_folders_prepared_before_are_read(prepared):
    """Without the column `ignored`, and without checksums and counts of it in the provenance."""
    first = [objects for _, objects in annotated_rows(prepared, "spec/test")]
    drop("ignored")(prepared)
    provenance(prepared, lambda content: [split.pop("ignored") for split in content["splits"]])
    assert [objects for _, objects in annotated_rows(prepared, "spec/test")] == first


def test_damaged_parquet_is_answered(prepared):
    """Bytes here and there: an answer or a sentence, whatever pyarrow makes of them."""
    whole = (prepared / TEST).read_bytes()
    rng = random.Random(0)
    provenance(prepared, lambda content: split_of(content).pop("checksums", None))
    refusals = 0
    for _ in range(150):
        data = bytearray(whole)
        tail = rng.random() < 0.7  # where the footer is
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) - 3000, len(data)) if tail else rng.randrange(len(data))
            data[at] = rng.randrange(256)
        (prepared / TEST).write_bytes(data)
        try:
            load_images(prepared, "test")
        except InputError:
            refusals += 1
    assert refusals > 50


@pytest.mark.parametrize("command", ["stats", "publish", "train", "evaluate"])
def test_the_command_line_says_it_in_a_sentence(prepared, tmp_path, command):
    drop("objects")(prepared)
    arguments = {
        "stats": ("data", "stats", prepared, "--out", tmp_path / "out"),
        "publish": ("data", "publish", prepared, "--repo", "me/it", "--dry-run", "--out", tmp_path / "out"),
        "train": ("train", "--data", prepared, "--image", "1", "--out", tmp_path / "out"),
        "evaluate": ("evaluate", "--references", prepared, "--predictions", prepared),
    }
    if command == "train":
        provenance(prepared, lambda content: [split.pop("checksums", None) for split in content["splits"]])
        (prepared / TEST).replace(prepared / TEST.replace("test", "train"))
    assert "column objects is missing" in refused(*arguments[command])
    assert not (tmp_path / "out").exists()
