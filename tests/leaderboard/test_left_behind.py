"""What a killed process leaves in the folder for temporary files, and who clears it away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from glioma_hf.leaderboard import board as boards
from glioma_hf.leaderboard.board import LOCK, Board, clear_abandoned

AT_WORK = """
import sys, time
from glioma_hf.leaderboard.board import Board
with Board(None, None).work_folder() as folder:
    (folder / "half.json").write_text("[")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def own_temporary(monkeypatch, tmp_path):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(boards, "SETTLES", -1.0)
    return tmp_path / "tmp"


def test_what_a_killed_process_left_is_cleared_and_no_others(own_temporary, tmp_path):
    environment = {**os.environ, "TMPDIR": str(own_temporary), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    worker = subprocess.Popen([sys.executable, "-c", AT_WORK], env=environment, stdout=subprocess.PIPE, text=True)
    folder = own_temporary / os.path.basename(worker.stdout.readline().strip())
    others = own_temporary / "glioma-hf-board-others"  # without a lock: nothing of this release
    others.mkdir()
    away = tmp_path / "away"
    away.mkdir()
    (away / LOCK).touch()
    (own_temporary / "glioma-hf-board-link").symlink_to(away)
    assert clear_abandoned() == [], "it is at work"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert (folder / "half.json").is_file()
    Board.open(tmp_path / "board").close()
    assert sorted(own_temporary.iterdir()) == [own_temporary / "glioma-hf-board-link", others]
    assert away.is_dir()


def test_a_folder_of_work_is_gone_afterwards(own_temporary):
    with Board(None, None).work_folder() as folder:
        assert folder.is_dir()
        assert clear_abandoned() == []
    assert list(own_temporary.iterdir()) == []
