from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from glioma_hf import InputError
from glioma_hf.data.features import CATEGORIES, instances_of
from glioma_hf.data.prepare import prepare
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.glioma_c6 import find_splits, map_categories, read_rows
from tests.strategies import square


def rows_of(path: Path) -> list[dict]:
    with Archive(path) as archive:
        return [row for part in find_splits(archive) for row in read_rows(archive, part)]


def tiff(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels)
    return buffer.getvalue()


def annotation(**changes) -> dict:
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square(2, 2, 6)} | changes


@pytest.fixture
def folder(tmp_path):
    """Writes a one-image archive folder; the test changes what it likes first."""

    def write(coco: dict | None = None, image: bytes | None = None, **changes) -> Path:
        base = {
            "images": [{"id": 1, "file_name": "a.tif", "width": 20, "height": 16}],
            "annotations": [annotation()],
            "categories": [{"id": 1, "name": "Cell", "supercategory": "cell"}],
        }
        place = tmp_path / "archive" / "dataset" / "spec" / "train"
        (place / "images").mkdir(parents=True)
        (place / "images" / "a.tif").write_bytes(tiff(np.zeros((16, 20), np.uint8)) if image is None else image)
        (place / "anno_train.json").write_text(json.dumps(coco if coco is not None else base | changes))
        return tmp_path / "archive"

    return write


def test_archive_and_its_extracted_folder_give_the_same_rows(archive, tmp_path):
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "out")
    assert rows_of(archive) == rows_of(tmp_path / "out")


def test_rows_carry_what_the_generator_wrote(archive):
    rows = rows_of(archive)
    assert [(r["subset"], r["split"]) for r in rows] == [
        ("spec", "train"),
        ("spec", "train"),
        ("spec", "validation"),
        ("spec", "test"),
        ("spec", "test"),
        ("gen", "test"),
    ]
    assert {CATEGORIES[o["category"]] for r in rows if r["subset"] == "spec" for o in r["objects"]} == {
        "cell_a",
        "cell_b",
        "soma",
    }
    assert {CATEGORIES[o["category"]] for o in rows[-1]["objects"]} == {"cell"}
    for row in rows:
        everything = sum(len(instances_of(row, task)) for task in ("cells", "soma"))
        assert everything == len(row["objects"]) > 3


def test_instances_of_a_row_overlap_in_annotation_order(archive):
    row = rows_of(archive)[0]
    cells = instances_of(row)
    assert cells.ids.tolist() == [o["id"] for o in row["objects"] if CATEGORIES[o["category"]] != "soma"]
    assert cells.areas.sum() > (cells.to_label_map() > 0).sum()  # some pixel lies in two cells


@pytest.mark.parametrize("task", ["cells", "cell_a", "cell_b", "soma"])
def test_flattened_tasks_share_no_pixel_and_lose_none(archive, task):
    for row in rows_of(archive):
        whole, flat = instances_of(row, task), instances_of(row, task, flattened=True)
        covered = whole.to_label_map() > 0
        assert flat.areas.sum() == covered.sum()
        assert flat.areas.min(initial=1) > 0
        kept = {int(i): area for i, area in zip(flat.ids, flat.areas, strict=True)}
        # Of two that overlap the earlier one keeps what is contested: the first of all keeps everything.
        if len(whole):
            assert kept[int(whole.ids[0])] == whole.areas[0]


def test_an_unknown_task_is_refused(archive):
    with pytest.raises(InputError, match=r"the task 'typeA' isn't known; it is one of cells, soma"):
        instances_of(rows_of(archive)[0], "typeA")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Cell A", "Cell B", "Soma"], ["cell_a", "cell_b", "soma"]),
        (["type_A", "type_B", "nuclei"], ["cell_a", "cell_b", "soma"]),
        (["CellTypeA", "CellTypeB", "Nucleus"], ["cell_a", "cell_b", "soma"]),
        (["cell"], ["cell"]),
        (["Glioma C6"], ["cell"]),
    ],
)
def test_categories_are_told_by_pattern(names, expected):
    index = map_categories([{"id": i, "name": n} for i, n in enumerate(names)], "x")
    assert [CATEGORIES[index[i]] for i in range(len(names))] == expected


def test_supercategory_cell_part_is_a_soma():
    index = map_categories([{"id": 4, "name": "body", "supercategory": "cell_part"}], "x")
    assert CATEGORIES[index[4]] == "soma"


