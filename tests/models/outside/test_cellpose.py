"""Cellpose 3, the real package: what is published by name (with weights of chance), trained, tuned and saved."""

from __future__ import annotations

import pickle
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest
from skimage.draw import disk

torch = pytest.importorskip("torch")
try:
    THERE = version("cellpose")
except PackageNotFoundError:
    THERE = ""
if not THERE.startswith("3."):
    pytest.skip("Cellpose 3 isn't installed: make test-models has it", allow_module_level=True)

from glioma_hf import InputError, Instances
from glioma_hf.models import load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.card import card
from glioma_hf.models.outside.cellpose import CellposeSegmenter
from glioma_hf.models.outside.cellpose_package import library, new_model
from tests.models.contract import PAIR, SCENE
from tests.models.outside.wrapped import WrappedContract


class TestCellpose(WrappedContract):
    name = "cellpose"
    overlaps = False
    loose = {"cellprob_threshold": -1.0, "flow_threshold": 0.0, "min_area": 1}  # noqa: RUF012
    brief = {"epochs": 25, "images_per_epoch": 4, "batch": 4, "crop": 96}  # noqa: RUF012

    def test_its_card_says_where_it_comes_from(self, family):
        text = card(family, "scratch", family.read_recipe("paper"))
        assert "Nothing in it was trained before" in text
        assert "base_model" not in text
        assert "published ones" in card(family, "cyto3", family.read_recipe("paper"))


def test_the_error_of_flows_chooses_as_the_package_does():
    # Discs whose flows are the worse the later they come, each with a hole in it, which counts for the error alone.
    rng, dynamics = np.random.default_rng(0), library().dynamics
    labels = np.zeros((128, 192), np.int32)
    holes = np.zeros(labels.shape, bool)
    for number, (row, column) in enumerate([(r, c) for r in (32, 96) for c in (32, 96, 160)], start=1):
        labels[disk((row, column), 24)] = number
        holes[disk((row + 12, column), 5)] = True
    noise = rng.normal(size=(2, *labels.shape)) * labels * 0.4
    flows = (5 * dynamics.masks_to_flows(labels) + noise).astype(np.float32)
    logits = np.where((labels > 0) & ~holes, 5, -5).astype(np.float32)
    segmenter = CellposeSegmenter(new_model(3), 3).with_settings(flow_threshold=0.0, min_area=1)
    found = segmenter.found((flows, logits, 1.0))
    assert len(found.candidates) >= 6
    for threshold in np.sort(found.errors)[:-1] + 1e-6:
        theirs = dynamics.resize_and_compute_masks(flows, logits, niter=200, flow_threshold=threshold, min_size=1)
        ours = found.select(segmenter.settings.model_copy(update={"flow_threshold": float(threshold)}))
        assert 0 < len(ours) == theirs.max() < len(found.candidates)
        assert ours.iou(Instances.from_label_map(theirs)).max(1).min() == 1


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder where Cellpose keeps what it fetched, empty."""
    import cellpose.models

    monkeypatch.setattr(cellpose.models, "MODEL_DIR", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def published(models, name: str = "cyto3", diameter: float = 30.0) -> None:
    """Weights of chance under a published name, as its authors keep them, and a size model."""
    from cellpose.resnet_torch import CPnet

    torch.manual_seed(0)
    net = CPnet([2, 32, 64, 128, 256], 3, sz=3, diam_mean=diameter)
    net.save_model(models / name)
    numbers = {"A": np.zeros(256), "smean": np.zeros(256), "ymean": np.float64(0.5), "diam_mean": diameter}
    np.save(models / f"size_{name}.npy", numbers)


def test_published_weights_are_loaded_by_name_with_their_size_model(models):
    published(models)
    segmenter = load_segmenter("cellpose:cyto3")
    assert segmenter.origin == "cellpose:cyto3"
    image = SCENE.image.astype(np.float32)
    _, by_style = segmenter.sizes.eval(image, channels=[0, 0])
    assert by_style == pytest.approx(30 * np.exp(0.5))
    *_, estimated = segmenter.look(SCENE.image)
    *_, given = segmenter.for_diameter(60.0).look(SCENE.image)
    assert given == pytest.approx(30 / 60)
    assert estimated != given
    assert segmenter.segment(SCENE.image).size == SCENE.image.shape


def test_training_goes_on_from_published_weights_and_from_a_folder(models, tmp_path):
    from glioma_hf.models import get_family
    from glioma_hf.models.saved import ModelFolder

    published(models)
    family = get_family("cellpose")
    recipe = family.read_recipe("paper").model_copy(update={"epochs": 1, "learning_rate": 1e-4})
    segmenter = family.train("cyto3", [PAIR], recipe, Run(workers=0))
    ModelFolder(tmp_path / "one").write(family, segmenter, "cyto3", recipe)
    assert segmenter.model.diam_labels > 5  # pixels: the mean of the cells in training
    again = family.train(str(tmp_path / "one"), [PAIR], recipe, Run(workers=0))
    assert again.segment(SCENE.image).size == SCENE.image.shape


def test_weights_that_arent_here_are_told(models):
    with pytest.raises(InputError, match=r"weights of cellpose:nuclei aren't here and HF_HUB_OFFLINE is set"):
        load_segmenter("cellpose:nuclei")
    published(models)
    (models / "size_cyto3.npy").unlink()
    with pytest.raises(InputError, match=r"publish at .*size_cyto3\.npy"):
        load_segmenter("cellpose:cyto3")


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_files_with_code_in_them_are_refused_and_not_run(models, capsys):
    published(models)
    np.save(models / "size_cyto3.npy", {"A": Evil()})
    with pytest.raises(InputError, match=r"size_cyto3\.npy: not a size model of Cellpose \(it names builtins\.print\)"):
        load_segmenter("cellpose:cyto3")
    torch.save({"output.2.weight": Evil()}, models / "cyto3")
    with pytest.raises(InputError, match=r"cyto3: not the weights of cellpose:cyto3"):
        load_segmenter("cellpose:cyto3")
    (models / "cyto3").write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match=r"cyto3: not the weights of cellpose:cyto3"):
        load_segmenter("cellpose:cyto3")
    assert "run" not in capsys.readouterr().out.split()


def test_the_other_version_and_another_recipe_are_named(models):
    from glioma_hf.models import get_family

    with pytest.raises(InputError, match=r"cellpose:cpsam wants Cellpose 4, and 3\..* .glioma_hf\[cellpose4\]"):
        load_segmenter("cellpose:cpsam")
    family = get_family("cellpose")
    with pytest.raises(InputError, match=r"a network of Cellpose 3; give a recipe of it \(--recipe quick\)"):
        family.train("scratch", [PAIR], family.read_recipe("cpsam"), Run())
    with pytest.raises(InputError, match=r"cellpose:nowhere isn't known; it is one of cyto3, "):
        load_segmenter("cellpose:nowhere")
