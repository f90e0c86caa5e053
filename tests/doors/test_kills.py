"""Killed between any two calls to the file system, the same command afterwards gives the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> tuple[Path, Path]:
    scene = SceneConfig(width=96, height=64, cells_per_megapixel=(400, 400))
    folder = tmp_path_factory.mktemp("archives")
    for seed in (1, 2):
        synthesize(folder / f"{seed}.zip", seed, SyntheticArchiveConfig(train=2, valid=1, test=1, gen=0, scene=scene))
    return folder / "1.zip", folder / "2.zip"


def killed(kind: str, archives: tuple[Path, Path], folder: Path, every: int) -> dict:
    command = [sys.executable, "-m", "tests.doors.kills", kind, *map(str, archives), str(folder), str(every)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["prepare", "prepare-again", "train"])
def test_after_a_kill_at_some_calls(kind, archives, folder):
    result = killed(kind, archives, folder, 13)
    assert not result["wrong"]
    assert result["kills"] >= 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["prepare", "prepare-again", "train"])
def test_after_a_kill_at_every_call(kind, archives, folder):
    assert not killed(kind, archives, folder, 1)["wrong"]
