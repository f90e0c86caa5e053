from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("cellpose", reason="cellpose isn't installed: make test-models has it")

from PIL import Image

from tests.conftest import ROOT
from tests.models.contract import SCENE
from tests.pages import LEFT_OUT, run_page


def test_what_the_page_tells_to_do_works_where_cellpose_is(tmp_path, monkeypatch):
    """The tests of all pages run where it isn't installed, and leave these lines out."""
    page = (ROOT / "docs" / "howto" / "flows.md").read_text("utf-8")
    page, number = re.subn(rf" *# {LEFT_OUT}: cellpose$", "", page, flags=re.MULTILINE)
    assert number == 3
    (tmp_path / "flows.md").write_text(page, "utf-8")
    Image.fromarray(SCENE.image).save(tmp_path / "cells.tif")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    run_page(Path("flows.md"))
    assert (tmp_path / "two" / "model.safetensors").is_file()
