"""What the tabs share, without a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from glioma_hf import InputError, Instances
from glioma_hf.models.saved import ModelFolder
from tests.conftest import ROOT
from tests.demo import hostile


@pytest.fixture(scope="module")
def work():
    """The page's module `work`, which lies beside its script."""
    sys.path.insert(0, str(ROOT / "spaces" / "demo"))
    import work

    yield work
    sys.path.remove(str(ROOT / "spaces" / "demo"))


@pytest.fixture(scope="module")
def telling(work):
    """The page's module `telling`."""
    import telling

    return telling


@pytest.fixture(scope="module")
def offices(work):
    """The page's module `offices`."""
    import offices

    return offices


def test_a_job_tells_and_returns(offices):
    def job(tell):
        for i in range(3):
            tell(i)
        return "end"

    assert list(offices.run_stoppable(job)) == [("told", 0), ("told", 1), ("told", 2), ("done", "end")]


def test_weights_that_a_package_fetches_wait_until_they_are_chosen(work, monkeypatch):
    import modelling

    from glioma_hf.models import FAMILIES

    loaded = []

    def family(name: str, package: str, *bases: str) -> str:
        made = SimpleNamespace(bases=bases, untrained=("raw",), package=package)
        monkeypatch.setitem(sys.modules, f"tests.models.{name}", SimpleNamespace(FAMILY=made))
        monkeypatch.setitem(FAMILIES, name, f"tests.models.{name}")
        return name

    names = [family("fetching", "json", "large", "raw"), family("missing", "no_such_package", "any"), "deepsea"]
    monkeypatch.setattr(modelling, "load", lambda model, adapter: loaded.append(model))
    assert modelling._bases(tuple(names)) == [("fetching", "large"), ("deepsea", "published")]
    assert loaded == ["deepsea:published"]


def test_a_job_that_is_given_up_stops_at_its_next_word(offices):
    told, stopped = [], threading.Event()

    def job(tell):
        try:
            for i in range(10**6):
                told.append(i)
                tell(i)
                time.sleep(0.01)
        finally:
            stopped.set()

    running = offices.run_stoppable(job)
    next(running)
    running.close()
    assert stopped.wait(5)
    assert len(told) < 1000


def test_a_job_that_fails_raises_where_it_is_awaited(offices):
    def job(tell):
        raise InputError("bad cells")

    with pytest.raises(InputError, match="bad cells"):
        list(offices.run_stoppable(job))


def test_complaints_name_the_visitors_file_and_no_place_on_the_server(telling):
    told = telling.sentence(InputError("/tmp/gradio/ab12/cells.tif: the file is empty"), "/tmp/gradio/ab12/cells.tif")
    assert told == "cells.tif: the file is empty"
    assert "/srv" not in telling.sentence("no file at /srv/secret/place.txt")


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("noted in all: 3 boxes; --strict refuses them", "Noted in all: 3 boxes"),
        ("make it anew (glioma-hf data prepare), then again", "Make it anew, then again"),
        ("give thresholds (--adapter FOLDER) or a file", "Give thresholds or a file"),
        ("a - b -- c: the file is empty", "A - b -- c: the file is empty"),
    ],
)
def test_words_of_the_command_line_are_left_out(telling, told, shown):
    assert telling.sentence(InputError(told)) == shown


def test_a_second_error_doesnt_take_the_firsts_place(telling):
    told = telling.bad([InputError("one.tif: <empty>"), "two.tif: damaged"])
    assert told == '<p class="bad">one.tif: &lt;empty&gt;</p><p class="bad">two.tif: damaged</p>'


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


def test_visitors_folders_are_their_own_and_are_deleted(offices):
    first, second = offices.new_folder(), offices.new_folder()
    assert first != second
    assert first.stat().st_mode & 0o077 == 0
    for folder in (first, second):
        (folder / "cells.json").write_text("[]")
        offices.forget(folder)
        assert not folder.exists()
    offices.forget(None)


def test_samples_are_the_same_for_every_visitor(work):
    from samples import sample

    image, cells = sample("Flat cells")
    assert image.shape == (480, 640)
    assert isinstance(cells, Instances)
    assert len(np.unique(cells.ids)) == len(cells) > 10


def test_what_is_ours_is_told_with_a_number_that_the_log_has(telling, caplog):
    sentence = telling.unforeseen(KeyError("/srv/secret"))
    number = re.search(r"number (\w{8})$", sentence).group(1)
    assert number in caplog.text
    assert "secret" not in sentence
    assert "KeyError" in caplog.text


