"""The trained models that come with the package."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from glioma_hf import load_segmenter, overlap_ap
from glioma_hf.models import find_base
from glioma_hf.models.centres.family import COMES_ALONG, FAMILY, SHIPPED
from glioma_hf.models.saved import ModelFolder
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene


def test_they_are_small_and_their_sources_are_named():
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) < 16e6
    notice = (SHIPPED / "NOTICE").read_text("utf-8")
    for whose in ("ML Illustrated", "abzargar", "Nelson Gonzabato", "Okinawa Institute"):
        assert whose in notice


@pytest.mark.parametrize("name", COMES_ALONG)
def test_each_says_what_it_is(name):
    folder = SHIPPED / name
    card = (folder / "README.md").read_text("utf-8")
    for word in ("T98G", "Apache-2.0", "MIT", "AP50", "pretrain"):
        assert word in card
    assert ModelFolder(folder).family() == FAMILY
    assert FAMILY.recipe.model_validate_json((folder / "recipe.json").read_text())
    assert json.loads((folder / "scores.json").read_text())["training_images"]
    for file in folder.iterdir():
        assert not file.name.endswith((".pth", ".bin", ".pt"))


@pytest.mark.parametrize("name", COMES_ALONG)
def test_each_finds_cells_as_it_comes(name):
    scenes = [generate_scene((9, number), SceneConfig(width=384, height=320, scale=(1.2, 1.2))) for number in range(2)]
    segmenter = load_segmenter(f"centres:{name}", views=1)
    assert segmenter.settings == ModelFolder(SHIPPED / name).settings().model_copy(update={"views": 1})
    scores = overlap_ap([(segmenter.segment(scene.image), scene.instances()) for scene in scenes])
    assert scores.ap50 > (0.5 if name == "general" else 0.2)  # the other has seen none of these in its last training


def test_general_is_the_default():
    assert find_base("centres")[1] == "general"
