"""The dummy keeps the contract, so that tests that use it speak of what any family does."""

from __future__ import annotations

import pytest

from tests.models.contract import FamilyContract


@pytest.mark.usefixtures("dummy")
class TestDummy(FamilyContract):
    name = "dummy"
    loose = {"widen": 8, "score_threshold": 0.0}  # noqa: RUF012
