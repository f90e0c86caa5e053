from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cellpose", reason="cellpose isn't installed: make test-models has it")

from glioma_hf.models.base import Run, Segmenter
from glioma_hf.models.card import card
from glioma_hf.models.flows.recipe import LightConfig, MediarAugmentation, MediarConfig
from glioma_hf.workflows.fingerprint import parameters_of
from tests.models.contract import PAIR, FamilyContract

EXACT = {"precision": "fp32", "average": 0.0}
TINY = LightConfig(encoder="tiny", frozen_features=None, widths=(8, 8, 8, 8))
TINY_MEDIAR = MediarConfig(decoder="manet", encoder="tiny", widths=(8, 8, 8, 8, 8), attention=4)


KEPT: dict[type, Segmenter] = {}


class FlowsContract(FamilyContract):
    name = "flows"
    overlaps = False
    loose = {"cell_thresh": 0.2, "flow_thresh": 0.0, "min_area": 1, "steps": 100}  # noqa: RUF012

    @pytest.fixture
    def base(self) -> str:
        return "random"

    @pytest.fixture
    def trained(self, family, base, recipe) -> Segmenter:
        """Trained once: segmenters don't change."""
        if type(self) not in KEPT:
            KEPT[type(self)] = family.train(base, [PAIR], recipe, Run(workers=0)).with_settings(**self.loose)
        return KEPT[type(self)]

    def test_its_numbers_are_counted(self, trained):
        assert parameters_of(trained) == sum(p.numel() for net in trained.networks for p in net.parameters())


class TestFlows(FlowsContract):
    @pytest.fixture
    def recipe(self, family):
        brief = {"network": TINY, "max_steps": 20, "batch": 2, "crop": 64, "learning_rate": 0.01, **EXACT}
        return family.read_recipe("quick").model_copy(update=brief)

    def test_its_card_names_what_it_stands_on(self, family):
        text = card(family, "imagenet", family.read_recipe())
        assert "EfficientNet-Lite0 with ImageNet weights, Copyright" in text
        assert "DeepSea's segmentation network, Copyright" in text
        assert "base_model" not in text  # no model of the Hub
        assert "Nothing in it was trained before" in card(family, "random", family.read_recipe())


class TestMediarFormer(FlowsContract):
    @pytest.fixture
    def recipe(self, family):
        brief = {
            "network": TINY_MEDIAR,
            "augmentation": MediarAugmentation(style="mediar", zoom=(0.9, 1.1)),
            "max_steps": 40,
            "batch": 2,
            "crop": 64,
            "learning_rate": 0.01,
            **EXACT,
        }
        return family.read_recipe("mediarformer-quick").model_copy(update=brief)

    def test_its_card_names_what_it_stands_on(self, family):
        assert "MA-Net over nvidia/mit-b5" in card(family, "imagenet", family.read_recipe("mediarformer"))
