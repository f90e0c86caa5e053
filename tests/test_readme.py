"""What the README tells people to run is run here, in its order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# `make test` runs this test; a served page is driven by test_demo.py.
ELSEWHERE = ("make test", "glioma-hf demo")


def test_it_opens_with_the_two_commands():
    kind, first = BLOCKS[0]
    assert kind == "bash"
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == ["make quickstart", "make test"]


def test_pictures_and_links_to_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_every_command_runs(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    for name in ("metric", "dataset_script"):
        (tmp_path / name).symlink_to(ROOT / name)
    tifffile.imwrite(tmp_path / "cells.tif", generate_scene(1, SceneConfig(width=300, height=280)).image)
    ran = 0
    for kind, block in BLOCKS:
        if kind == "python":
            commands = [[sys.executable, "-c", block]]
        else:
            joined = block.replace("\\\n", " ")
            lines = [line.split(" #")[0].strip() for line in joined.splitlines()]
            commands = [["bash", "-c", line] for line in lines if line and not line.startswith(("#", *ELSEWHERE))]
        for command in commands:
            if command[-1].startswith("make "):
                command[-1] += f" -C {ROOT} OUT={tmp_path}/quickstart"
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
            ran += 1
    assert ran >= 5
    assert (tmp_path / "quickstart" / "report.html").is_file()
