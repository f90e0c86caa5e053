"""Benchmarks are run by hand; that they still start with today's package is looked at here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(p.name for p in FOLDER.glob("*.py") if "__main__" in p.read_text())


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_starts(script):
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, FOLDER / script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