def test_tolerates_nesting_rle_and_missing_area_and_box(folder):
    path = folder(
        annotations=[
            annotation(segmentation={"size": [16, 20], "counts": [16, 2, 302]}),
            annotation(id=2, segmentation=[*square(1, 1, 3), *square(8, 1, 3)]),
        ]
    )
    shutil.move(path / "dataset", path / "deeper")
    (path / "__MACOSX").mkdir()
    (path / "__MACOSX" / "anno_train.json").write_text("junk")
    (row,) = rows_of(path)
    first, second = row["objects"]
    assert (first["area"], first["bbox"]) == (2, [1, 0, 1, 2])
    assert len(second["segmentation"]) == 2
    assert second["area"] == 18
    assert instances_of(row).areas.tolist() == [2, 18]


BAD = [
    ({"coco": []}, r"anno_train\.json isn't COCO"),
    ({"coco": {"images": []}}, "isn't COCO: the lists images, annotations and categories"),
    ({"annotations": [{"id": 1}]}, "annotations number 0 has no usable 'image_id'"),
    ({"annotations": [annotation(image_id=9)]}, "annotation 1 is of the unknown image 9"),
    ({"annotations": [annotation(segmentation=[[1, 2, 3, 4]])]}, "annotation 1: polygon 0 has 2 points"),
    ({"annotations": [annotation(), annotation()]}, "annotations has the id 1 more than once"),
    ({"annotations": [annotation(category_id=7)]}, "annotation 1: category 7"),
    ({"categories": [{"id": 1, "name": "dust"}]}, "category 'dust' is neither a cell.*there are 'dust'"),
    ({"images": [{"id": 1, "file_name": "b.tif", "width": 20, "height": 16}]}, r"image 1 \(b.tif\) isn't in the arch"),
    ({"images": [{"id": 1, "file_name": "../a.tif", "width": 20, "height": 16}]}, "leads out of the archive"),
    ({"images": [{"id": 1, "file_name": "a.tif", "width": 21, "height": 16}]}, "said to be 21 x 16.*is 20 x 16"),
    ({"image": b"not an image"}, r"a\.tif: not a readable image"),
    ({"image": b""}, r"a\.tif: the file is empty"),
    ({"image": tiff(np.zeros((16, 20), np.uint8))[:-40]}, r"a\.tif"),
]


@pytest.mark.parametrize(("change", "says"), BAD)
def test_what_would_corrupt_a_benchmark_is_refused_by_name(folder, tmp_path, change, says):
    path = folder(**change)
    with pytest.raises(InputError, match=says):
        prepare(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]  # nothing half-written


def test_not_json(folder, tmp_path):
    path = folder()
    (path / "dataset" / "spec" / "train" / "anno_train.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"anno_train\.json isn't JSON"):
        prepare(path, tmp_path / "out")


def test_truncated_zip(archive, tmp_path):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"broken\.zip: not a whole zip archive"):
        rows_of(broken)


def test_zip_with_a_damaged_member(archive, tmp_path):
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        member = packed.infolist()[0]
    at = member.header_offset + 200
    data[at : at + 50] = bytes(50)
    broken = tmp_path / "damaged.zip"
    broken.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged\.zip: .*train_001\.tif"):
        rows_of(broken)


def test_zip_that_climbs_out(tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("../../anno_train.json", "{}")
    with pytest.raises(InputError, match="leads out of the archive"):
        Archive(path)


def test_link_out_of_the_folder(folder, tmp_path):
    path = folder()
    secret = tmp_path / "secret.tif"
    secret.write_bytes(tiff(np.zeros((16, 20), np.uint8)))
    image = path / "dataset" / "spec" / "train" / "images" / "a.tif"
    image.unlink()
    image.symlink_to(secret)
    with pytest.raises(InputError, match="link that leads out"):
        rows_of(path)


def test_missing_and_empty_archives(tmp_path):
    with pytest.raises(InputError, match="no such archive"):
        Archive(tmp_path / "none.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no anno_train\.json"):
        rows_of(tmp_path / "empty")


def test_output_is_never_someone_elses_folder(archive, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"):
        prepare(archive, mine)
    with pytest.raises(InputError, match="is a file"):
        prepare(archive, mine / "thesis.txt")
    with pytest.raises(InputError, match="can't be written"):
        prepare(archive, "/proc/nowhere")
    assert (mine / "thesis.txt").read_text() == "years of work"
    prepare(archive, tmp_path / "out")
    prepare(archive, tmp_path / "out")  # its own output it replaces


def test_t98g_has_its_counts(t98g):
    rows = rows_of(t98g)
    assert len(rows) == 23
    assert sum(len(r["objects"]) for r in rows) == 1453
    assert sum(len(instances_of(r)) for r in rows) == 1453
