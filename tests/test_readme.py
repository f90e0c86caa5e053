"""What the README tells people to run is run here, in its order, in one folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import LEFT_OUT, blocks, steps

README = (ROOT / "README.md").read_text()
BLOCKS = blocks(README)
LINES = 95  # a screen and a half


def test_it_opens_with_the_two_commands():
    kind, first = BLOCKS[0]
    assert kind == "bash"
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == ["make quickstart", "make test"]


def test_it_names_what_ci_runs():
    for command in re.findall(r"^make .+$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE):
        assert command in README


def test_it_is_short():
    assert README.count("\n") <= LINES


def test_only_the_public_face_is_used():
    for kind, code in BLOCKS:
        assert kind != "python" or "glioma_hf." not in code


def test_pictures_and_links_to_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_what_is_left_out_is_little():
    assert README.count(LEFT_OUT) <= 4


@pytest.mark.long
@pytest.mark.slow
def test_every_command_runs(readme_folder: Path):
    assert (readme_folder / "quickstart" / "report.html").is_file()
    assert (readme_folder / "outlines" / "cells.csv").is_file()
    assert (readme_folder / "cells.png").is_file()
    assert len(list(steps(README))) >= 6
