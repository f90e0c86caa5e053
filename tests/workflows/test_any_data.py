"""Any family on any prepared data set: trained, tuned, used and scored by the commands, with the dummy family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from glioma_hf.data.splits import find_split, load_images
from glioma_hf.models import load_segmenter
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.cli.test_cli import refused, run

CONFIG = SceneConfig(width=160, height=128, cells_per_megapixel=(400, 500), noise=(1.0, 1.0))
SPLITS = {"train": 2, "val": 1, "test": 2}
SCENES = {split: [generate_scene((7, n, i), CONFIG) for i in range(c)] for n, (split, c) in enumerate(SPLITS.items())}

pytestmark = pytest.mark.usefixtures("dummy")


def glioma_c6(root: Path) -> Path:
    counts = {"train": 2, "valid": 1, "test": 2, "gen": 1}
    synthesize(root / "dataset.zip", 7, SyntheticArchiveConfig(**counts, scene=CONFIG))
    return root / "dataset.zip"


def livecell(root: Path) -> Path:
    for split, scenes in SCENES.items():
        coco: dict = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
        for number, scene in enumerate(scenes, start=1):
            name = f"A172_Phase_{split}_{number}.tif"
            (root / "images").mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(root / "images" / name, scene.image)
            height, width = scene.image.shape
            coco["images"].append({"id": number, "file_name": name, "width": width, "height": height})
            for row in scene.instances().to_coco(number):
                coco["annotations"].append(row | {"id": len(coco["annotations"]), "category_id": 1})
        (root / f"livecell_coco_{split}.json").write_text(json.dumps(coco))
    return root


def neurips22(root: Path) -> Path:
    for split, folder in (("train", "Training"), ("val", "Tuning"), ("test", "Testing/Public")):
        for number, scene in enumerate(SCENES[split]):
            for kind, name, pixels in (
                ("images", f"cell_{number}.tif", scene.image),
                ("labels", f"cell_{number}_label.tiff", scene.instances().to_label_map().astype(np.uint16)),
            ):
                (root / folder / kind).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(root / folder / kind / name, pixels)
    return root


def tissuenet(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, scenes in SCENES.items():
        images = np.stack([np.stack([s.image * 0.5, s.image], 2) for s in scenes]).astype(np.float32)
        labels = np.stack([np.stack([s.instances(("cell_a", "cell_b")).to_label_map()] * 2, 2) for s in scenes])
        np.savez(root / f"tissuenet_v1.1_{split}.npz", X=images, y=labels.astype(np.int32))
    return root


@pytest.mark.parametrize("source", [glioma_c6, livecell, neurips22, tissuenet], ids=lambda make: make.__name__)
def test_every_source_trains_and_scores(source, tmp_path):
    data, model, found = tmp_path / "data", tmp_path / "model", tmp_path / "found"
    archive = source(tmp_path / "archive")
    done = run("data", "prepare", "--archive", archive, "--source", source.__name__, "--out", data)
    assert done.returncode == 0, done.stderr
    done = run("train", "--data", data, "--image", 2, "--model", "dummy", "--out", model)
    assert done.returncode == 0, done.stderr
    scores = json.loads((model / "scores.json").read_text())
    assert scores["data"] == "data"
    assert len(scores["training_images"]) == len(scores["validation_images"]) == 1
    assert f"AP50 {scores['validation_ap50']:.3f}" in done.stdout
    done = run("tune", "--data", data, "--adapter", model)
    assert done.returncode == 0, done.stderr
    assert json.loads((model / "scores.json").read_text()) == scores
    test = load_images(data, "test")
    (tmp_path / "images").mkdir()
    for item in test:
        tifffile.imwrite(tmp_path / "images" / f"{Path(item.name).stem}.tif", item.pixels)
    done = run("predict", tmp_path / "images", "--adapter", model, "--out", found, "--diameter", 0)
    assert done.returncode == 0, done.stderr
    segmenter = load_segmenter(model)
    cells = sum(len(segmenter.segment(item.pixels)) for item in test)
    assert f"{cells} cells in {len(test)} images" in done.stdout
    rows = []
    for item in test:
        mine = json.loads((found / f"{Path(item.name).stem}.json").read_text())
        rows += [row | {"image_id": item.image_id} for row in mine]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    done = run("evaluate", "--references", data, "--predictions", tmp_path / "results.json", "--border", 0, "--json")
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)
    assert (scored["images"], scored["predictions"]) == (len(test), cells)
    assert scored["references"] == sum(len(item.instances) for item in test)
    assert scored["tp"] > 0


def test_only_the_images_that_are_needed_are_read(tmp_path):
    """The test split's files may be missing while a model is trained."""
    run("data", "prepare", "--archive", livecell(tmp_path / "a"), "--source", "livecell", "--out", tmp_path / "data")
    for file in find_split(tmp_path / "data", "test").files:
        (tmp_path / "data" / file).unlink()
    done = run("train", "--data", tmp_path / "data", "--model", "dummy", "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr


def test_without_validation_images_thresholds_stay_and_it_is_said(tmp_path):
    archive = livecell(tmp_path / "a")
    (archive / "livecell_coco_val.json").unlink()
    run("data", "prepare", "--archive", archive, "--source", "livecell", "--out", tmp_path / "data")
    done = run("train", "--data", tmp_path / "data", "--model", "dummy", "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "there are no validation images to choose thresholds on" in done.stdout
    assert json.loads((tmp_path / "model" / "scores.json").read_text())["validation_ap50"] is None
    assert load_segmenter(tmp_path / "model").settings == load_segmenter("dummy").settings
    line = refused("tune", "--data", tmp_path / "data", "--adapter", tmp_path / "model")
    assert "no validation images; its splits are livecell/train, livecell/test" in line


def test_tasks_are_the_data_sets_own(tmp_path):
    run("data", "prepare", "--archive", tissuenet(tmp_path / "a"), "--source", "tissuenet", "--out", tmp_path / "data")
    arguments = ("train", "--data", tmp_path / "data", "--model", "dummy")
    done = run(*arguments, "--task", "nucleus", "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model" / "model.json").read_text())["task"] == "nucleus"
    line = refused(*arguments, "--task", "soma", "--out", tmp_path / "other")
    assert "cells" in line
    assert "nucleus" in line
    assert not (tmp_path / "other").exists()


def test_a_file_with_categories_of_its_own_is_a_reference(tmp_path):
    scene = SCENES["test"][0]
    height, width = scene.image.shape
    cells = scene.instances()
    coco = {
        "images": [{"id": 3, "file_name": "n.tif", "width": width, "height": height}],
        "annotations": [row | {"category_id": 9} for row in cells.to_coco(3)],
        "categories": [{"id": 9, "name": "neuron"}],
    }
    (tmp_path / "neurons.json").write_text(json.dumps(coco))
    (tmp_path / "results.json").write_text(json.dumps(coco["annotations"]))
    for task in ("cells", "neuron", "all"):
        files = ("--references", tmp_path / "neurons.json", "--predictions", tmp_path / "results.json")
        done = run("evaluate", *files, "--task", task, "--border", 0, "--json")
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout)
        assert (scores["tp"], scores["fp"], scores["fn"]) == (len(cells), 0, 0)
