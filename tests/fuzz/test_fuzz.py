"""Each fuzz module for a few seconds, on the same inputs every time; `make fuzz` tries longer."""

from __future__ import annotations

import importlib
from itertools import islice
from pathlib import Path

import pytest

from tests.fuzz.harness import check, mutants
from tests.fuzz.misbehaving import misbehave

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))
INPUTS = 400


@pytest.mark.parametrize("name", MODULES)
def test_changed_inputs_are_answered_or_refused_in_a_sentence(name):
    module = importlib.import_module(f"tests.fuzz.{name}")
    findings = check(module.read, islice(mutants(module, seed=1), INPUTS))
    assert not findings, [(finding.what, finding.data[:80]) for finding in findings]


def test_the_harness_notices():
    inputs = [b"fine", b"fails", b"bad", b"slow", b"large", b"dies", b"huge", b"fine"]
    found = {finding.data: finding.what for finding in check(misbehave, inputs)}
    assert sorted(found) == [b"dies", b"fails", b"huge", b"large", b"slow"]
    assert found[b"fails"].startswith("KeyError")
    assert found[b"huge"].startswith("MemoryError")
    assert found[b"slow"].endswith(" s")
    assert found[b"large"].endswith(" MB")
    assert "ended with -6" in found[b"dies"]
