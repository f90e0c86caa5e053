"""The wheel, installed where no checkout is in sight: the main job, the metric and the page work there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workflows.test_quickstart import BRIEF

pytestmark = pytest.mark.slow
# A release tests the wheel that it publishes.
WHEEL = os.environ.get("GLIOMA_HF_WHEEL")
CELL = {"size": [12, 12], "counts": "W166000000000Q1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if WHEEL:
        return Path(WHEEL).resolve()
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", out, ROOT)
    (built,) = out.glob("*.whl")
    return built


def pip(command: str, *arguments: object, python: Path = Path(sys.executable)) -> None:
    """Run pip on an environment, without a look at the network."""
    start = [sys.executable, "-m", "pip", "--python", str(python), command, "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Elsewhere:
    """A fresh environment with the wheel in it, and a folder outside the checkout to work in."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.bin, self.work = folder / "venv" / "bin", folder / "work"
        self.work.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        pip("install", wheel, python=self.bin / "python")
        # The libraries of the environment that runs the tests. Of a folder that a .pth file names, no .pth files are
        # read: the checkout, which is installed there by one, is not in sight.
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        libraries = [path for path in sys.path if Path(path).name == "site-packages"]
        (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "HF_HOME": str(folder / "cache"),
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self, *command: object) -> subprocess.Popen:
        return subprocess.Popen(
            [self.bin / str(command[0]), *map(str, command[1:])],
            cwd=self.work,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: object) -> str:
        started = self.start(*command)
        output, _ = started.communicate(timeout=400)
        assert started.returncode == 0, output
        return output


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> Elsewhere:
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"), wheel)


def test_what_is_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(p.relative_to(ROOT)) for p in (ROOT / "glioma_hf").rglob("*") if p.is_file()}
    package = {name for name in package if "__pycache__" not in name and "_bundled" not in name}
    assert package <= names
    for ending in (".safetensors", "/recipes/quick.json", ".html", ".md", "/py.typed"):
        assert [name for name in package if name.endswith(ending)], ending
    for folder in ("metric", "spaces/demo", "spaces/leaderboard"):
        beside = {str(p.relative_to(ROOT)) for p in (ROOT / folder).glob("*") if p.is_file()}
        assert {f"glioma_hf/_bundled/{name}" for name in beside} <= names
    others = {
        name for name in names - package if not re.match(r"glioma_hf/_bundled/|glioma_hf-[^/]+\.dist-info/", name)
    }
    assert not others
    assert not [name for name in names if re.search(r"(^|/)tests?/|screenshots|__pycache__", name)]


def test_it_is_the_wheel_that_is_imported(elsewhere, wheel):
    where = elsewhere.run("python", "-c", "import glioma_hf; print(glioma_hf.__file__, glioma_hf.__version__)").split()
    assert Path(where[0]).is_relative_to(elsewhere.bin.parent)
    assert elsewhere.run("glioma-hf", "--version") == f"glioma-hf {where[1]}\n"
    assert wheel.name.startswith(f"glioma_hf-{where[1]}-")


@pytest.mark.long
def test_main_job(elsewhere, archive):
    (elsewhere.work / "recipe.json").write_text(BRIEF.model_dump_json())
    options = ["--archive", archive, "--model", "embedded", "--recipe", "recipe.json", "--out", "results"]
    told = elsewhere.run("glioma-hf", "quickstart", *options)
    assert "AP50" in told
    assert {"report.html", "scores.json", "dataset"} <= {p.name for p in (elsewhere.work / "results").iterdir()}


@pytest.mark.long
def test_metric(elsewhere):
    code = f"""
import evaluate
from glioma_hf.resources import bundled
path = bundled("metric/overlap_ap.py")
print(path)
print(evaluate.load(str(path)).compute(predictions=[[{CELL}]], references=[[{CELL}]])["ap50"])
"""
    path, ap50 = elsewhere.run("python", "-c", code).split()[-2:]
    assert Path(path).is_relative_to(elsewhere.bin.parent)
    assert float(ap50) == 1


@pytest.mark.long
def test_demo(elsewhere):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = elsewhere.start("glioma-hf", "demo", "--port", port)
    try:
        for _ in range(240):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=2).read().decode()
                break
            except OSError:
                assert server.poll() is None, server.stdout.read()
                time.sleep(0.5)
        else:
            pytest.fail("the demo didn't start within two minutes")
    finally:
        server.terminate()
        server.communicate(timeout=20)
    assert "Cells that overlap" in page