def test_what_fails_of_an_image_that_is_closed_meanwhile_is_no_news(telling, offices):
    ui = SimpleNamespace(status="status")

    def settle(ui, batch, error):
        raise error

    asked, unasked = telling.bind(settle, ui), telling.bind(settle, ui, asked=False)
    folder, other = str(offices.new_folder()), "/no/folder/of/a/visitor"
    ours, theirs = FileNotFoundError("facts.json"), InputError("it is no longer kept here")
    assert "our fault" in asked(folder, ours)["status"]
    offices.forget(folder)
    assert "our fault" in asked(other, ours)["status"]
    assert "no longer kept" in asked(folder, theirs)["status"]
    for said in (asked(folder, ours), unasked(folder, ours), unasked(folder, theirs)):
        assert said["status"]["__type__"] == "update"


def test_leaving_the_list_of_samples_opens_what_was_chosen_and_nothing_again(work, offices):
    import batch as batches
    import opening

    open_now = str(offices.new_folder())
    batches.add(open_now, batches.Facts("sparse_cells.png", sample="Sparse cells"))
    for name in ("Sparse cells", None):
        changes = list(opening.open_sample(SimpleNamespace(status="status"), name, open_now))
        assert [list(change) for change in changes] == [["status"]]
    assert Path(open_now).is_dir()


@pytest.mark.parametrize(
    ("job", "says"), [("allocate", r"needed more than \d+ MB of memory on this server"), ("fail", "our fault")]
)
def test_a_job_of_a_visitor_that_takes_too_much(offices, job, says):
    """4 GB, in the process that reads: the page's own bounds."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    import gradio as gr
    from limits import Page

    with Page() as page:
        text = gr.Textbox()
        text.submit(lambda _: offices.read(getattr(hostile, job)), text, text)
    # In a thread of its own: the browser of other tests may have an event loop running in this one.
    with pytest.raises(gr.Error) as error, ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, page.process_api(next(iter(page.fns.values())), ["x"])).result()
    assert re.search(says, error.value.message)


def test_names_that_are_folders_here_are_no_names(work, tmp_path, monkeypatch):
    (tmp_path / "user" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="isn't the name of"):
        work.on_hub("user/model", "a model on the Hub")
    assert work.on_hub(" user/other ", "a model on the Hub") == "user/other"


def test_a_model_is_loaded_once_by_four_at_once(work):
    """In a fresh process: transformers' loading isn't made for threads."""
    code = (
        f"import sys, threading; sys.path[:0] = {[str(ROOT / 'spaces' / 'demo'), str(ROOT)]}\n"
        "import modelling\n"
        "got = []\n"
        "def load(): got.append(modelling.load('sam:embedded', None))\n"
        "threads = [threading.Thread(target=load) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(got) == 4 and len(set(map(id, got))) == 1, got\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """Where servers put their folders, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_server_sweeps_what_a_killed_one_left_and_nothing_else(work, temporary):
    import place

    code = (
        f"import sys, os; sys.path[:0] = {[str(ROOT / 'spaces' / 'demo'), str(ROOT)]}\n"
        "import place; kept = place.Place(); (kept.uploads / 'a').write_bytes(bytes(100))\n"
        "print(kept.root, flush=True); sys.stdin.read() if len(sys.argv) > 1 else os._exit(9)\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", code]
    dead = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False).stdout.strip()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, "lives"], text=True, env=environment, **pipes) as alive:
        other = Path(alive.stdout.readline().strip())
        stranger = temporary / "someones"
        stranger.mkdir()
        mine = place.Place()
        assert not Path(dead).exists()
        assert other.exists()
        assert stranger.exists()
        alive.stdin.close()
        alive.wait()
    assert not other.exists()  # at its exit
    mine.remove()
    assert list(temporary.iterdir()) == [stranger]


def test_uploads_that_broke_off_are_deleted_and_whole_ones_kept(work, temporary):
    import place

    mine = place.Place()
    (mine.uploads / "hash").mkdir()
    for name in ("hash/whole.tif", "tmpabc", "tmpnow"):
        (mine.uploads / name).write_bytes(b"x")
    for name in ("hash/whole.tif", "tmpabc"):
        os.utime(mine.uploads / name, (1, 1))
    mine.tidy()
    assert sorted(p.name for p in mine.uploads.rglob("*")) == ["hash", "tmpnow", "whole.tif"]
    mine.remove()


def test_no_visitor_fills_the_disk(work, temporary, monkeypatch):
    import kept
    import place

    mine = place.Place()
    old, new = mine.new_folder(), mine.new_folder()
    for folder in (old, new):
        (folder / "image.npy").write_bytes(bytes(1000))
    os.utime(old, (1, 1))
    monkeypatch.setattr(place, "MOST_BYTES", 1500)
    another = mine.new_folder()  # for which the oldest goes
    assert sorted(mine.visitors.iterdir()) == sorted([new, another])
    with pytest.raises(InputError, match="no longer kept here"):
        kept.kept_image(old)
    (another / "image.npy").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="disk is full for now"):
        mine.new_folder()
    mine.remove()
