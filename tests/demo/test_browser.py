"""Where the browser of these tests is looked for, and what is said when there is none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import browser
from tests.conftest import ROOT


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without a browser; its folder for programs, and where playwright would keep its own."""
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(path, line: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


def test_the_one_named_then_the_one_on_path(nowhere, monkeypatch):
    assert browser.find_browser() is None
    on_path = program(nowhere / "bin" / "google-chrome", "exit 0")
    assert browser.find_browser() == on_path
    monkeypatch.setenv("CHROMIUM", "/opt/mine")
    assert browser.find_browser() == "/opt/mine"


def test_playwrights_own(nowhere):
    done = subprocess.run([sys.executable, "-c", browser.WHERE], capture_output=True, text=True, check=True)
    assert browser.find_browser() is None
    own = program(nowhere / "playwright" / done.stdout.strip().split("playwright/")[1], "exit 0")
    assert browser.find_browser() == own


def test_one_that_doesn_t_start_is_none(nowhere):
    assert browser.starts(program(nowhere / "whole", "exit 0"))
    assert not browser.starts(program(nowhere / "broken", "echo 'libnss3.so: no such file' >&2; exit 127"))
    assert not browser.starts(str(nowhere / "nothing"))
    assert not browser.starts(None)


def test_what_was_left_out_is_said_last(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_terminal_summary\n")
    (tmp_path / "test_page.py").write_text(
        "import pytest\nfrom tests.browser import NONE_HERE\n\n"
        "@pytest.mark.parametrize('n', range(3))\ndef test_page(n):\n    pytest.skip(NONE_HERE)\n"
        "def test_other():\n    pytest.skip('for another reason')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    title, *told, _ = [line for line in done.stdout.splitlines() if line][-3:]
    assert "NOT RUN" in title
    assert told[0].startswith(f"{browser.NONE_HERE}: 3 were left out")
    assert "apt-get install chromium" in told[0]
