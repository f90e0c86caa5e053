"""StarDist, the real package: trained, tuned, saved, and what is published by name (with weights of chance)."""

from __future__ import annotations

import pytest

pytest.importorskip("stardist.models", reason="StarDist with TensorFlow isn't installed: make test-models has it")

import numpy as np

from glioma_hf import InputError
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.card import card
from glioma_hf.models.outside.stardist import StarDistSegmenter, built, nearest
from glioma_hf.models.saved import ModelFolder
from tests.models.contract import PAIR, SCENE
from tests.models.outside.wrapped import WrappedContract


class TestStarDist(WrappedContract):
    name = "stardist"
    loose = {"score_thresh": 0.05, "nms_thresh": 0.9, "min_area": 1}  # noqa: RUF012
    brief = {"epochs": 2, "steps_per_epoch": 15, "batch": 2, "patch": 96, "filters": 8, "learning_rate": 0.001}  # noqa: RUF012

    def test_cells_are_scaled_to_what_the_network_sees(self, trained, recipe):
        assert trained.settings.scale == pytest.approx(recipe.diameter / trained.settings.cell_diameter)

    def test_cells_of_another_size_are_seen_at_another_scale(self, trained):
        wide = trained.for_diameter(2 * trained.settings.cell_diameter)
        assert wide.settings.scale == pytest.approx(trained.settings.scale / 2)
        assert wide.segment(np.kron(SCENE.image, np.ones((2, 2), np.uint8))).size == (256, 320)

    def test_its_card_says_where_it_comes_from(self, family):
        text = card(family, "scratch", family.read_recipe())
        assert "32 rays. Nothing in it was trained before" in text
        assert "base_model" not in text


def test_a_label_map_at_another_size_has_the_nearest_labels():
    labels = np.arange(1, 13).reshape(3, 4)
    assert nearest(labels, (3, 4)).tolist() == labels.tolist()
    assert nearest(np.kron(labels, np.ones((3, 3), int)), (3, 4)).tolist() == labels.tolist()
    assert nearest(labels, (6, 8)).tolist() == np.kron(labels, np.ones((2, 2), int)).tolist()


def test_polygons_lie_where_they_are_in_full_resolution_and_may_overlap():
    from stardist.models import Config2D

    segmenter = StarDistSegmenter(built(Config2D(unet_n_filter_base=4))).with_settings(scale=0.5, min_area=1)
    places, distances = np.array([[20, 30], [20, 36], [20, 31]]), np.full((3, 32), 5.0, np.float32)
    seen = (np.array([0.9, 0.8, 0.6], np.float32), distances, places, (100, 120))
    found = segmenter.found(seen).select(segmenter.settings)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])  # the third is the first again
    x, y, w, h = found.boxes.T
    assert (x + w / 2).tolist() == pytest.approx([61, 73], abs=0.5)  # (30 + 0.5) / 0.5
    assert (y + h / 2).tolist() == pytest.approx([41, 41], abs=0.5)
    assert w.tolist() == pytest.approx([20, 20], abs=1)
    assert found.areas.sum() > found.flatten().areas.sum()
    assert len(segmenter.with_score_threshold(0.95).found(seen).candidates) == 0


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where Keras keeps what it fetched, empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_published_weights_are_loaded_by_name(home, monkeypatch, channels):
    """The package's own way from a name to a model, with weights of chance in place of those that it fetches."""
    from csbdeep.models import pretrained
    from stardist.models import Config2D, StarDist2D

    folder = home / "models" / "StarDist2D" / "2D_versatile_he"
    model = StarDist2D(Config2D(n_channel_in=channels, unet_n_filter_base=4), folder.name, str(folder.parent))
    model.keras_model.save_weights(str(folder / "weights_best.h5"))
    (folder / "thresholds.json").write_text('{"prob": 0.69, "nms": 0.3}')
    monkeypatch.setattr(pretrained, "get_model_folder", lambda kind, name: folder)
    segmenter = load_segmenter("stardist:2D_versatile_he")
    assert (segmenter.settings.score_thresh, segmenter.settings.nms_thresh) == (0.69, 0.3)
    assert segmenter.segment(SCENE.image).size == SCENE.image.shape
    family = get_family("stardist")
    recipe = family.read_recipe("quick").model_copy(update={"epochs": 1, "steps_per_epoch": 1, "patch": 64})
    trained = family.train("2D_versatile_he", [PAIR], recipe, Run(workers=0))
    ModelFolder(home / "one").write(family, trained, "2D_versatile_he", recipe)
    assert load_segmenter(home / "one").segment(SCENE.image) == trained.segment(SCENE.image)


def test_weights_that_arent_here_are_told(home):
    with pytest.raises(
        InputError, match=r"weights of stardist:2D_versatile_fluo aren't here and HF_HUB_OFFLINE is set"
    ):
        load_segmenter("stardist:2D_versatile_fluo")
    with pytest.raises(InputError, match=r"stardist:nowhere isn't known; it is one of 2D_versatile_fluo, "):
        load_segmenter("stardist:nowhere")
    with pytest.raises(InputError, match=r"stardist:scratch has seen no cell yet"):
        load_segmenter("stardist:scratch")
