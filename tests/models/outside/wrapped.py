"""What every family must do that is trained by its own package."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from glioma_hf.models.base import Run, Segmenter
from glioma_hf.progress import Progress
from glioma_hf.workflows.fingerprint import fingerprint, parameters_of
from tests.models.contract import PAIR, FamilyContract

KEPT: dict[str, tuple[Segmenter, list[Progress]]] = {}


class WrappedContract(FamilyContract):
    """Tests of one family, trained from scratch and once: segmenters don't change.

    Attributes:
        brief: what differs from its recipe `quick`.
        falls: to what share of what it was the loss falls.
    """

    brief: ClassVar[dict[str, Any]]
    falls: ClassVar[float] = 1.0

    @pytest.fixture
    def base(self) -> str:
        return "scratch"

    @pytest.fixture
    def recipe(self, family):
        return family.read_recipe("quick").model_copy(update=self.brief)

    @pytest.fixture
    def trained(self, family, base, recipe) -> Segmenter:
        if self.name not in KEPT:
            told: list[Progress] = []
            segmenter = family.train(base, [PAIR], recipe, Run(on_progress=told.append, workers=0))
            KEPT[self.name] = segmenter.with_settings(**self.loose), told
        return KEPT[self.name][0]

    def test_it_learns(self, trained, recipe):
        told = KEPT[self.name][1]
        losses = [p.loss for p in told]
        assert len(told) == told[-1].total == recipe.steps(1)
        assert np.mean(losses[-3:]) < self.falls * np.mean(losses[:3])

    def test_its_numbers_are_counted_and_tell_it_from_others(self, trained, family, base, recipe):
        assert parameters_of(trained) > 10_000
        other = recipe.for_steps(1).model_copy(update={"seed": recipe.seed + 1})
        assert fingerprint(family.train(base, [PAIR], other, Run(workers=0))) != fingerprint(trained)
