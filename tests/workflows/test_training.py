from __future__ import annotations

import json
import shutil

import pytest
import yaml
from PIL import Image

from glioma_hf import InputError
from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import load_images
from glioma_hf.models import load_segmenter
from glioma_hf.models.sam.sam import new_model, small_config
from glioma_hf.progress import Progress, to_lines
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from glioma_hf.workflows import pushing
from glioma_hf.workflows.prediction import predict
from glioma_hf.workflows.training import train
from tests.cli.test_cli import refused, run
from tests.workflows.test_quickstart import BRIEF

IMAGE = generate_scene(2, SceneConfig(width=160, height=120, cells_per_megapixel=(400, 400))).image


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "adapter"
    lines: list[str] = []
    train(folder, [1, 2], out, recipe=BRIEF, on_progress=to_lines(lines.append))
    assert any("train_001.tif, train_002.tif" in line for line in lines)
    return out


def test_adapter_carries_recipe_and_thresholds(adapter):
    assert {"adapter_config.json", "adapter_model.safetensors", "thresholds.json", "recipe.json", "log.jsonl"} <= {
        p.name for p in adapter.iterdir()
    }
    settings = json.loads((adapter / "thresholds.json").read_text())
    assert json.loads(load_segmenter(adapter=adapter).settings.model_dump_json()) == settings
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


@pytest.mark.long
def test_training_that_was_broken_off_goes_on(folder, tmp_path):
    recipe = BRIEF.model_copy(update={"tiles_per_image": 18, "epochs": 1, "check_every": 1, "precision": "fp32"})

    def stop_after_two(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    lines: list[str] = []
    unbroken = tmp_path / "unbroken"
    train(folder, [1], unbroken, recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        train(folder, [1], tmp_path / "out", recipe=recipe, on_progress=stop_after_two)
    assert not (tmp_path / "out").exists()
    train(folder, [1], tmp_path / "out", recipe=recipe, on_progress=to_lines(lines.append))
    assert lines[0] == "going on from checkpoint-2: train_001.tif"
    name = "adapter_model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (unbroken / name).read_bytes()
    assert not list(tmp_path.glob(".out*"))


def test_tune_writes_thresholds_that_predict_takes(adapter, folder, tmp_path):
    before = json.loads((adapter / "thresholds.json").read_text())
    done = run("tune", "--data", folder, "--adapter", adapter)
    assert done.returncode == 0, done.stderr
    assert json.loads((adapter / "thresholds.json").read_text()) == before  # the same as after training
    grid = tmp_path / "grid.json"
    done = run("tune", "--data", folder, "--out", grid, "--prompts", "centres")
    assert done.returncode == 0, done.stderr
    assert "AP50" in done.stdout
    grid.write_text(json.dumps({**before, "points_per_side": 4, "prompts": "grid"}))
    assert load_segmenter(thresholds=grid).settings.points_per_side == 4
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    done = run("predict", tmp_path / "a.png", "--out", tmp_path / "out", "--thresholds", grid)
    assert done.returncode == 0, done.stderr
    assert "--adapter FOLDER" in refused("tune", "--data", folder)
    assert "prompts: Input should be 'centres', 'grid' or 'model'" in refused(
        "tune", "--data", folder, "--out", grid, "--prompts", "x"
    )


def test_push_sends_the_adapter_with_its_card(adapter, monkeypatch, tmp_path):
    """Through the real push to a real server: `tests/data/test_publish.py`."""
    sent = {}

    def push(tree, names, repo, private, kind):
        sent.update({name: (tree / name).read_bytes() for name in names}, kind=kind, repo=repo)
        return "https://hub/" + repo

    monkeypatch.setattr(pushing.hub, "push", push)
    names, url = pushing.push_model(adapter, "me/cells")
    assert (sent["kind"], url) == ("model", "https://hub/me/cells")
    assert {"adapter_model.safetensors", "thresholds.json", "scores.json", "recipe.json", "README.md"} <= set(names)
    assert sent["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert b'load_segmenter("me/cells")' in sent["README.md"]
    sent.clear()
    done = run("push", adapter, "--repo", "me/cells", "--dry-run")
    assert done.stdout.startswith("would push README.md, adapter_config.json, adapter_model.safetensors")
    assert "no saved model lies there" in refused("push", tmp_path, "--repo", "me/cells")
    assert "USER/NAME" in refused("push", adapter, "--repo", "cells")


def test_training_sees_the_objects_of_its_task(archive, tmp_path):
    prepare(archive, tmp_path / "set")
    counts = {}
    for task in ("cells", "cell_a", "cell_b", "soma"):
        counts[task] = [len(item.instances) for item in load_images(tmp_path / "set", "train", task)]
    assert counts["cells"] == [a + b for a, b in zip(counts["cell_a"], counts["cell_b"], strict=True)]
    assert min(counts["soma"]) > 0
    assert "isn't known" in refused("train", "--data", tmp_path / "set", "--out", tmp_path / "a", "--task", "x")


def test_bad_input(adapter, tmp_path, archive):
    (tmp_path / "text.tif").write_text("hello")
    assert "text.tif: not a readable image" in refused("predict", tmp_path / "text.tif", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "no saved model lies there" in refused(
        "predict", tmp_path / "text.tif", "--out", tmp_path / "o", "--adapter", tmp_path
    )
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
        predict([tmp_path / "a.tif", tmp_path / "a.png"], tmp_path / "o", load_segmenter())
    damaged = tmp_path / "damaged"
    shutil.copytree(adapter, damaged)
    (damaged / "adapter_model.safetensors").write_bytes(b"0123456789" * 9)
    with pytest.raises(InputError, match="damaged: the adapter doesn't fit the model"):
        load_segmenter(adapter=damaged)
    other = new_model(small_config(64, 32, 2, 2, 32))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="give the base it was made for"):
        load_segmenter(str(tmp_path / "other"), adapter)
    (adapter / "thresholds.json").write_text('{"pred_iou_thresh": 4}')
    with pytest.raises(InputError, match=r"thresholds\.json: the thresholds can't be read"):
        load_segmenter(adapter=adapter)
