"""YOLO11-seg, the real package: several classes and overlapping masks trained, tuned and saved; published weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("ultralytics", reason="ultralytics isn't installed: make test-models has it")

import numpy as np
import torch

from glioma_hf import InputError, Instances
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.card import card
from glioma_hf.models.saved import ModelFolder
from tests.models.contract import PAIR, SCENE
from tests.models.outside.wrapped import WrappedContract


class TestYolo(WrappedContract):
    name = "yolo"
    loose = {"score_thresh": 0.0, "box_nms_iou": 0.95, "min_area": 1, "max_det": 30}  # noqa: RUF012
    brief = {"epochs": 12, "size": 160, "batch": 1, "mosaic": 0.0, "nominal_batch": 1, "warmup_epochs": 0.0}  # noqa: RUF012
    falls = 0.9

    def test_it_tells_the_categories_of_its_training_apart(self, trained):
        assert trained.config.classes == ("cell", "cell_a")
        assert trained.settings.scale == 1.0

    def test_its_card_says_whose_it_is(self, family):
        text = card(family, "scratch", family.read_recipe())
        assert "AGPL-3.0" in text
        assert "base_model" not in text


@pytest.fixture
def segmenter():
    """A network of start values that tells two classes apart."""
    from glioma_hf.models.outside.yolo import YoloConfig, YoloSegmenter
    from glioma_hf.models.outside.yolo_package import new_net

    return YoloSegmenter(new_net("yolo11n-seg", 2), YoloConfig(network="yolo11n-seg", classes=("cell_a", "soma")))


def detections(*rows: tuple[list[float], list[float], list[float]]) -> torch.Tensor:
    """What the network says: boxes (middle and sides), confidences of two classes, coefficients of two prototypes."""
    return torch.tensor([[*box, *chances, *weights] for box, chances, weights in rows]).T[None]


def test_masks_lie_where_they_are_in_full_resolution_and_overlap(segmenter):
    prototypes = torch.full((2, 16, 32), -5.0)  # of a view of 64 x 128 pixels
    prototypes[0, 2:10, 4:16] = 5.0  # rows 8 ... 40, columns 16 ... 64 of it
    prototypes[1, 6:14, 10:24] = 5.0
    rows = detections(
        ([40.0, 24.0, 48.0, 32.0], [0.9, 0.0], [1.0, 0.0]),
        ([68.0, 40.0, 56.0, 32.0], [0.0, 0.6], [0.0, 1.0]),  # another class, over it
        ([41.0, 24.0, 48.0, 32.0], [0.5, 0.0], [1.0, 0.0]),  # the first again
        ([20.0, 24.0, 8.0, 32.0], [0.1, 0.0], [1.0, 0.0]),  # too unsure
    )
    half = segmenter.with_settings(scale=0.5)  # the image has twice as many pixels a side
    found = half.found((rows, prototypes, (128, 256))).select(half.settings)
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.categories.tolist() == [1, 3]
    (x, y, w, h), second = found.boxes.tolist()
    assert (x, y, w, h) == pytest.approx((32, 16, 96, 64), abs=4)
    assert second == pytest.approx((80, 48, 112, 64), abs=4)
    assert found.areas.sum() > found.flatten().areas.sum()
    assert len(half.with_settings(box_nms_iou=1.0).found((rows, prototypes, (128, 256))).candidates) == 3


def test_a_box_cuts_its_mask(segmenter):
    prototypes = torch.full((2, 16, 16), 5.0)
    rows = detections(([32.0, 32.0, 24.0, 16.0], [0.9, 0.0], [1.0, 0.0]))
    found = segmenter.found((rows, prototypes, (64, 64))).candidates
    assert found.boxes[0].tolist() == pytest.approx([20, 24, 24, 16], abs=4)


def test_outlines_are_written_as_the_package_reads_them(tmp_path):
    from glioma_hf.models.outside.yolo_training import write_data_set

    mask = np.zeros((20, 40), bool)
    mask[5:15, 10:30] = True
    cells = Instances.from_masks([mask, mask], mask.shape, categories=[1, 3], crowd=[False, True])
    write_data_set([(mask.astype(np.uint8), cells)], [1, 3], tmp_path)
    number, *outline = (tmp_path / "labels" / "00000.txt").read_text().split()
    corners = np.array(outline, float).reshape(-1, 2)
    assert number == "0"  # the crowd region is left out
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([0.25, 0.25], [0.75, 0.75])


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The folder where the package keeps what it fetched, empty."""
    from glioma_hf.models.outside.yolo_package import library

    monkeypatch.setattr(library().utils, "SETTINGS", {"weights_dir": str(tmp_path)})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def test_published_weights_are_loaded_by_name(weights, tmp_path):
    from ultralytics.nn.tasks import SegmentationModel

    net = SegmentationModel("yolo11n-seg.yaml", nc=80, verbose=False).half()
    torch.save({"model": net, "ema": None, "train_args": {}, "date": "today"}, weights / "yolo11n-seg.pt")
    segmenter = load_segmenter("yolo:yolo11n-seg.pt")
    first = next(iter(net.state_dict().values()))
    assert torch.equal(next(iter(segmenter.net.state_dict().values())), first.float())
    assert segmenter.segment(SCENE.image).size == SCENE.image.shape
    family = get_family("yolo")
    recipe = family.read_recipe("quick").model_copy(update={"epochs": 1, "size": 96, "batch": 1, "mosaic": 0.0})
    trained = family.train("yolo11n-seg.pt", [PAIR], recipe, Run(workers=0))
    ModelFolder(tmp_path / "one").write(family, trained, "yolo11n-seg.pt", recipe)
    again = family.train(str(tmp_path / "one"), [PAIR], recipe, Run(workers=0))
    assert again.config == trained.config


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_file_with_code_in_it_is_refused_and_not_run(weights, capsys):
    with pytest.raises(InputError, match=r"weights of yolo:yolo11n-seg.pt aren't here and HF_HUB_OFFLINE is set"):
        load_segmenter("yolo:yolo11n-seg.pt")
    torch.save({"model": Evil(), "ema": None}, weights / "yolo11n-seg.pt")
    with pytest.raises(InputError, match=r"weights of yolo:yolo11n-seg.pt can't be fetched or read"):
        load_segmenter("yolo:yolo11n-seg.pt")
    assert "run" not in capsys.readouterr().out.split()
