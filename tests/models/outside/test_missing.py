"""Wrappers of other people's networks where their packages aren't installed, and what they share: no package needed."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors")

from pydantic import Field
from safetensors.numpy import save_file

from glioma_hf import InputError, Instances
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.card import card
from glioma_hf.models.outside.cellpose_size import read_parameters
from glioma_hf.models.outside.wrapped import (
    Found,
    ScaledSettings,
    WrappedSegmenter,
    fetched,
    label_maps,
    read_arrays,
    replaced,
    tuned,
)
from tests.conftest import ROOT
from tests.models.contract import PAIR, SCENE

tomllib = pytest.importorskip("tomllib")
# By family: its library, the extra that is named, a published name, and what its recipe is told of.
WRAPPED = {
    "cellpose": ("cellpose", "cellpose", "cyto3"),
    "stardist": ("stardist", "stardist", "2D_versatile_fluo"),
    "yolo": ("ultralytics", "yolo", "yolo11n-seg.pt"),
    "lacss": ("lacss", "lacss", "small-2dL"),
}


@pytest.fixture(params=WRAPPED)
def hidden(request, monkeypatch):
    """A family whose library isn't there, also where it is."""
    library, extra, base = WRAPPED[request.param]
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    sentence = f"{library} isn't installed; pip install 'glioma_hf[{extra}]' brings it"
    if library == "lacss":  # which asks for older libraries than all else
        sentence = sentence.replace("brings it", "and pip install --no-deps lacss==0.15.2 'xtrain<0.5' bring it")
    return get_family(request.param), sentence, base


def test_a_missing_package_is_told_in_a_sentence(hidden):
    family, sentence, base = hidden
    for act in (
        lambda: load_segmenter(f"{family.name}:{base}"),
        lambda: family.train("scratch", [PAIR], family.read_recipe(), Run(workers=0)),
    ):
        with pytest.raises(InputError) as told:
            act()
        assert str(told.value) == sentence


@pytest.mark.parametrize("name", WRAPPED)
def test_recipes_and_names_are_checked_without_it(name, tmp_path):
    family = get_family(name)
    assert family.recipe_names()[0] == "quick"
    for recipe in map(family.read_recipe, family.recipe_names()):
        assert family.recipe.model_validate_json(recipe.model_dump_json()) == recipe
        assert recipe.steps(15) > 0
        assert recipe.for_steps(12).steps(1) in range(1, 13)
        assert "Nothing in it was trained before".lower() in card(family, "scratch", recipe).lower()
    (tmp_path / "r.json").write_text('{"lerning_rate": 1}')
    with pytest.raises(InputError, match=r"r\.json: not a recipe of"):
        family.read_recipe(tmp_path / "r.json")
    with pytest.raises(InputError, match=rf"the model {name}:nowhere isn't known; it is one of {WRAPPED[name][2]}"):
        load_segmenter(f"{name}:nowhere")
    with pytest.raises(InputError, match=rf"the model {name}:scratch has seen no cell yet"):
        load_segmenter(f"{name}:scratch")
    for broken in ("{", '{"network": "../x"}'):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(InputError, match=r"config\.json: can't be read"):
            family.load("scratch", tmp_path)
    with pytest.raises(InputError, match="training image 1 has no annotated cell"):
        family.train("scratch", [(SCENE.image, Instances.empty(SCENE.image.shape))], family.read_recipe(), Run())


def test_ultralytics_comes_with_its_own_extra_alone():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bring = {extra for extra, needs in project["optional-dependencies"].items() if "ultralytics" in " ".join(needs)}
    assert bring == {"yolo"}
    taken = [need for needs in project["optional-dependencies"].values() for need in needs if "glioma_hf[" in need]
    assert not any("yolo" in need for need in [*taken, *project["dependencies"]])
    family = get_family("yolo")
    assert "AGPL-3.0" in card(family, "scratch", family.read_recipe())
    for path in (ROOT / "glioma_hf").rglob("*.py"):
        lines = path.read_text("utf-8").splitlines()
        assert not any(line.startswith(("import ultralytics", "from ultralytics")) for line in lines), path


