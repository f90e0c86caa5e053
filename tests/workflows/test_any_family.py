"""What the commands do with a family that they know nothing of: the dummy."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import yaml

from glioma_hf import InputError, quickstart, train
from glioma_hf.models import FAMILIES, get_family, load_segmenter
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import Progress, to_lines
from glioma_hf.workflows.training import teach
from tests.cli.test_cli import refused, run
from tests.models.contract import PAIR
from tests.models.dummy import FAMILY

pytestmark = pytest.mark.usefixtures("dummy")


@pytest.fixture
def model(folder, tmp_path):
    train(folder, [1, 2], tmp_path / "model", "dummy")
    return tmp_path / "model"


def test_a_saved_model_has_all_its_files(model):
    names = {p.name for p in model.iterdir() if not p.name.startswith(".")}
    assert names == {"README.md", "level.json", "model.json", "recipe.json", "scores.json", "thresholds.json"}
    assert json.loads((model / "model.json").read_text()) == {
        "format": 1,
        "family": "dummy",
        "base": "plain",
        "task": "cells",
    }
    card = (model / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "plain"
    assert "A dummy that tried 4 levels." in card


def test_it_is_pushed_with_a_card_that_loads_it(model):
    done = run("push", model, "--repo", "me/dummy", "--dry-run")
    assert done.stdout.startswith("would push README.md, level.json, model.json")
    (model / "private.txt").write_text("mine")
    assert "private" not in run("push", model, "--repo", "me/dummy", "--dry-run").stdout


def test_quickstart_runs_with_any_family(archive, tmp_path):
    lines: list[str] = []
    scores = quickstart(tmp_path / "out", archive, 1, None, "dummy", to_lines(lines.append))
    assert list(scores["models"]) == ["dummy: base", "dummy: dummy, one image"]
    trained = scores["models"]["dummy: dummy, one image"]
    assert (trained["family"], trained["base_model"], trained["trained"]) == ("dummy", "plain", True)
    assert any("step 4 of 4" in line for line in lines)
    assert "dummy, one image" in (tmp_path / "out" / "report.html").read_text()
    assert ModelFolder(tmp_path / "out" / "dummy").family().name == "dummy"


def test_quickstart_compares_models_of_several_families(archive, tmp_path, monkeypatch):
    other = ModuleType("other_dummy")
    other.FAMILY = replace(FAMILY, name="other")
    monkeypatch.setitem(sys.modules, "other_dummy", other)
    monkeypatch.setitem(FAMILIES, "other", "other_dummy")
    scores = quickstart(tmp_path / "out", archive, 1, None, ["dummy", "other"])
    assert [(row["family"], row["trained"]) for row in scores["models"].values()] == [
        ("dummy", False),
        ("dummy", True),
        ("other", False),
        ("other", True),
    ]
    assert ModelFolder(tmp_path / "out" / "other").family().name == "other"
    assert {p.stem for p in (tmp_path / "out" / "results").iterdir()} == {
        f"{name}_{kind}" for name in ("dummy", "other") for kind in ("base", "tuned")
    }
    with pytest.raises(InputError, match="a recipe is for one family and 2 were asked for; give one model"):
        quickstart(tmp_path / "x", archive, 1, "quick", ["dummy", "other"])
    with pytest.raises(InputError, match="models of one family are compared one run each; dummy, dummy was asked"):
        quickstart(tmp_path / "x", archive, 1, None, ["dummy", "dummy:plain"])
    assert not (tmp_path / "x").exists()


def test_a_recipe_of_another_family_is_refused(folder, tmp_path):
    line = refused("train", "--data", folder, "--model", "dummy", "--recipe", "paper", "--out", tmp_path / "m")
    assert "the recipe 'paper' isn't known; it is quick or a JSON file" in line
    (tmp_path / "sam.json").write_text(get_family("sam").read_recipe().model_dump_json())
    arguments = ("--model", "dummy", "--recipe", tmp_path / "sam.json", "--out", tmp_path / "m")
    assert "not a recipe of Dummy" in refused("train", "--data", folder, *arguments)


def test_a_base_of_another_family_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="holds a model of Dummy, embedded is one of LoRA adapter of SAM"):
        load_segmenter("embedded", model)
    with pytest.raises(InputError, match="the model nothing can't be loaded"):
        load_segmenter("dummy:nothing")


def test_thresholds_and_settings_are_taken_in_their_order(model, tmp_path):
    kept = json.loads((model / "thresholds.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps({**kept, "score_threshold": 0.66, "widen": 5}))
    segmenter = load_segmenter(model, thresholds=tmp_path / "t.json", widen=2, diameter=33)
    assert segmenter.settings.model_dump() == {"score_threshold": 0.66, "widen": 2, "cell_diameter": 33.0}
    assert load_segmenter(model).settings.model_dump() == kept


def test_what_is_taught_on_one_image_is_a_saved_model(tmp_path):
    told: list[Progress] = []
    ap = teach(*PAIR, tmp_path / "taught", "dummy", on_progress=told.append)
    assert 0 <= ap <= 1
    assert [p.message for p in told if p.message] == ["choosing thresholds on the image itself"]
    saved = ModelFolder(tmp_path / "taught")
    assert saved.scores() is None
    assert "It was scored on no data set" in (tmp_path / "taught" / "README.md").read_text()
    assert load_segmenter(saved.path).segment(PAIR[0]).size == PAIR[0].shape


def test_training_again_replaces_only_what_it_made(model, folder, tmp_path):
    assert train(folder, [1], model, "dummy") is not None
    shutil.rmtree(model)
    model.mkdir()
    (model / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        train(folder, [1], model, "dummy")
    assert (model / "mine.txt").read_text() == "mine"


def test_a_family_of_another_package_says_that_it_isnt_resumed(folder, tmp_path, monkeypatch):
    lines: list[str] = []
    train(folder, [1], tmp_path / "here", "dummy", on_progress=to_lines(lines.append))
    assert "fine-tuning: train_001.tif" in lines
    module = ModuleType("tests.models.theirs")
    module.FAMILY = replace(FAMILY, name="theirs", package="json")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FAMILIES, "theirs", module.__name__)
    train(folder, [1], tmp_path / "theirs", "theirs", on_progress=to_lines(lines.append))
    assert "fine-tuning (a run of theirs that is broken off begins anew): train_001.tif" in lines


def test_a_family_whose_library_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(FAMILIES, "broken", "tests.models.no_such_module")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        get_family("broken")
    with pytest.raises(InputError, match=f"'nowhere' isn't known; it is one of {', '.join(FAMILIES)}"):
        get_family("nowhere")
