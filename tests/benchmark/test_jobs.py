from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.jobs import open_segmenter, predict_images, train_adapter
from glioma_hf.benchmark.splits import load_splits
from glioma_hf.data.exports import read_rois
from glioma_hf.data.publishing import prepare
from glioma_hf.data.synthetic import SceneConfig, generate_scene
from tests.benchmark.test_quickstart import BRIEF
from tests.test_cli import refused, run

IMAGE = generate_scene(2, SceneConfig(width=160, height=120, cells_per_megapixel=(400, 400))).image


@pytest.fixture(scope="module")
def adapter(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    prepare(archive, folder / "set")
    lines: list[str] = []
    train_adapter(folder / "set", [1, 2], folder / "adapter", recipe=BRIEF, say=lines.append)
    assert any("train_001.tif, train_002.tif" in line for line in lines)
    return folder / "adapter"


def test_adapter_carries_recipe_and_thresholds(adapter):
    assert {"adapter_config.json", "adapter_model.safetensors", "generation.json", "training.json", "log.jsonl"} <= {
        p.name for p in adapter.iterdir()
    }
    settings = json.loads((adapter / "generation.json").read_text())
    assert open_segmenter(adapter=adapter).settings.model_dump() == settings


def test_training_sees_the_objects_of_its_task(archive, tmp_path):
    prepare(archive, tmp_path / "set")
    counts = {}
    for task in ("cells", "cell_a", "cell_b", "soma"):
        splits = load_splits(tmp_path / "set", tmp_path / "cache", task=task)
        counts[task] = [len(item.cells) for item in splits["train"]]
    assert counts["cells"] == [a + b for a, b in zip(counts["cell_a"], counts["cell_b"], strict=True)]
    assert min(counts["soma"]) > 0
    assert "isn't known" in refused("train", "--data", tmp_path / "set", "--out", tmp_path / "a", "--task", "x")


def test_predict_writes_results_shapes_and_overlay_and_resumes(adapter, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE.astype(np.uint16) * 100)
    Image.fromarray(IMAGE).convert("RGB").save(tmp_path / "b.png")
    arguments = ["predict", tmp_path / "a.tif", tmp_path / "b.png", "--out", tmp_path / "out", "--pixel-size", 0.5]
    done = run(*arguments, "--adapter", adapter)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        f"{n}{e}" for n in "ab" for e in (".json", ".csv", ".png", "_labels.tif", "_rois.zip")
    }
    results = json.loads((tmp_path / "out" / "b.json").read_text())
    cells = Instances.from_coco(results, (120, 160))
    areas = [float(row["area"]) for row in csv.DictReader((tmp_path / "out" / "b.csv").open())]
    assert areas == (cells.areas / 4).tolist()
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


def test_bad_input(adapter, tmp_path, archive):
    (tmp_path / "text.tif").write_text("hello")
    assert "text.tif: not a readable image" in refused("predict", tmp_path / "text.tif", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "no adapter" in refused("predict", tmp_path / "text.tif", "--out", tmp_path / "o", "--adapter", tmp_path)
    assert "can't be loaded" in refused("predict", tmp_path / "text.tif", "--out", tmp_path / "o", "--model", "no/such")
    line = refused("train", "--data", tmp_path, "--out", tmp_path / "o")
    assert "no prepared data set; make one with glioma-hf data prepare" in line
    prepare(archive, tmp_path / "set")
    line = refused("train", "--data", tmp_path / "set", "--out", tmp_path / "o", "--image", 7)
    assert "there is no training image 7; choose one from 1 to 2" in line
    assert "isn't known; it is quick or paper" in refused("train", "--data", ".", "--out", "o", "--recipe", "long")
    with pytest.raises(InputError, match="two images are called a"):
        predict_images([tmp_path / "a.tif", tmp_path / "a.png"], open_segmenter(), tmp_path / "o")
    (adapter / "generation.json").write_text('{"score_threshold": 4}')
    with pytest.raises(InputError, match=r"generation\.json: the thresholds can't be read"):
        open_segmenter(adapter=adapter)
