from __future__ import annotations

import json

import pytest

from glioma_hf.models.saved import ModelFolder
from tests.models.contract import FamilyContract


class TestSam(FamilyContract):
    name = "sam"
    loose = {  # noqa: RUF012
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "min_area": 1,
        "max_area_share": 1.0,
        "mask_nms_iou": 0.9,
        "mask_nms_cover": 1.0,
        "centre_thresh": 0.01,
    }

    @pytest.fixture
    def base(self, tiny_model, tmp_path_factory) -> str:
        folder = tmp_path_factory.mktemp("tiny")
        tiny_model.save_pretrained(folder)
        return str(folder)

    @pytest.fixture
    def recipe(self, family):
        brief = {"epochs": 1, "tiles_per_image": 8, "batch": 2, "max_cells": 4, "precision": "fp32"}
        return family.read_recipe("quick").model_copy(update=brief)

    def test_an_adapter_names_its_base(self, family, trained, recipe, tmp_path):
        ModelFolder(tmp_path).write(family, trained, "embedded", recipe)
        assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "embedded"
