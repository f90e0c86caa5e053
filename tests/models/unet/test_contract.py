from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError
from glioma_hf.models.base import Run, Segmenter
from glioma_hf.models.card import card
from glioma_hf.models.saved import ModelFolder
from glioma_hf.models.unet.recipe import NetworkConfig
from tests.models.contract import PAIR, FamilyContract

TINY = NetworkConfig(encoder="tiny", widths=(8, 8, 8, 8, 8))
BRIEF = {"network": TINY, "resolution": (64, 64), "max_steps": 20, "batch": 2, "learning_rate": 0.01}
KEPT: dict[type, Segmenter] = {}


class TestUNet(FamilyContract):
    name = "unet"
    overlaps = False
    loose = {"mask_thresh": 0.2, "min_area": 1}  # noqa: RUF012

    @pytest.fixture
    def base(self) -> str:
        return "random"

    @pytest.fixture
    def recipe(self, family):
        return family.read_recipe("quick").model_copy(update={**BRIEF, "precision": "fp32"})

    @pytest.fixture
    def trained(self, family, base, recipe) -> Segmenter:
        """Trained once: segmenters don't change."""
        if type(self) not in KEPT:
            KEPT[type(self)] = family.train(base, [PAIR], recipe, Run(workers=0)).with_settings(**self.loose)
        return KEPT[type(self)]

    def test_its_card_names_what_it_stands_on(self, family):
        text = card(family, "imagenet", family.read_recipe())
        assert "EfficientNet-Lite0 with ImageNet weights, Copyright" in text
        assert "base_model" not in text  # no model of the Hub
        assert "transformers' nvidia/mit-b3" in card(family, "imagenet", family.read_recipe("paper"))
        assert "Nothing in it was trained before" in card(family, "random", family.read_recipe())

    def test_weights_of_another_encoder_or_width_are_refused(self, family, recipe, trained, tmp_path):
        ModelFolder(tmp_path).write(family, trained, "random", recipe)
        other = recipe.model_copy(update={"network": TINY.model_copy(update={"encoder": "lite0"})})
        with pytest.raises(InputError, match="its weights are of the encoder tiny, the recipe asks for lite0"):
            family.train(str(tmp_path), [PAIR], other, Run(workers=0))
        wider = recipe.model_copy(update={"network": TINY.model_copy(update={"widths": (8, 8, 8, 8, 16)})})
        with pytest.raises(InputError, match="asks for another widths than its network has"):
            family.train(str(tmp_path), [PAIR], wider, Run(workers=0))
        further = family.train(str(tmp_path), [PAIR], recipe.model_copy(update={"max_steps": 1}), Run(workers=0))
        assert further.settings.mask_thresh == self.loose["mask_thresh"]  # of the base

    def test_a_base_that_is_not_there_or_never_trained_is_named(self, family):
        with pytest.raises(InputError, match="has seen no cell yet; train it first"):
            family.load("imagenet", None)
        with pytest.raises(InputError, match="nowhere can't be loaded; give imagenet, random or a folder"):
            family.load("nowhere", None)
