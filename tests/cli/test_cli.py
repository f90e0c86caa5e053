from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from glioma_hf.cli import main
from tests.strategies import square

PROGRAM = Path(sys.executable).with_name("glioma-hf")


COMMANDS = (
    "",
    "quickstart",
    "train",
    "predict",
    "evaluate",
    "agreement",
    "transfer",
    "demo",
    "data",
    "data prepare",
    "data synthesize",
    "data stats",
)


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """A command as the program gets it, run in this process: loading torch for each would take minutes in all."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["glioma-hf", *map(str, arguments)])
        patch.setenv("COLUMNS", "80")
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
    if without := re.search(r"\w+ isn't installed; pip install 'glioma_hf\[.*", err.getvalue()):
        pytest.skip(without[0])  # true in an installation without extras alone, see tests/test_light_installation.py
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def refused(*arguments: object) -> str:
    """The one line of an exit with code 2, no trace."""
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("glioma-hf:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("command", [c.split() for c in COMMANDS])
def test_every_command_has_help(command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_loads_no_heavy_library():
    code = (
        "import sys; from glioma_hf import cli; "
        "print([m for m in ('torch', 'gradio', 'transformers', 'datasets', 'evaluate', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_installed_program_exits_as_its_function_does(tmp_path):
    command = [PROGRAM, "data", "prepare", "--archive", tmp_path / "no.zip", "--out", tmp_path / "out"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == refused(*command[1:])


def test_a_seed_below_0_is_refused(tmp_path):
    done = run("data", "synthesize", "--out", tmp_path / "a.zip", "--seed", -1)
    assert done.returncode == 2
    assert "--seed" in done.stderr
    assert not (tmp_path / "a.zip").exists()


def test_synthesize_and_prepare(tmp_path):
    small = ["--train", 1, "--valid", 1, "--test", 1, "--gen", 0, "--width", 96, "--height", 64]
    made = run("data", "synthesize", "--out", tmp_path / "a.zip", "--seed", 3, *small)
    assert made.returncode == 0, made.stderr
    done = run("data", "prepare", "--archive", tmp_path / "a.zip", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "spec/train",
        "spec/validation",
        "spec/test",
        "against Glioma C6 as published",
        "repaired",
    ]
    assert (tmp_path / "set" / "data" / "spec-train-00000-of-00001.parquet").is_file()


@pytest.fixture
def broken(tmp_path):
    """An archive folder with one image and what a test puts into its COCO file."""
    import numpy as np
    import tifffile

    place = tmp_path / "dataset" / "spec" / "train"
    (place / "images").mkdir(parents=True)
    tifffile.imwrite(place / "images" / "a.tif", np.zeros((16, 20), np.uint8))

    def write(**changes) -> Path:
        coco = {
            "images": [{"id": 1, "file_name": "a.tif", "width": 20, "height": 16}],
            "annotations": [{"id": 8, "image_id": 1, "category_id": 1, "segmentation": square(2, 2, 6)}],
            "categories": [{"id": 1, "name": "Cell"}],
        } | changes
        (place / "anno_train.json").write_text(json.dumps(coco))
        return tmp_path

    return write


@pytest.mark.parametrize("command", [["quickstart"], ["data", "prepare"]])
class TestBadArchives:
    """Each by both commands that read archives: one sentence, exit code 2, nothing half-written."""

    def refuse(self, command, archive: Path, tmp_path: Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        line = refused(*command, "--archive", archive, "--out", tmp_path / "out")
        assert sorted(tmp_path.rglob("*")) == before
        return line

    def test_corrupt_image(self, command, broken, tmp_path):
        path = broken()
        (path / "dataset" / "spec" / "train" / "images" / "a.tif").write_bytes(b"II*\0 and then nothing")
        assert "a.tif" in self.refuse(command, path, tmp_path)

    def test_truncated_zip(self, command, archive, tmp_path):
        (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:5000])
        assert "cut.zip: not a whole zip archive" in self.refuse(command, tmp_path / "cut.zip", tmp_path)

    def test_json_that_is_not_coco(self, command, broken, tmp_path):
        assert "anno_train.json isn't COCO" in self.refuse(command, broken(images=3), tmp_path)

    def test_annotation_of_an_unknown_image(self, command, broken, tmp_path):
        path = broken(annotations=[{"id": 8, "image_id": 5, "category_id": 1, "segmentation": square(2, 2, 6)}])
        assert "annotation 8 is of the unknown image 5" in self.refuse(command, path, tmp_path)

    def test_polygon_of_two_points(self, command, broken, tmp_path):
        path = broken(annotations=[{"id": 8, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 5]]}])
        line = self.refuse(command, path, tmp_path)
        assert "anno_train.json: annotation 8: polygon 0 has 2 points" in line

    def test_path_that_climbs_out(self, command, broken, tmp_path):
        path = broken(images=[{"id": 1, "file_name": "../../a.tif", "width": 20, "height": 16}])
        assert "'../../a.tif' leads out of the archive" in self.refuse(command, path, tmp_path)

    def test_missing_archive(self, command, tmp_path):
        assert "none.zip: no such archive" in self.refuse(command, tmp_path / "none.zip", tmp_path)


def test_prepare_takes_one_source(tmp_path):
    for options in ([], ["--archive", "a.zip", "--download"]):
        line = refused("data", "prepare", "--out", tmp_path / "out", *options)
        assert "give either --archive PATH or --download" in line


def test_image_number_out_of_range(archive, tmp_path):
    line = refused("quickstart", "--archive", archive, "--out", tmp_path / "out", "--image", 3)
    assert "there is no training image 3; choose one from 1 to 2" in line
    assert list(tmp_path.iterdir()) == []


def test_archive_without_the_splits(broken, tmp_path):
    assert "no validation images" in refused("quickstart", "--archive", broken(), "--out", tmp_path / "out")


@pytest.mark.parametrize("command", [["quickstart"], ["data", "prepare"]])
def test_unwritable_output(command, archive):
    assert "/proc/nowhere can't be written" in refused(*command, "--archive", archive, "--out", "/proc/nowhere")
