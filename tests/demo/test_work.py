"""What the tabs share, without a browser."""

from __future__ import annotations

import json
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

from glioma_hf import InputError, Instances
from glioma_hf.models.saved import ModelFolder
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def work():
    """The page's module `work`, which lies beside its script."""
    sys.path.insert(0, str(ROOT / "spaces" / "demo"))
    import work

    yield work
    sys.path.remove(str(ROOT / "spaces" / "demo"))


def test_a_job_tells_and_returns(work):
    def job(tell):
        for i in range(3):
            tell(i)
        return "end"

    assert list(work.run_stoppable(job)) == [("told", 0), ("told", 1), ("told", 2), ("done", "end")]


def test_a_job_that_is_given_up_stops_at_its_next_word(work):
    told, stopped = [], threading.Event()

    def job(tell):
        try:
            for i in range(10**6):
                told.append(i)
                tell(i)
                time.sleep(0.01)
        finally:
            stopped.set()

    running = work.run_stoppable(job)
    next(running)
    running.close()
    assert stopped.wait(5)
    assert len(told) < 1000


def test_a_job_that_fails_raises_where_it_is_awaited(work):
    def job(tell):
        raise InputError("bad cells")

    with pytest.raises(InputError, match="bad cells"):
        list(work.run_stoppable(job))


def test_complaints_name_the_visitors_file_and_no_place_on_the_server(work):
    error = work.complain(InputError("/tmp/gradio/ab12/cells.tif: the file is empty"), "/tmp/gradio/ab12/cells.tif")
    assert error.message == "cells.tif: the file is empty"
    assert "/srv" not in work.complain("no file at /srv/secret/place.txt").message


def test_a_models_zip_gives_its_known_files_and_nothing_else(tmp_path):
    info = json.dumps({"family": "sam", "base": "embedded"})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in ("deep/adapter_config.json", "deep/adapter_model.safetensors", "deep/evil.py"):
            packed.writestr(name, name)
        packed.writestr("deep/model.json", info)
    (tmp_path / "out").mkdir()
    ModelFolder.unpack(tmp_path / "a.zip", tmp_path / "out", ["sam"])
    names = ["adapter_config.json", "adapter_model.safetensors", "model.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    with zipfile.ZipFile(tmp_path / "climbs.zip", "w") as packed:
        packed.writestr("../adapter_config.json", "{}")
    with pytest.raises(InputError, match="leads out of the archive"):
        ModelFolder.unpack(tmp_path / "climbs.zip", tmp_path / "out", ["sam"])
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as packed:
        packed.writestr("model.json", info)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"half\.zip: no saved model lies there \(adapter_config\.json is missing\)"):
        ModelFolder.unpack(tmp_path / "half.zip", tmp_path / "other", ["sam"])


def test_visitors_folders_are_their_own_and_are_deleted(work):
    first, second = work.new_folder(), work.new_folder()
    assert first != second
    assert first.stat().st_mode & 0o077 == 0
    for folder in (first, second):
        (folder / "cells.json").write_text("[]")
        work.forget(folder)
        assert not folder.exists()
    work.forget(None)


def test_samples_are_the_same_for_every_visitor(work):
    image, cells = work.sample("Flat cells")
    assert image.shape == (480, 640)
    assert isinstance(cells, Instances)
    assert len(np.unique(cells.ids)) == len(cells) > 10
