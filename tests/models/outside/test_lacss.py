"""LACSS, the real package: trained with a thin network, saved, tuned; published files, read without running them."""

from __future__ import annotations

import pickle

import pytest

pytest.importorskip("lacss", reason="LACSS isn't installed: make test-models has it")

import numpy as np
from lacss.modules.convnext import ConvNeXt

from glioma_hf import InputError, Instances
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.card import card
from glioma_hf.models.outside.lacss import LacssConfig, LacssSegmenter, module_of
from glioma_hf.models.outside.lacss_crops import Crops
from glioma_hf.models.outside.lacss_pickle import read_published
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import Progress
from tests.models.contract import PAIR, SCENE

THIN = LacssConfig(
    fpn_dim=32, out_dim=32, n_layers_det=1, n_layers_seg=1, patch_dim=16, sig_dim=32, pos_emb_shape=(4, 4, 2)
)


@pytest.fixture(autouse=True)
def thin(monkeypatch):
    """An encoder of one thin layer a stage: the package's smallest takes minutes to compile."""

    def preconfigured(kind, name, patch_size=4, **words):
        return kind(patch_size, depths=(1, 1, 1, 1), dims=(32, 32, 32, 32), se_ratio=16, **words)

    monkeypatch.setattr(ConvNeXt, "get_preconfigured", classmethod(preconfigured))


def test_it_is_trained_saved_loaded_tuned_and_stopped(tmp_path):
    family = get_family("lacss")
    brief = {"max_steps": 12, "batch": 1, "crop": 64, "cells": 8, "network": THIN, "learning_rate": 3e-3}
    recipe = family.read_recipe("quick").model_copy(update=brief)
    told: list[Progress] = []
    segmenter = family.train("scratch", [PAIR], recipe, Run(on_progress=told.append, workers=0))
    losses = [p.loss for p in told]
    assert [p.done for p in told] == list(range(1, 13))
    assert told[-1].total == 12
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    heard: list[Progress] = []
    cells = segmenter.segment(SCENE.image, heard.append)
    assert cells.size == SCENE.image.shape
    assert heard[-1].share == 1
    ModelFolder(tmp_path / "one").write(family, segmenter, "scratch", recipe)
    again = load_segmenter(tmp_path / "one")
    assert again.settings == segmenter.settings
    assert again.segment(SCENE.image) == cells
    tuned, ap = family.tune(segmenter, [PAIR], lambda progress: None)
    assert type(tuned) is type(segmenter)
    assert 0 <= ap <= 1
    assert "Nothing in it was trained before" in card(family, "scratch", recipe)
    (tmp_path / "one" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"model\.safetensors: can't be read"):
        load_segmenter(tmp_path / "one")

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmenter.segment(SCENE.image, stop)


def test_outlines_become_cells_that_may_overlap():
    import jax

    weights = module_of(THIN).init(jax.random.PRNGKey(0), np.zeros((64, 64, 3), np.float32))["params"]
    segmenter = LacssSegmenter(THIN, weights).with_settings(scale=0.5)
    square = np.array([[5, 10], [15, 10], [15, 20], [5, 20]], float)  # x, y of the view, half as large
    found = segmenter.found(([0.6, 0.9, 0.7], [square, np.add(square, [5, 0]), square[:2]], (100, 80))).select(
        segmenter.settings
    )
    assert found.scores.tolist() == [0.9, 0.6]
    assert found.boxes.tolist() == [[20, 20, 20, 20], [10, 20, 20, 20]]
    assert found.areas.sum() > found.flatten().areas.sum()


def test_crops_show_cells_where_they_are_however_they_are_turned():
    image = np.zeros((80, 80), np.float32)
    image[20:40, 10:30] = 1
    cells = Instances.from_masks([image > 0, image < -1], image.shape, crowd=[False, True])
    crops = Crops([(image, cells)], 0.5, 64, 4, seed=1)
    for _ in range(8):
        pixels, places, masks, boxes = crops.one()
        assert pixels.shape == (64, 64, 3)
        assert (places[1:] == -1).all()
        assert boxes[0, 2:] - boxes[0, :2] == pytest.approx([10, 10])
        assert (boxes[0, :2] + boxes[0, 2:]) / 2 == pytest.approx(places[0])
        y, x = places[0].astype(int)
        assert pixels[y, x, 0] > 1
        assert masks[0].all()
    same = Crops([(image, cells)], 0.5, 64, 4, seed=1)
    again = Crops([(image, cells)], 0.5, 64, 4, seed=1)
    for one, other in zip(same.batch(2), again.batch(2), strict=True):
        assert np.array_equal(one, other)


def test_published_weights_are_read_by_name_and_without_those_for_depth(tmp_path, monkeypatch):
    import jax
    from lacss.modules import LPN, Segmentor
    from lacss.modules.backbone import Backbone

    weights = module_of(THIN).init(jax.random.PRNGKey(0), np.zeros((64, 64, 3), np.float32))["params"]
    said: dict = {"backbone": {}, "detector": {}, "segmentor": {}}
    for name, kind in (("backbone", Backbone), ("detector", LPN), ("segmentor", Segmentor)):
        said[name] = {field: getattr(THIN, field) for field in kind.__dataclass_fields__ if hasattr(THIN, field)}
    (tmp_path / "lacss3-small-l").write_bytes(pickle.dumps((said, {"params": {**weights, "detector_3d": {}}})))
    monkeypatch.setattr("glioma_hf.hub.fetch", lambda repo, names: tmp_path)
    segmenter = load_segmenter("lacss:small-2dL")
    assert segmenter.config == THIN
    assert set(segmenter.weights) == {"backbone", "detector", "segmentor"}
    (tmp_path / "lacss3-small-l").write_bytes(pickle.dumps((module_of(THIN), weights)))
    assert read_published(tmp_path / "lacss3-small-l")[0]["segmentor"]["patch_dim"] == 16
    monkeypatch.setattr("glioma_hf.hub.fetch", lambda repo, names: None)
    with pytest.raises(
        InputError, match=r"weights of lacss:small-2dN aren't here and jiyuuchc/lacss3-small-nips isn't"
    ):
        load_segmenter("lacss:small-2dN")


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path, capsys):
    for bad, says in (
        (({"backbone": Evil()}, {}), r"it names builtins\.print"),
        ((module_of, {}), r"it names glioma_hf\.models"),
        ((ConvNeXt.get_preconfigured, {}), "it names builtins.getattr"),
        ([], "not enough values"),
    ):
        (tmp_path / "file").write_bytes(pickle.dumps(bad))
        with pytest.raises(InputError, match=rf"file: not read as weights of LACSS \({says}.*where you trust it"):
            read_published(tmp_path / "file")
    assert "run" not in capsys.readouterr().out.split()
