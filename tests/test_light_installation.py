"""An installation without extras: what works, and what is said where a library of an extra is wanted.

Where the libraries are installed they are hidden; `make test-light` runs the same where they truly aren't.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from glioma_hf import InputError
from glioma_hf.extras import EXTRA_OF, missing_libraries_named
from tests.conftest import ROOT
from tests.imports import imports_of
from tests.strategies import square

PACKAGE = ROOT / "glioma_hf"
HIDE = f"import sys; sys.modules.update(dict.fromkeys({list(EXTRA_OF)!r})); "
# Rooms that come with the extras `models` and `leaderboard`, and the one file beside them that hands out tensors.
NEEDS_MODELS = ("models", "workflows", "leaderboard")
TENSORS = {"glioma_hf.data.crops"}
# What is imported under another name than it is installed by.
INSTALLED_BY = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "gradio_client": "gradio",
    "argon2": "argon2-cffi",
}


def light(code: str) -> subprocess.CompletedProcess:
    """Run code where no library of an extra can be imported."""
    return subprocess.run([sys.executable, "-c", HIDE + code], capture_output=True, text=True, cwd=ROOT)


def command(*arguments: object) -> subprocess.CompletedProcess:
    return light(f"sys.argv[1:] = {list(map(str, arguments))!r}; from glioma_hf.cli import main; main()")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_module_of_data_and_metric_loads():
    modules = {module_of(p) for p in PACKAGE.rglob("*.py") if p.stem != "__main__" and "_bundled" not in p.parts}
    modules = {m for m in modules if m.split(".")[1:2] not in [[room] for room in NEEDS_MODELS]} - TENSORS
    assert len(modules) > 40
    done = light(f"import importlib; [importlib.import_module(m) for m in {sorted(modules)!r}]")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["quickstart", "--out", "{tmp}/out"], "models"),
        (["train", "--data", "{folder}", "--out", "{tmp}/out"], "models"),
        (["predict", "{tmp}/cells.png", "--out", "{tmp}/out"], "models"),
        (["benchmark", "t98g", "--out", "{tmp}/out"], "models"),
        (["data", "stats", "{folder}", "--out", "{tmp}/out"], "plots"),
        (["demo"], "demo"),
    ],
)
def test_a_command_that_needs_more_says_what(arguments, extra, folder, tmp_path):
    Image.new("L", (64, 64)).save(tmp_path / "cells.png")
    done = command(*(a.format(tmp=tmp_path, folder=folder) for a in arguments))
    assert done.returncode == 2
    sentence = rf"glioma-hf: (\w+) isn't installed; pip install 'glioma_hf\[{extra}\]' brings it\n"
    library = re.fullmatch(sentence, done.stderr.splitlines(keepends=True)[-1])
    assert library is not None, done.stderr
    assert EXTRA_OF[library[1]] == extra
    assert not (tmp_path / "out").exists()


def test_data_and_metric_work(tmp_path):
    assert command("data", "synthesize", "--out", tmp_path / "a.zip", "--width", 128, "--height", 96).returncode == 0
    done = command("data", "prepare", "--archive", tmp_path / "a.zip", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    cell = {"segmentation": square(20, 20, 30), "category_id": 1, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "width": 96, "height": 96}
    truth = {
        "images": [image],
        "annotations": [{"id": 1, "image_id": 1, **cell}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps([{"image_id": 1, "score": 1.0, **cell}]))
    done = command(
        "evaluate", "--references", tmp_path / "truth.json", "--predictions", tmp_path / "results.json", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ap50"] == 1


def test_other_errors_pass(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="nothing_of_the_kind"), missing_libraries_named():
        import nothing_of_the_kind  # noqa: F401
    # A library that is there and lacks a part of its own is broken: the extra wouldn't mend it.
    monkeypatch.setitem(EXTRA_OF, "json", "models")
    with pytest.raises(ModuleNotFoundError, match="json"), missing_libraries_named():
        import json.nothing  # noqa: F401
    monkeypatch.setitem(sys.modules, "torch", None)
    sentence = r"^torch isn't installed; pip install 'glioma_hf\[models\]' brings it$"
    with pytest.raises(InputError, match=sentence), missing_libraries_named():
        import torch.nn  # noqa: F401


def test_the_table_of_extras_is_that_of_the_project():
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", r)[0].lower() for r in requirements}

    base, extras = names(project["dependencies"]), project["optional-dependencies"]
    for library, extra in EXTRA_OF.items():
        assert INSTALLED_BY.get(library, library) in names(extras[extra])
    used = set()
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "spaces").rglob("*.py")]:
        beside = {p.stem for p in path.parent.glob("*.py")} if path.is_relative_to(ROOT / "spaces") else set()
        used |= {name.split(".")[0] for name in imports_of(path)} - beside
    others = used - set(sys.stdlib_module_names) - {"glioma_hf", "spaces"}  # `spaces` is there on the Hub alone
    wanted = {INSTALLED_BY.get(name, name) for name in others}
    outside = ("cellpose", "stardist", "yolo", "lacss")
    brought = ("models", "plots", "demo", "leaderboard", "flows", "encoders", "dask", *outside)
    known = base | names([r for name in brought for r in extras[name]])
    assert base <= wanted <= known | {"lacss"}  # which goes in without what it asks for, see docs/howto/outside.md
