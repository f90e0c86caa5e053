"""What the system does to a run (a full disk, files too large, no permission), and errors that nobody foresaw."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from glioma_hf.cli.console import plain
from glioma_hf.models.checkpoints import CHECKPOINTS, last_checkpoint, note_checkpoint
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.cli.test_cli import refused, run
from tests.conftest import ROOT
from tests.doors.test_outputs import SCENE, coco, contents, data  # noqa: F401

pytestmark = pytest.mark.usefixtures("dummy")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FULL = r"can't be written \(No space left on device\); make room and run the same command again"


class SmallDisk:
    """A disk of our own: `fill` leaves no more than so many bytes, `empty` makes room."""

    def __init__(self, place: Path):
        self.place = place

    def fill(self, left: int) -> None:
        self.empty()
        free = shutil.disk_usage(self.place).free
        with (self.place / "ballast").open("wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, max(free - left, 1))

    def empty(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[SmallDisk]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.name == "posix" and os.getuid() == 0
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place]).returncode:
        pytest.skip("a small disk can't be mounted here")
    yield SmallDisk(place)
    subprocess.run(["umount", "--lazy", place], check=True)  # a process that was killed may still hold it


def work_on(disk: SmallDisk, name: str, files: tuple[Path, Path], data: Path, archive: Path, images: Path) -> list:  # noqa: F811
    out = disk.place / "out"
    return {
        "prepare": ["data", "prepare", "--archive", archive, "--out", out],
        "stats": ["data", "stats", data, "--out", out],
        "publish": ["data", "publish", data, "--repo", "me/cells", "--dry-run", "--out", out],
        "train": ["train", "--data", data, "--model", "dummy", "--out", out],
        "quickstart": ["quickstart", "--archive", archive, "--model", "dummy", "--out", out],
        "evaluate": ["evaluate", "--references", files[0], "--predictions", files[1], "--plot", "--out", out],
        "predict": ["predict", images, "--model", "dummy", "--out", out],
        "synthesize": ["data", "synthesize", "--train", 2, "--width", 256, "--height", 192, "--out", out],
        "tune": ["tune", "--data", data, "--model", "dummy", "--out", out],
    }[name]


COMMANDS = ["prepare", "stats", "publish", "train", "quickstart", "evaluate", "predict", "synthesize", "tune"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_at_every_step(name, disk, coco, data, archive, tmp_path):  # noqa: F811
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        Image.fromarray(generate_scene(number, SCENE).image).save(images / f"{number}.png")
    command = work_on(disk, name, coco, data, archive, images)
    assert run(*command).returncode == 0
    out = disk.place / "out"
    right = contents(out) if out.is_dir() else out.read_bytes()
    size = sum(len(b) for b in right.values() if b) if isinstance(right, dict) else len(right)
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    page = 4096
    for left in sorted({0, page, 2 * page, *(int(size * share) // page * page for share in (0.1, 0.4, 0.7, 0.95))}):
        disk.fill(left)
        done = run(*command)
        disk.empty()
        if done.returncode == 0:
            continue
        lines = [line for line in done.stderr.splitlines() if line.startswith("glioma-hf:")]
        assert done.returncode == 2, done.stderr
        assert len(lines) == 1
        assert re.search(FULL, lines[0]), lines
        assert ".partial" not in lines[0]
        if name != "predict":
            assert not out.exists()
        if name not in ("prepare", "train", "predict"):
            assert list(disk.place.iterdir()) == []
    done = run(*command)
    assert done.returncode == 0, done.stderr
    if name not in ("stats", "publish", "quickstart", "evaluate", "predict"):  # these hold times and dates
        assert (contents(out) if out.is_dir() else out.read_bytes()) == right
    elif isinstance(right, dict):
        assert contents(out).keys() == right.keys()
    assert [p.name for p in disk.place.iterdir()] == ["out"]


def test_files_over_the_systems_limit(archive, tmp_path):
    code = (
        "import resource, signal, sys; from glioma_hf.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, -1))\n"
        f"sys.argv = ['glioma-hf', 'data', 'prepare', '--archive', {str(archive)!r}, '--out', 'out']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("glioma-hf: out can't be written (File too large); make room")


@pytest.mark.parametrize("name", ["prepare", "stats", "train", "predict", "synthesize", "tune"])
def test_a_read_only_disk(name, disk, coco, data, archive, tmp_path):  # noqa: F811
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(generate_scene(0, SCENE).image).save(images / "0.png")
    subprocess.run(["mount", "-o", "remount,ro", disk.place], check=True)
    line = refused(*work_on(disk, name, coco, data, archive, images))
    assert "out can't be written (Read-only file system)" in line


def test_a_full_standard_output(coco):  # noqa: F811
    device = Path("/dev/full")
    if not device.is_char_device():
        pytest.skip("there is no /dev/full")
    command = [
        sys.executable,
        "-m",
        "glioma_hf.cli",
        "evaluate",
        "--references",
        coco[0],
        "--predictions",
        coco[1],
        "--json",
    ]
    with device.open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert done.returncode == 2
    assert "something can't be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr


class TestCheckpoints:
    @pytest.fixture
    def work(self, tmp_path) -> Path:
        for number in (20, 40):
            folder = tmp_path / CHECKPOINTS / f"checkpoint-{number}"
            folder.mkdir(parents=True)
            for name in ("adapter.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"):
                (folder / name).write_text(f"{name} {number}")
            note_checkpoint(folder)
        return tmp_path

    @pytest.mark.parametrize("file", ["adapter.safetensors", "optimizer.pt", "trainer_state.json", "files.json"])
    @pytest.mark.parametrize("damage", ["empty", "cut", "gone", "other"])
    def test_a_damaged_one_is_told_and_the_last_good_one_taken(self, work, file, damage):
        path = work / CHECKPOINTS / "checkpoint-40" / file
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "cut": path.read_bytes()[:-2], "other": b"x" * 20}[damage])
        told: list[str] = []
        assert Path(last_checkpoint(work, lambda news: told.append(news.message)) or "").name == "checkpoint-20"
        assert told == ["checkpoint-40 isn't whole; it is left out"]

    def test_none_is_whole(self, work):
        for path in (work / CHECKPOINTS).glob("*/trainer_state.json"):
            path.write_text("")
        assert last_checkpoint(work) is None
        assert last_checkpoint(work / "nothing") is None


class TestUnforeseen:
    @pytest.fixture
    def broken(self, monkeypatch, tmp_path):
        def fail(*_, **__):
            raise ZeroDivisionError("at [red]names[/red] \x1b[31m\n twice")

        monkeypatch.setattr("glioma_hf.data.prepare.prepare", fail)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return ["data", "prepare", "--archive", tmp_path, "--out", tmp_path / "out"]

    def test_it_is_one_sentence_and_the_trace_is_kept(self, broken, tmp_path):
        done = run(*broken)
        assert done.returncode == 70
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            "glioma-hf: this is a fault of glioma-hf, not yours (ZeroDivisionError: at [red]names[/red]"
        )
        assert "\x1b" not in line
        (trace,) = (tmp_path / "cache" / "glioma_hf" / "errors").iterdir()
        assert str(trace) in line
        text = trace.read_text()
        assert "Traceback" in text
        assert str(tmp_path / "out") in text

    def test_debug_shows_the_trace(self, broken):
        done = run("--debug", *broken)
        assert done.returncode == 70
        assert "Traceback" in done.stderr
        assert "Traceback" not in run(*broken).stderr

    def test_where_nothing_can_be_kept_it_is_said(self, broken, monkeypatch, tmp_path):
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
        done = run(*broken)
        assert done.returncode == 70
        assert "is shown by glioma-hf --debug COMMAND" in done.stderr

    def test_too_little_memory_is_said(self, broken, monkeypatch):
        def fail(*_, **__):
            raise MemoryError

        monkeypatch.setattr("glioma_hf.data.prepare.prepare", fail)
        assert "the memory of this machine" in refused(*broken)


NAME = "[bold red]a[/] \x1b[31m:smile: \u202e\udcff.tif"


def test_names_are_shown_as_they_are_and_steer_nothing(tmp_path):
    assert plain(NAME) == "[bold red]a[/] \\x1b[31m:smile: \\u202e\\udcff.tif"
    line = refused("predict", tmp_path / NAME, "--model", "dummy", "--out", tmp_path / "out")
    assert plain(NAME) in line
    done = run("predict", "--model", "dummy", f"--no-such{NAME}", "x", "--out", "y")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "[bold" in done.stderr
    scene = SceneConfig(width=96, height=64, cells_per_megapixel=(400, 400))
    out = tmp_path / f"{NAME}.zip"
    synthesize(out, 1, SyntheticArchiveConfig(train=1, valid=1, test=1, gen=0, scene=scene))
    done = run("data", "prepare", "--archive", out, "--out", tmp_path / NAME)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_names_in_tables_are_shown_as_they_are(coco, tmp_path):  # noqa: F811
    done = run("agreement", "--source", f"[red]a={coco[0]}", "--source", f"[/red]\x1b={coco[1]}")
    assert done.returncode == 0, done.stderr
    assert "[red]a" in done.stdout
    assert "[/red]\\x1b" in done.stdout
