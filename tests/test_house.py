"""The house as CONTRIBUTING.md draws it, and as it is: who imports whom, how long a file is, what an import loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.imports import imports_of

tomllib = pytest.importorskip("tomllib")

PACKAGE = ROOT / "glioma_hf"
SECTION = (ROOT / "CONTRIBUTING.md").read_text().split("## Where things are")[1].split("\n## ")[0]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
LONGEST = 330
HEAVY = ("accelerate", "datasets", "evaluate", "gradio", "matplotlib", "peft", "torch", "transformers")


def drawn_floors() -> list[list[list[str]]]:
    """Floors of the drawing from top to bottom; a floor is the rooms between its bars."""
    drawing = re.search(r"```text\n(.*?)```", SECTION, re.DOTALL)
    assert drawing is not None
    lines = [line for line in drawing[1].splitlines() if re.search(r"[a-uw-z]", line)]
    return [[part.split() for part in line.split("|")] for line in lines]


FLOORS = drawn_floors()
DEPTH = {room: depth for depth, floor in enumerate(FLOORS) for part in floor for room in part}


def rooms_of(path: Path) -> set[str]:
    """Rooms that a file imports from; for `from glioma_hf import name` the name, which may be no room."""
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("glioma_hf.")}


def files_of(room: str) -> list[Path]:
    """The files of a room of the drawing."""
    folder = ROOT / room if room.startswith("spaces/") else PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def test_every_room_is_drawn_and_told_once():
    there = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__"}
    there |= {f"spaces/{p.name}" for p in (ROOT / "spaces").iterdir() if any(p.glob("*.py"))}
    assert set(DEPTH) == there
    assert re.findall(r"^\| `([\w/]+)` \|", SECTION, re.MULTILINE) == list(DEPTH)


@pytest.mark.parametrize("room", DEPTH)
def test_arrows_go_down(room):
    beside = {other for part in FLOORS[DEPTH[room]] for other in part if room in part}
    if room.startswith("spaces/"):
        beside = set()
    for path in files_of(room):
        for other in rooms_of(path) & set(DEPTH) - {room}:
            assert DEPTH[other] > DEPTH[room] or other in beside, f"{path.relative_to(ROOT)} imports {other}"


def test_the_package_doesn_t_lean_on_its_own_face():
    for path in PACKAGE.rglob("*.py"):
        names = {name for name in imports_of(path) if name.split(".")[0] == "glioma_hf" and name.count(".") < 2}
        others = {name.removeprefix("glioma_hf.") for name in names} - set(DEPTH) - {"__version__"}
        assert not others, f"{path.relative_to(ROOT)} imports {', '.join(sorted(others))} from glioma_hf itself"


def test_the_contract_is_the_drawing():
    layers = CONTRACTS["Arrows go down only"]["layers"]
    written = [[re.findall(r"\w+", part) for part in layer.split("|")] for layer in layers]
    assert written == [[[r for r in part if "/" not in r] for part in floor] for floor in FLOORS]


def test_families_are_all_in_the_contracts():
    top, shared = CONTRACTS["Families of models don't know each other"]["layers"][:2]
    folders = sorted(p.name for p in (PACKAGE / "models").iterdir() if (p / "__init__.py").exists())
    assert sorted([*re.findall(r"\w+", top), shared]) == folders
    protected = CONTRACTS["Outside models/ nobody imports from a family"]["protected_modules"]
    assert sorted(protected) == [f"glioma_hf.models.{name}" for name in folders]


def test_contracts_are_kept(capsys, monkeypatch):
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(no_cache=True) == 0, capsys.readouterr().out


@pytest.mark.parametrize("folder", ["spaces", "metric", "dataset_script", "examples"])
def test_outside_the_package_nobody_imports_from_a_family(folder):
    families = tuple(CONTRACTS["Outside models/ nobody imports from a family"]["protected_modules"])
    for path in (ROOT / folder).rglob("*.py"):
        deep = [name for name in imports_of(path) if name.startswith(families)]
        assert not deep, f"{path.relative_to(ROOT)} imports {', '.join(deep)}"


def test_files_are_read_in_one_sitting():
    long = {str(p.relative_to(ROOT)): n for p in PACKAGE.rglob("*.py") if (n := p.read_text().count("\n")) > LONGEST}
    assert not long


@pytest.mark.parametrize("module", ["glioma_hf", "glioma_hf.cli"])
def test_an_import_stays_light(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_the_house_is_one_version():
    assert PROJECT["project"]["dynamic"] == ["version"]
    version = re.search(r'^__version__ = "(.+)"$', (PACKAGE / "__init__.py").read_text(), re.MULTILINE)
    assert version is not None
    assert f'version: "{version[1]}"' in (ROOT / "CITATION.cff").read_text()
