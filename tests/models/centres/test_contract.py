from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from glioma_hf.models.card import card
from glioma_hf.models.centres.recipe import NetworkConfig
from tests.models.contract import FamilyContract

TINY = NetworkConfig(encoder="tiny", frozen_features=None, widths=(8, 8, 8, 8), features=4, hidden=4, controller=8)


class TestCentres(FamilyContract):
    name = "centres"
    loose = {  # noqa: RUF012
        "score_thresh": 0.0,
        "centre_thresh": 0.01,
        "min_area": 1,
        "mask_nms_iou": 0.95,
        "mask_nms_cover": 1.0,
    }

    @pytest.fixture
    def base(self) -> str:
        return "random"

    @pytest.fixture
    def recipe(self, family):
        brief = {"network": TINY, "max_steps": 3, "batch": 2, "crop": 64, "max_cells": 4, "precision": "fp32"}
        return family.read_recipe("quick").model_copy(update=brief)

    def test_its_card_names_what_it_stands_on(self, family):
        text = card(family, "imagenet", family.read_recipe())
        assert "EfficientNet-Lite0 with ImageNet weights, Copyright" in text
        assert "DeepSea's segmentation network, Copyright" in text
        assert "base_model" not in text  # no model of the Hub
        assert "Nothing in it was trained before" in card(family, "random", family.read_recipe())
