"""The examples run as they stand, say something, and use the public face alone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.imports import imports_of

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, ROOT / "examples" / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_uses_the_public_face_alone(example: Path):
    import glioma_hf

    names = {name for name in imports_of(example) if name.split(".")[0] == "glioma_hf"}
    assert names - {"glioma_hf"} <= {f"glioma_hf.{name}" for name in glioma_hf.__all__}
    told = ast.get_docstring(ast.parse(example.read_text("utf-8")))
    assert told is not None
    assert f"python examples/{example.name} --out" in told


@pytest.mark.long
@pytest.mark.slow
def test_first_image(archive, tmp_path):
    told = run("first_image", "--archive", archive, "--out", tmp_path / "out")
    assert "taught on train_001.tif; AP50" in told
    assert "median area" in told
    assert (tmp_path / "out" / "overlay.png").stat().st_size > 1000
    assert (tmp_path / "out" / "cells" / "test_001.csv").is_file()


@pytest.mark.long
@pytest.mark.slow
def test_own_data_set(tmp_path):
    told = run("own_data_set", "--out", tmp_path / "out")
    assert "spec/train: 2 images, 16 cells" in told
    assert "on the test images" in told
    assert (tmp_path / "out" / "scores.csv").read_text().startswith("iou,ap,precision")


@pytest.mark.long
@pytest.mark.slow
def test_score_two_models(folder, tmp_path):
    told = run("score_two_models", "--data", folder, "--out", tmp_path / "out")
    assert "first: AP50" in told
    assert "95 % interval" in told
    assert "AP50 of each against each" in told
    for picture in ("ap_curves.png", "agreement.png"):
        assert (tmp_path / "out" / picture).stat().st_size > 1000
