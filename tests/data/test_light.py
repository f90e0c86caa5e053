"""Data and scoring files in an environment without the packages of the extras."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

BLOCK = """
import sys
from pathlib import Path
for name in ("torch", "transformers", "peft", "accelerate", "gradio", "matplotlib"):
    sys.modules[name] = None
work = Path(sys.argv[1])
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_data_is_made_read_and_measured_without_them(tmp_path):
    code = """
from glioma_hf.benchmark.scoring_files import read_predictions, read_references
from glioma_hf.data.features import tasks_of
from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import load_images
from glioma_hf.data.statistics import measure_objects, overview
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
scene = SceneConfig(width=128, height=96, cells_per_megapixel=(400, 400))
synthesize(work / "a.zip", 1, SyntheticArchiveConfig(train=1, valid=1, test=1, gen=1, scene=scene))
prepare(work / "a.zip", work / "set")
(work / "none.json").write_text("[]")
references = read_references(work / "set")
images = load_images(work / "set", "train", "all")
print(read_predictions(work / "none.json", references).tasks()["all"], tasks_of(work / "set"))
measured = len(measure_objects(work / "set"))
print(measured > len(images[0].instances) > 0, [part["images"] for part in overview(work / "set")])
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True [3, 1]"


def test_what_needs_them_says_what_brings_them(folder, tmp_path):
    code = """
from glioma_hf import InputError
from glioma_hf.data.publish import build_tree
try:
    build_tree(sys.argv[2], work)
except InputError as error:
    print(error)
try:
    import glioma_hf.data.crops
except InputError as error:
    print(error)
"""
    done = run(code, tmp_path, folder)
    assert done.stdout.splitlines() == [
        "matplotlib isn't installed; pip install 'glioma_hf[plots]' brings it",
        "torch isn't installed; pip install 'glioma_hf[models]' brings it",
    ], done.stderr