def test_only_numbers_are_read_from_a_size_model(tmp_path, capsys):
    numbers = {"A": np.arange(3.0), "smean": np.ones(3), "ymean": np.float64(2), "diam_mean": 30.0}
    np.save(tmp_path / "size.npy", numbers)
    read = read_parameters(tmp_path / "size.npy")
    assert read["A"].tolist() == [0, 1, 2]
    assert (read["ymean"], read["diam_mean"]) == (2, 30)

    class Evil:
        def __reduce__(self):
            return print, ("run",)

    for bad, says in (
        ({"A": Evil()}, r"it names builtins\.print"),
        ({"A": 1}, "'smean'"),
        ([1], "not a size model"),
        ({**numbers, "A": Path("x")}, "it names pathlib"),
    ):
        np.save(tmp_path / "size.npy", np.array(bad, object))
        with pytest.raises(
            InputError, match=rf"size\.npy: not a size model of Cellpose .*{says}" if says[0] != "n" else says
        ):
            read_parameters(tmp_path / "size.npy")
    (tmp_path / "size.npy").write_bytes(pickle.dumps(numbers))
    with pytest.raises(InputError, match="not a size model"):
        read_parameters(tmp_path / "size.npy")
    assert "run" not in capsys.readouterr().out


class ToySettings(ScaledSettings):
    level: int = Field(100, ge=0, le=255)


class Toy(WrappedSegmenter):
    """Squares of a picture that are brighter than `level`, scored by how bright."""

    looks = 0

    def __init__(self):
        self.settings = ToySettings(min_area=1, cell_diameter=50.0)

    def look(self, image, on_progress=lambda progress: None):
        type(self).looks += 1
        return image

    def found(self, seen):
        values = [value for value in np.unique(seen) if value > self.settings.level]
        scores = [value / 255 for value in values]
        return Found(Instances.from_masks((seen == value for value in values), seen.shape, scores=scores))


def test_thresholds_are_those_of_the_highest_ap_and_the_network_looks_once():
    image = np.zeros((60, 100), np.uint8)
    image[10:30, 10:30], image[10:30, 50:70], image[40:55, 10:30], image[40:41, 60:62] = 250, 200, 120, 230
    cells = Instances.from_masks([image == 250, image == 200], image.shape)
    told = []
    best, ap = tuned(Toy(), [(image, cells)], {"level": (50, 150)}, told.append)
    assert (ap, Toy.looks) == (1.0, 1)
    assert told[-1].share == 1
    found = best.segment(image)
    assert overlap_ap([(found, cells)]).ap50 == 1.0
    assert found.scores.tolist() == [250 / 255, 200 / 255]
    assert found.ids.tolist() == [0, 1]
    assert len(best.with_score_threshold(0.9).segment(image)) == 1
    assert best.for_diameter(100.0).settings.scale == pytest.approx(0.5)
    assert best.diameter == 50
    unsaid = best.with_settings(cell_diameter=0.0)
    assert unsaid.diameter is None
    with pytest.raises(InputError, match="don't say how large the cells are"):
        unsaid.for_diameter(100.0)


def test_a_contested_pixel_is_the_firsts_or_the_lasts():
    left, right = np.zeros((2, 4, 6), bool)
    left[:, :4], right[:, 2:] = True, True
    cells = Instances.from_masks([left, right], (4, 6))
    assert label_maps([(left, cells)], "first")[0][0].tolist() == [1, 1, 1, 1, 2, 2]
    assert label_maps([(left, cells)], "last")[0][0].tolist() == [1, 1, 2, 2, 2, 2]


def test_published_weights_are_fetched_unless_the_hub_is_offline(tmp_path, monkeypatch):
    def refused():
        raise OSError("no such host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert fetched("x:y", tmp_path / "no", lambda: 7) == 7
    with pytest.raises(InputError, match=r"weights of x:y can't be fetched or read \(no such host\); put what its"):
        fetched("x:y", tmp_path / "no", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"weights of x:y aren't here and HF_HUB_OFFLINE is set; unset it, put"):
        fetched("x:y", tmp_path / "no", lambda: 7)
    assert fetched("x:y", tmp_path, lambda: 7) == 7


def test_a_library_is_heard_only_for_a_while():
    def broken_off() -> None:
        with replaced(sys, "platform", "other"):
            assert sys.platform == "other"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert sys.platform != "other"


def test_arrays_are_those_expected_and_numbers(tmp_path):
    expected = {"b": np.zeros((2, 3), np.float32), "a": np.zeros(4, np.float32)}
    path = tmp_path / "model.safetensors"
    save_file(expected, path)
    assert list(read_arrays(path, expected)) == ["b", "a"]
    for changed, says in (
        ({"a": expected["a"]}, r"it lacks b \(and 0 more\)"),
        ({**expected, "c": expected["a"]}, r"it holds the unknown c"),
        ({**expected, "a": np.zeros(5, np.float32)}, r"a is of shape \[5\], expected \[4\]"),
        ({**expected, "a": np.full(4, np.nan, np.float32)}, "aren't finite"),
        ({**expected, "a": np.zeros(4, np.int64)}, "aren't finite"),
    ):
        save_file(changed, path)
        with pytest.raises(InputError, match=says):
            read_arrays(path, expected)
    path.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"model\.safetensors: can't be read"):
        read_arrays(path, expected)
