"""Training on images without labels: which cells are taken for sure, and what the command makes of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from glioma_hf import InputError, Instances, train
from glioma_hf.data.splits import load_images
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import ignore, to_lines
from glioma_hf.workflows.unlabelled import TURNS, pseudo_labels
from tests.cli.test_cli import refused, run
from tests.models.dummy import DummySegmenter
from tests.strategies import square

pytestmark = pytest.mark.usefixtures("dummy")


class Bright(DummySegmenter):
    """Finds bright squares; of those brighter than 200 it sees but the upper half, wherever up is."""

    def __init__(self):
        super().__init__(1.0)

    def segment(self, image, on_progress=ignore) -> Instances:
        found = Instances.from_label_map(np.where(image > 0, image, 0).astype(np.int32))
        halves = []
        for mask, corner in found.box_masks():
            value = image[corner[0], corner[1]]
            halves.append((mask[: mask.shape[0] // 2] if value > 200 else mask, corner))
        return Instances.from_box_masks(halves, image.shape, scores=np.ones(len(halves)))


def test_masks_are_turned_back_to_where_they_were():
    cells = Instances.from_polygons([square(3, 7, 10), square(20, 1, 5)], (30, 40))
    rng = np.random.default_rng(0)
    for turn in TURNS:
        masks = [turn.image(mask) for mask in cells.to_masks()]
        turned = Instances.from_masks(masks)
        back = Instances.from_box_masks((turn.back(each, (30, 40)) for each in turned.box_masks()), (30, 40))
        assert back.rles == cells.rles
        image = rng.random((30, 40))
        assert turn.image(image).sum() == pytest.approx(image.sum())


def test_cells_that_change_with_the_image_are_not_sure():
    image = np.zeros((60, 80), np.uint8)
    image[5:15, 6:16], image[30:40, 50:60] = 100, 250
    sure = pseudo_labels(Bright(), image)
    assert sure.boxes.tolist() == [[6, 5, 10, 10]]
    assert sure.scores is None
    assert len(pseudo_labels(Bright(), np.zeros((20, 30), np.uint8))) == 0


@pytest.fixture
def images(folder, tmp_path):
    """A folder with an image of cells and one of nothing."""
    (tmp_path / "images").mkdir()
    Image.fromarray(load_images(folder, "test")[0].pixels).save(tmp_path / "images" / "cells.png")
    Image.fromarray(np.full((50, 60), 90, np.uint8)).save(tmp_path / "images" / "empty.png")
    return tmp_path / "images"


def test_a_model_learns_from_images_without_labels(folder, images, tmp_path):
    lines: list[str] = []
    scores = train(folder, [1], tmp_path / "model", "dummy", unlabelled=images, on_progress=to_lines(lines.append))
    assert scores.unlabelled_images == ["cells.png"]
    assert scores.training_images == ["train_001.tif"]
    told = "\n".join(lines)
    assert "first a model that labels" in told
    assert "empty.png, without labels: no sure cell: left out" in told
    saved = ModelFolder(tmp_path / "model")
    assert saved.scores().unlabelled_images == ["cells.png"]
    assert "Trained too on cells.png, with labels that a model gave them" in (saved.path / "README.md").read_text()
    assert not (saved.path / ".work").exists()


def test_a_teacher_labels_in_its_place(folder, images, tmp_path):
    train(folder, [1, 2], tmp_path / "teacher", "dummy")
    out = tmp_path / "model"
    options = ["--model", "dummy", "--unlabelled", images, "--teacher", tmp_path / "teacher"]
    done = run("train", "--data", folder, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert "first a model" not in done.stdout + done.stderr
    assert json.loads((out / "scores.json").read_text())["unlabelled_images"] == ["cells.png"]


def test_what_can_not_be_used_is_refused_before_any_work(folder, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no image lies there"):
        train(folder, [1], tmp_path / "model", "dummy", unlabelled=tmp_path / "none")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    said: list[str] = []
    with pytest.raises(InputError, match=r"broken\.png"):
        train(folder, [1], tmp_path / "model", "dummy", None, "cells", to_lines(said.append), unlabelled=[broken])
    assert said == []  # and not after the first of two trainings
    with pytest.raises(InputError, match="the teacher centres labels images without labels, and there are none"):
        train(folder, [1], tmp_path / "model", "dummy", teacher="centres")
    broken.unlink()
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    assert not (tmp_path / "model").exists()
    assert "can't be loaded" in refused(
        "train", "--data", folder, "--out", tmp_path / "m", "--unlabelled", tmp_path, "--teacher", "centres:nowhere"
    )
