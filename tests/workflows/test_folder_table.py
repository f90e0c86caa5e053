"""`predict` on a folder: one table of all cells, sizes of pixels from the files, sizes of cells from the images."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError, predict
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.models.dummy import DummySegmenter

SCENE = SceneConfig(width=200, height=160)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(generate_scene(ord(name), SCENE).image).save(folder / f"{name}.png")
    resolution = (1e4 / 0.65, 1e4 / 0.65)  # pixels a centimetre
    tifffile.imwrite(
        folder / "c.tif", generate_scene(2, SCENE).image, resolution=resolution, resolutionunit="CENTIMETER"
    )
    return folder


def rows(path):
    return list(csv.DictReader(path.open()))


def test_units_are_each_files_own_and_one_in_the_table_of_all(images, tmp_path):
    predict(images, tmp_path / "out", DummySegmenter(1.0))
    own, c = rows(tmp_path / "out" / "a.csv"), rows(tmp_path / "out" / "c.csv")
    assert "area_px" in own[0]
    assert "area_um2" in c[0]
    table = rows(tmp_path / "out" / "all_cells.csv")
    assert [name for name in table[0] if name.endswith(("_um", "_um2"))] == ["pixel_size_um"]
    cells = json.loads((tmp_path / "out" / "c.json").read_text())
    of_c = [row for row in table if row["file_name"] == "c.tif"]
    assert [float(row["area_px"]) for row in of_c] == pytest.approx([cell["area"] for cell in cells], rel=1e-4)
    assert [float(row["area_um2"]) for row in c] == pytest.approx([cell["area"] * 0.65**2 for cell in cells], rel=1e-4)
    assert {row["pixel_size_um"] for row in of_c} == {"0.65"}
    predict(images / "c.tif", tmp_path / "alone", DummySegmenter(1.0))
    assert [row["area_um2"] for row in rows(tmp_path / "alone" / "all_cells.csv")] == [row["area_um2"] for row in c]
    predict(images, tmp_path / "told", DummySegmenter(1.0), pixel_size=2.0)
    assert {row["pixel_size_um"] for row in rows(tmp_path / "told" / "all_cells.csv")} == {"2.0"}


def test_the_table_grows_with_the_folder_and_is_nobody_elses(images, tmp_path):
    out = tmp_path / "out"
    predict(images / "b.png", out, DummySegmenter(1.0))
    first = rows(out / "all_cells.csv")
    predict(images, out, DummySegmenter(1.0))
    table = rows(out / "all_cells.csv")
    assert [row["file_name"] for row in table] == sorted(row["file_name"] for row in table)
    assert [row for row in table if row["file_name"] == "b.png"] == first
    (out / "all_cells.csv").write_text("my notes")
    with pytest.raises(InputError, match=r"all_cells.csv was changed since predict wrote it"):
        predict(images, out, DummySegmenter(1.0))
    assert (out / "all_cells.csv").read_text() == "my notes"
    (out / "all_cells.csv").unlink()
    predict(images, out, DummySegmenter(1.0))
    assert rows(out / "all_cells.csv") == table


def test_an_image_isnt_called_as_the_table_is(images, tmp_path):
    (images / "a.png").rename(images / "all_cells.png")
    with pytest.raises(InputError, match=r"all_cells.csv is the table of all images' cells"):
        predict(images, tmp_path / "out", DummySegmenter(1.0))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_cells_has_a_table_without_rows(tmp_path):
    Image.fromarray(np.full((60, 60), 90, np.uint8)).save(tmp_path / "empty.png")
    predict(tmp_path / "empty.png", tmp_path / "out", DummySegmenter(1.0))
    assert (tmp_path / "out" / "all_cells.csv").read_text() == "file_name,id,pixel_size_um,model\n"
