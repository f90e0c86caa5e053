from __future__ import annotations

import csv
import json
import shutil
import subprocess

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from glioma_hf import InputError, Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import load_splits
from glioma_hf.models.sam.sam import new_model, small_config
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from glioma_hf.workflows import training as jobs
from glioma_hf.workflows.prediction import predict_images
from glioma_hf.workflows.training import open_segmenter, train_adapter
from tests.cli.test_cli import refused, run
from tests.conftest import two_processes
from tests.workflows.test_quickstart import BRIEF

IMAGE = generate_scene(2, SceneConfig(width=160, height=120, cells_per_megapixel=(400, 400))).image


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "adapter"
    lines: list[str] = []
    train_adapter(folder, [1, 2], out, recipe=BRIEF, say=lines.append)
    assert any("train_001.tif, train_002.tif" in line for line in lines)
    return out


def test_adapter_carries_recipe_and_thresholds(adapter):
    assert {"adapter_config.json", "adapter_model.safetensors", "generation.json", "training.json", "log.jsonl"} <= {
        p.name for p in adapter.iterdir()
    }
    settings = json.loads((adapter / "generation.json").read_text())
    assert json.loads(open_segmenter(adapter=adapter).settings.model_dump_json()) == settings
    assert 15 < settings["cell_diameter"] < 80
    scores = json.loads((adapter / "scores.json").read_text())
    assert scores["training_images"] == ["train_001.tif", "train_002.tif"]
    assert not (adapter / "checkpoints").exists()
    card = (adapter / "README.md").read_text()
    assert f"validation images: {scores['validation_ap50']:.3f}" in card
    assert f"| `learning_rate` | {BRIEF.learning_rate} |" in card
    front = yaml.safe_load(card.split("---")[1])
    metric = front["model-index"][0]["results"][0]["metrics"][0]
    assert (metric["name"], metric["value"]) == ("AP50", round(scores["validation_ap50"], 4))


def test_training_that_was_broken_off_goes_on(folder, tmp_path):
    recipe = BRIEF.model_copy(update={"tiles_per_image": 18, "epochs": 1, "check_every": 1, "precision": "fp32"})

    def until_second_step(line: str) -> None:
        if "going on from checkpoint-2" in line:
            lines.append(line)

    lines: list[str] = []
    unbroken = tmp_path / "unbroken"
    train_adapter(folder, [1], unbroken, recipe=recipe, say=lambda line: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "every_tenth", lambda say: _stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(folder, [1], tmp_path / "out", recipe=recipe)
    assert not (tmp_path / "out").exists()
    train_adapter(folder, [1], tmp_path / "out", recipe=recipe, say=until_second_step)
    assert lines == ["going on from checkpoint-2: train_001.tif"]
    name = "adapter_model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (unbroken / name).read_bytes()
    assert not list(tmp_path.glob(".out*"))


def _stop_after_two(step: int, steps: int, loss: float) -> None:
    if step == 3:
        raise KeyboardInterrupt


def test_tune_writes_thresholds_that_predict_takes(adapter, folder, tmp_path):
    before = json.loads((adapter / "generation.json").read_text())
    done = run("tune", "--data", folder, "--adapter", adapter)
    assert done.returncode == 0, done.stderr
    assert json.loads((adapter / "generation.json").read_text()) == before  # the same as after training
    grid = tmp_path / "grid.json"
    done = run("tune", "--data", folder, "--out", grid, "--prompts", "centres")
    assert done.returncode == 0, done.stderr
    assert "AP50" in done.stdout
    grid.write_text(json.dumps({**before, "points_per_side": 4, "prompts": "grid"}))
    assert open_segmenter(thresholds=grid).settings.points_per_side == 4
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    done = run("predict", tmp_path / "a.png", "--out", tmp_path / "out", "--thresholds", grid)
    assert done.returncode == 0, done.stderr
    assert "--adapter FOLDER" in refused("tune", "--data", folder)
    assert "they are centres or grid" in refused("tune", "--data", folder, "--prompts", "x")


def test_push_sends_the_adapter_with_its_card(adapter, monkeypatch, tmp_path):
    """Through the real push to a real server: `tests/data/test_publish.py`."""
    sent = {}

    def push(tree, names, repo, private, kind):
        sent.update({name: (tree / name).read_bytes() for name in names}, kind=kind, repo=repo)
        return "https://hub/" + repo

    monkeypatch.setattr(jobs.hub, "push", push)
    names, url = jobs.push_adapter(adapter, "me/cells")
    assert (sent["kind"], url) == ("model", "https://hub/me/cells")
    assert {"adapter_model.safetensors", "generation.json", "scores.json", "training.json", "README.md"} <= set(names)
    assert sent["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert b'open_segmenter("embedded", "me/cells")' in sent["README.md"]
    sent.clear()
    done = run("push", adapter, "--repo", "me/cells", "--dry-run")
    assert done.stdout.startswith("would push adapter_config.json")
    assert "no adapter" in refused("push", tmp_path, "--repo", "me/cells")
    assert "USER/NAME" in refused("push", adapter, "--repo", "cells")


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


def test_predict_takes_folders_floats_and_an_expected_diameter(adapter, tmp_path):
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
    known = json.loads((adapter / "generation.json").read_text())
    segmenter = open_segmenter(adapter=adapter, diameter=2 * known["cell_diameter"])
    assert segmenter.settings.scales == tuple(s / 2 for s in known["scales"])
    tifffile.imwrite(tmp_path / "nan.tif", np.full((40, 50), np.nan, np.float32))
    assert "pixels that are no numbers" in refused("predict", tmp_path / "nan.tif", "--out", tmp_path / "o")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 40, 50), np.float32))
    assert "5 pages in one image" in refused("predict", tmp_path / "stack.tif", "--out", tmp_path / "o")
    (tmp_path / "none").mkdir()
    assert "no image lies there" in refused("predict", tmp_path / "none", "--out", tmp_path / "o")


def test_two_processes_share_a_folder_of_images(adapter, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.fromarray(IMAGE[: 80 + number]).save(tmp_path / "images" / f"{number}.png")
    launch = [*two_processes(), "-m", "glioma_hf.cli"]
    launch += ["predict", tmp_path / "images", "--out", tmp_path / "out", "--adapter", adapter]
    done = subprocess.run([str(a) for a in launch], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    total = sum(len(json.loads((tmp_path / "out" / f"{n}.json").read_text())) for n in range(3))
    assert done.stdout.count("cells in 3 images") == 1
    assert f"{total} cells in 3 images" in done.stdout


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
    assert "isn't known; it is quick, paper or a JSON file" in refused(
        "train", "--data", ".", "--out", "o", "--recipe", "long"
    )
    with pytest.raises(InputError, match="two images are called a"):
        predict_images([tmp_path / "a.tif", tmp_path / "a.png"], open_segmenter(), tmp_path / "o")
    damaged = tmp_path / "damaged"
    shutil.copytree(adapter, damaged)
    (damaged / "adapter_model.safetensors").write_bytes(b"0123456789" * 9)
    with pytest.raises(InputError, match="damaged: the adapter doesn't fit the model"):
        open_segmenter(adapter=damaged)
    other = new_model(small_config(64, 32, 2, 2, 32))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="give the base it was made for"):
        open_segmenter(str(tmp_path / "other"), adapter)
    (adapter / "generation.json").write_text('{"pred_iou_thresh": 4}')
    with pytest.raises(InputError, match=r"generation\.json: the thresholds can't be read"):
        open_segmenter(adapter=adapter)
