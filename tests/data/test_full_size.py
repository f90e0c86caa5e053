"""An archive of the data set's own size and count: 75 images of 2592 x 1944, about 12,000 cells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import pytest

from glioma_hf.data.prepared import read_prepared
from glioma_hf.synthetic import archive as synthetic_archive
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

# Runs a command and prints, last, its peak memory in MB.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)
sys.exit(done.returncode)
"""
PROGRAM = str(Path(sys.executable).parent / "glioma-hf")


@pytest.fixture(scope="module")
def full_size(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("full") / "dataset.zip"
    scene = SceneConfig(width=2592, height=1944, cells_per_megapixel=(55, 55))
    config = SyntheticArchiveConfig(train=30, valid=4, test=11, gen=30, scene=scene)
    # Two scenes a part, again and again: drawing 75 takes minutes, and what is tested here is their number and size.
    few = lru_cache(generate_scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_archive, "generate_scene", lambda seed, config: few((*seed[:-1], seed[-1] % 2), config))
        synthesize(path, 0, config)
    return path


def measured(*arguments: object) -> tuple[str, float]:
    command = [sys.executable, "-c", MEASURED, PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, megabytes = done.stdout.splitlines()
    return "\n".join(lines), float(megabytes)


@pytest.mark.slow
@pytest.mark.long
def test_full_size_in_bounded_memory_resumed_and_counted(full_size, tmp_path):
    prepare = [PROGRAM, "data", "prepare", "--archive", full_size, "--out", tmp_path / "set"]
    broken = subprocess.Popen([*map(str, prepare)], stderr=subprocess.PIPE, text=True)
    for line in broken.stderr:  # progress is told image by image
        if line.startswith("spec/train 20"):
            broken.send_signal(signal.SIGKILL)
            break
    broken.wait()
    assert not (tmp_path / "set").exists()
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURED, *map(str, prepare)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "images are there from the run before" in done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1000
    print(f"prepared in {time.perf_counter() - started:.1f} s, {os.path.getsize(full_size) / 1e6:.0f} MB of archive")
    prepared = read_prepared(tmp_path / "set")
    assert [(s.name, s.images) for s in prepared.splits] == [
        ("spec/train", 30),
        ("spec/validation", 4),
        ("spec/test", 11),
        ("gen/test", 30),
    ]
    told, megabytes = measured("data", "stats", tmp_path / "set", "--out", tmp_path / "stats")
    assert megabytes < 1000
    table = json.loads((tmp_path / "stats" / "overview.json").read_text())["set"]
    counts = {part["part"]: part for part in table}
    assert counts["spec"]["images"] == 45
    assert counts["gen"]["images"] == 30
    assert counts["spec"]["soma"] > 7500
    assert counts["spec"]["cells"] + counts["gen"]["cells"] > 12_000
    for split in prepared.splits:  # Table 1 is that of the rows
        assert f"cells {counts[split.subset]['cells']}" in told
