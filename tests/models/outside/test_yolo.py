"""YOLO11-seg, the real package: several classes and overlapping masks trained, tuned and saved; published weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("ultralytics", reason="ultralytics isn't installed: make test-models has it")

import numpy as np
import torch

from glioma_hf import InputError, Instances
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run, Segmenter
from glioma_hf.models.saved import card
from glioma_hf.progress import Progress
from tests.models.contract import PAIR, SCENE, FamilyContract

KEPT: list[Segmenter] = []
TOLD: list[Progress] = []


class TestYolo(FamilyContract):
    name = "yolo"
    loose = {"score_thresh": 0.02, "box_nms_iou": 0.95, "min_area": 1}  # noqa: RUF012

    @pytest.fixture
    def base(self) -> str:
        return "scratch"

    @pytest.fixture
    def recipe(self, family):
        brief = {"epochs": 40, "size": 160, "batch": 1, "mosaic": 0.0, "close_mosaic": 0}
        return family.read_recipe("quick").model_copy(update=brief)

    @pytest.fixture
    def trained(self, family, base, recipe) -> Segmenter:
        """Trained once: segmenters don't change."""
        if not KEPT:
            run = Run(on_progress=TOLD.append, workers=0)
            KEPT.append(family.train(base, [PAIR], recipe, run).with_settings(**self.loose))
        return KEPT[0]

    def test_it_learns(self, trained):
        losses = [p.loss for p in TOLD]
        assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])

    def test_its_card_says_whose_it_is(self, family):
        text = card(family, "scratch", family.read_recipe())
        assert "AGPL-3.0" in text
        assert "base_model" not in text
