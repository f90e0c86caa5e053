from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.errors import InputError
from glioma_hf.models import load_segmenter
from glioma_hf.workflows.prediction import predict
from tests.cli.test_cli import refused, run
from tests.conftest import two_processes
from tests.workflows.test_training import IMAGE, adapter  # noqa: F401


def test_predict_writes_results_shapes_and_overlay_and_resumes(adapter, tmp_path):  # noqa: F811
    tifffile.imwrite(tmp_path / "a.tif", IMAGE.astype(np.uint16) * 100)
    Image.fromarray(IMAGE).convert("RGB").save(tmp_path / "b.png")
    arguments = ["predict", tmp_path / "a.tif", tmp_path / "b.png", "--out", tmp_path / "out", "--pixel-size", 0.5]
    done = run(*arguments, "--adapter", adapter)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        f"{n}{e}" for n in "ab" for e in (".json", ".csv", ".png", "_labels.tif", "_rois.zip", ".geojson")
    } | {".glioma-hf", "all_cells.csv"}
    results = json.loads((tmp_path / "out" / "b.json").read_text())
    cells = Instances.from_coco(results, (120, 160))
    rows = list(csv.DictReader((tmp_path / "out" / "b.csv").open()))
    assert [float(row["area_um2"]) for row in rows] == (cells.areas / 4).tolist()
    assert [int(row["id"]) for row in rows] == list(range(1, len(cells) + 1))
    table = list(csv.DictReader((tmp_path / "out" / "all_cells.csv").open()))
    assert [row["file_name"] for row in table] == ["a.tif"] * len(cells) + ["b.png"] * len(cells)
    assert [{name: row[name] for name in rows[0]} for row in table if row["file_name"] == "b.png"] == rows
    regions = json.loads((tmp_path / "out" / "b.geojson").read_text())["features"]
    assert [region["properties"]["name"] for region in regions] == [f"cell {row['id']}" for row in rows]
    measured = [region["properties"]["measurements"]["Area µm^2"] for region in regions]
    assert measured == (cells.areas / 4).tolist()
    assert Image.open(tmp_path / "out" / "a.png").size == (160, 120)
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "b_labels.tif"), cells.to_label_map())
    assert len(read_rois((tmp_path / "out" / "b_rois.zip").read_bytes(), (120, 160), "b")) == len(cells)
    # 16 bits or 8, grey or colour: the same picture gives the same cells.
    same = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [r["segmentation"] for r in same] == [r["segmentation"] for r in results]
    (tmp_path / "out" / "b.csv").unlink()
    again = run(*arguments, "--adapter", adapter)
    assert "a.tif is done already" in again.stderr
    assert "b.png is done already" not in again.stderr


def test_predict_takes_folders_floats_and_an_expected_diameter(adapter, tmp_path):  # noqa: F811
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "float.tif", IMAGE.astype(np.float32) / 255)
    tifffile.imwrite(folder / "double.tif", np.stack([IMAGE] * 3, 2).astype(np.float64) * 1e-3)
    Image.fromarray(IMAGE).save(folder / "grey.png")
    (folder / "notes.txt").write_text("not an image")
    done = run("predict", folder, "--out", tmp_path / "out", "--adapter", adapter)
    assert done.returncode == 0, done.stderr
    found = {n: json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("grey", "float", "double")}
    assert len(found["grey"]) > 0
    assert [len(rows) for rows in found.values()] == [len(found["grey"])] * 3
    known = json.loads((adapter / "thresholds.json").read_text())
    segmenter = load_segmenter(adapter=adapter, diameter=2 * known["cell_diameter"])
    assert segmenter.settings.scales == tuple(s / 2 for s in known["scales"])
    for name, own in (("embedded", 50), ("deepsea", 46)):
        with pytest.raises(InputError, match=f"a diameter of 9000 pixels is too far from the {own}"):
            load_segmenter(name, diameter=9000)
    tifffile.imwrite(tmp_path / "nan.tif", np.full((40, 50), np.nan, np.float32))
    assert "pixels that are no numbers" in refused("predict", tmp_path / "nan.tif", "--out", tmp_path / "o")
    for name, kind in (("far", np.float32), ("farther", np.float64)):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((40, 50), 1e30 if name == "far" else -1e300, kind))
        assert f"{name}.tif: it has pixels beyond 1e+12" in refused(
            "predict", tmp_path / f"{name}.tif", "--out", tmp_path / "o"
        )
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 40, 50), np.float32))
    assert "5 pages in one image" in refused("predict", tmp_path / "stack.tif", "--out", tmp_path / "o")
    os.mkfifo(tmp_path / "pipe.tif")  # nobody writes: who reads it waits
    assert "pipe.tif: not a file" in refused("predict", tmp_path / "pipe.tif", "--out", tmp_path / "o")
    (tmp_path / "none").mkdir()
    assert "no image lies there" in refused("predict", tmp_path / "none", "--out", tmp_path / "o")


@pytest.mark.alone
def test_two_processes_share_a_folder_of_images(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.fromarray(IMAGE[: 80 + number]).save(tmp_path / "images" / f"{number}.png")
    launch = [*two_processes(), "-m", "glioma_hf.cli"]
    launch += ["predict", tmp_path / "images", "--out", tmp_path / "out"]
    done = subprocess.run([str(a) for a in launch], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    total = sum(len(json.loads((tmp_path / "out" / f"{n}.json").read_text())) for n in range(3))
    assert done.stdout.count("cells in 3 images") == 1
    assert f"{total} cells in 3 images" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_no_table_can_hold_is_refused(tmp_path):
    image = tmp_path / os.fsdecode(b"zelle \xfc.tif")  # Latin-1, as old shares have it
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    (tmp_path / "a.tif").rename(image)
    with pytest.raises(InputError, match="its name isn't in UTF-8; rename the file"):
        predict(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
