"""What several tests share: a small synthetic archive, the real T98G images where they are, a tiny SAM."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import hypothesis
import pytest

from glioma_hf.data.prepare import prepare
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
from tests.browser import NONE_HERE, REMEDY
from tests.pages import run_readme

# On a busy machine an example that takes long is no fault of the code.
hypothesis.settings.register_profile("glioma_hf", deadline=None)
hypothesis.settings.load_profile("glioma_hf")

ROOT = Path(__file__).parents[1]
T98G = ROOT.parent / "shared" / "data" / "t98g"
FACTS = ROOT.parent / "shared" / "facts"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """What nobody saw pass is said loudly, and after all else."""
    yield
    left_out = [r for r in terminalreporter.getreports("skipped") if NONE_HERE in str(r.longrepr)]
    if left_out:
        terminalreporter.section("NOT RUN", red=True, bold=True)
        terminalreporter.write_line(f"{NONE_HERE}: {len(left_out)} were left out. To run them: {REMEDY}", red=True)


@pytest.fixture(scope="session")
def t98g() -> Path:
    """The folder of real T98G images in the archive's layout."""
    if not T98G.is_dir():
        pytest.skip("the real T98G images are not beside the checkout (../shared/data/t98g)")
    return T98G


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic archive: 2 train, 1 validation, 2 test and 1 gen image of 256 x 192 pixels."""
    path = tmp_path_factory.mktemp("archive") / "dataset.zip"
    scene = SceneConfig(width=256, height=192, cells_per_megapixel=(250, 300))
    synthesize(path, 5, SyntheticArchiveConfig(train=2, valid=1, test=2, gen=1, scene=scene))
    return path


@pytest.fixture(scope="session")
def folder(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That archive as `data prepare` leaves it; tests read it and change nothing there."""
    path = tmp_path_factory.mktemp("prepared") / "synthetic"
    prepare(archive, path)
    return path


@pytest.fixture(scope="session")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all that the README tells people to run has been run; tests read it and change nothing.

    Of several processes of tests the first that wants it runs it, the others wait for it.
    """
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "readme"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            work = tmp_path_factory.mktemp("readme_run")
            run_readme(work)
            path.symlink_to(work)
    return path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def two_processes() -> list[str]:
    """The beginning of a command that runs what follows in two processes on CPUs.

    With --cpu accelerate wants MPI; with --multi_gpu it starts processes, and `PartialState(cpu=True)` joins them.
    """
    port = str(free_port())
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", port]
    return launch


def run_in_two_processes(script: str, folder: Path) -> None:
    """Run a script, given `folder / "run"`, in two processes that must end well."""
    path = folder / "shared.py"
    path.write_text(script)
    (folder / "run").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*two_processes(), str(path), str(folder / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture
def tiny_model():
    """A SAM of 64-pixel tiles with start values, small enough to train in a second."""
    from glioma_hf.models.sam.sam import new_model, small_config

    return new_model(small_config(64, 32, 2, 2, 32), seed=0).eval()


@pytest.fixture
def dummy(monkeypatch):
    """A family without weights, known by the name "dummy" as long as the test runs."""
    from glioma_hf.models import FAMILIES
    from tests.models.dummy import FAMILY

    monkeypatch.setitem(FAMILIES, "dummy", "tests.models.dummy")
    return FAMILY
