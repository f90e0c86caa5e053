from __future__ import annotations

import json

import pytest

from glioma_hf import InputError
from glioma_hf.models import FAMILIES, load_segmenter
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

    def test_an_adapter_that_peft_alone_saved_is_read_too(self, family, trained, base, recipe, tmp_path):
        from peft import get_peft_model_state_dict

        folder = tmp_path / "adapter"
        ModelFolder(folder).write(family, trained, base, recipe)
        for name in ("model.json", "recipe.json", "thresholds.json", "README.md"):
            (folder / name).unlink()
        packed = ModelFolder(folder).pack(tmp_path / "adapter.zip")
        (tmp_path / "other").mkdir()
        other = ModelFolder.unpack(packed, tmp_path / "other", FAMILIES)
        assert (other.info().family, other.info().base) == ("sam", base)
        here = get_peft_model_state_dict(trained.adapted)
        there = get_peft_model_state_dict(load_segmenter(other.path).adapted)
        assert here.keys() == there.keys()
        assert all((here[name].cpu() == there[name].cpu()).all() for name in here)
        content = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**content, "base_model_name_or_path": None}))
        with pytest.raises(InputError, match=r"adapter_config.json: it names no base"):
            load_segmenter(folder)
