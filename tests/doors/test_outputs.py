"""Where outputs may go: never over an input, never over what the command didn't write, one writer at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glioma_hf import InputError
from glioma_hf.data.prepare import prepare
from glioma_hf.errors import NotWritten
from glioma_hf.files import growing_folder, new_file, new_folder, resumable_folder
from glioma_hf.places import read_marker
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.cli.test_cli import refused, run
from tests.strategies import square

pytestmark = pytest.mark.usefixtures("dummy")
SCENE = SceneConfig(width=96, height=64, cells_per_megapixel=(400, 400))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def data(folder, tmp_path) -> Path:
    """A prepared data set of the test's own."""
    return Path(shutil.copytree(folder, tmp_path / "D"))


@pytest.fixture
def coco(tmp_path) -> tuple[Path, Path]:
    """References and results of one image."""
    references = {
        "images": [{"id": 1, "file_name": "a.tif", "width": 40, "height": 30}],
        "annotations": [{"id": 8, "image_id": 1, "category_id": 1, "segmentation": square(5, 5, 9)}],
        "categories": [{"id": 1, "name": "Cell"}],
    }
    results = [{"image_id": 1, "category_id": 1, "segmentation": square(5, 5, 9), "score": 0.9}]
    files = tmp_path / "references.json", tmp_path / "results.json"
    for file, content in zip(files, (references, results), strict=True):
        file.write_text(json.dumps(content))
    return files


def commands(data: Path, archive: Path) -> dict[str, list[object]]:
    """Commands that write a folder, without their --out."""
    return {
        "prepare": ["data", "prepare", "--archive", archive],
        "stats": ["data", "stats", data],
        "publish": ["data", "publish", data, "--repo", "me/cells", "--dry-run"],
        "train": ["train", "--data", data, "--model", "dummy"],
        "quickstart": ["quickstart", "--archive", archive, "--model", "dummy"],
    }


NAMES = ["prepare", "stats", "publish", "train", "quickstart"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["the data set", "its parent", "inside it", "a link to it", "the folder one is in"])
def test_a_data_set_is_never_replaced(name, where, data, tmp_path, monkeypatch):
    synthesize(tmp_path / "a.zip", 1, SyntheticArchiveConfig(train=1, valid=1, test=1, gen=0, scene=SCENE))
    (tmp_path / "link").symlink_to(data)
    out = {"its parent": tmp_path, "inside it": data / "x", "a link to it": tmp_path / "link"}.get(where, data)
    if where == "the folder one is in":
        monkeypatch.chdir(data)
        out = Path(".")
    command = [*commands(data, tmp_path / "a.zip")[name], "--out", out]
    if name in ("prepare", "quickstart") and where == "inside it":
        pytest.skip("a data set that isn't read may have other folders in it")
    if name == "prepare" and where in ("the data set", "a link to it"):
        (data / "mine.txt").write_text("mine")  # a data set may be made anew, but not where others' files lie
    before = contents(tmp_path)
    refused(*command)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_later_file_of_the_users_is_kept(name, data, tmp_path):
    synthesize(tmp_path / "a.zip", 1, SyntheticArchiveConfig(train=1, valid=1, test=1, gen=0, scene=SCENE))
    command = [*commands(data, tmp_path / "a.zip")[name], "--out", tmp_path / "out"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert run(*command).returncode == 0  # what it wrote itself is made anew
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = contents(tmp_path / "out")
    assert "holds notes.txt, which isn't of the run that made the folder" in refused(*command)
    assert contents(tmp_path / "out") == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_scores_replace_scores_alone(coco, data, tmp_path):
    files = ["evaluate", "--references", coco[0], "--predictions", coco[1], "--border", 0, "--out"]
    for out, words in ((data, "was written as prepared data set, not as scores"), (tmp_path, "which is read")):
        before = contents(tmp_path)
        assert words in refused(*files, out)
        assert contents(tmp_path) == before
    assert run(*files, tmp_path / "scores").returncode == 0
    assert run(*files, tmp_path / "scores").returncode == 0
    labels = tmp_path / "labels"
    labels.mkdir()
    Image.fromarray(np.ones((30, 40), np.uint8)).save(labels / "a.png")
    before = contents(tmp_path)
    folder_of_labels = ["evaluate", "--references", coco[0], "--predictions", labels, "--out", labels]
    assert "is read itself" in refused(*folder_of_labels)
    two = ["agreement", "--source", f"a={coco[0]}", "--source", f"b={coco[1]}", "--out"]
    assert "was written as scores, not as agreement" in refused(*two, tmp_path / "scores")
    assert contents(tmp_path) == before


def test_a_link_to_an_empty_folder_is_followed(data, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    for link, place in (("link", "real"), ("dangling", "new")):
        done = run("data", "stats", data, "--out", tmp_path / link)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / link).is_symlink()
        assert (tmp_path / place / "overview.json").is_file()


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "users file", "long name", "under a file"])
def test_files_go_only_where_files_of_ours_lie(kind, tmp_path):
    out = tmp_path / "a.zip"
    if kind == "fifo":
        os.mkfifo(out)
    elif kind == "device":
        out.symlink_to("/dev/null")
    elif kind == "folder":
        out.mkdir()
    elif kind == "users file":
        out.write_text("mine")
    elif kind == "long name":
        out = tmp_path / ("a" * 260)
    else:
        out.write_text("mine")
        out = out / "b" / "c.zip"
    before = sorted(tmp_path.rglob("*"))
    small = ["--train", 1, "--valid", 0, "--test", 0, "--gen", 0, "--width", 96, "--height", 64]
    refused("data", "synthesize", "--out", out, *small)
    assert sorted(tmp_path.rglob("*")) == before
    assert Path("/dev/null").is_char_device()
    if kind == "users file":
        assert out.read_text() == "mine"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["long name", "under a file", "device", "fifo"])
def test_folders_go_only_where_folders_may_be(name, kind, data, archive, tmp_path):
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    out = {"long name": tmp_path / ("a" * 260), "under a file": tmp_path / "file" / "x" / "y"}.get(kind)
    out = out or (Path("/dev/null") if kind == "device" else tmp_path / "fifo")
    before = sorted(tmp_path.rglob("*"))
    refused(*commands(data, archive)[name], "--out", out)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_of_255_bytes_is_fine(data, tmp_path):
    out = tmp_path / ("ä" * 127)
    assert run("data", "stats", data, "--out", out).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] != []
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_an_empty_marker_or_note_doesnt_block(archive, tmp_path):
    def stop(progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(archive, tmp_path / "set", on_progress=stop)
    (partial,) = (p for p in tmp_path.iterdir() if p.name == ".set.partial")
    (partial / ".glioma-hf").write_text("")
    prepare(archive, tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    (tmp_path / ".set.partial").mkdir()
    prepare(archive, tmp_path / "set")
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="wasn't left by glioma-hf"):
        prepare(archive, tmp_path / "set")
    assert (tmp_path / ".set.partial" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"images": 1}', "cut", "gone", "other"])
def test_parts_are_trusted_by_what_is_in_them(damage, archive, tmp_path, monkeypatch):
    from glioma_hf.data import prepare as preparing

    monkeypatch.setattr(preparing, "IMAGE_BYTES_PER_FILE", 1)
    prepare(archive, tmp_path / "whole")

    def stop(progress) -> None:
        if progress.message.startswith("gen/test"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(archive, tmp_path / "set", on_progress=stop)
    work = tmp_path / ".set.partial"
    file = work / "data" / "spec-train-00001.parquet"
    note = work / ".work" / "spec-train-00001.json"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "gone":
        file.unlink()
    elif damage == "other":
        shutil.copyfile(work / "data" / "spec-train-00000.parquet", file)
    else:
        note.write_text(damage)
    told: list[str] = []
    prepared = prepare(archive, tmp_path / "set", on_progress=lambda news: told.append(news.message))
    assert [split.images for split in prepared.splits] == [2, 1, 2, 1]
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    assert any("is written anew" in line for line in told)


class TestLocks:
    def test_two_archives_into_one_folder(self, archive, tmp_path, monkeypatch):
        monkeypatch.setattr("glioma_hf.locks.WAIT", 0.1)
        inside, go_on = threading.Event(), threading.Event()

        def hold(progress) -> None:
            inside.set()
            assert go_on.wait(20)

        first = threading.Thread(target=prepare, args=(archive, tmp_path / "set"), kwargs={"on_progress": hold})
        first.start()
        assert inside.wait(20)
        synthesize(tmp_path / "b.zip", 2, SyntheticArchiveConfig(train=1, valid=1, test=1, gen=0, scene=SCENE))
        with pytest.raises(InputError, match="set is being written by another run; wait until that ends"):
            prepare(tmp_path / "b.zip", tmp_path / "set")
        go_on.set()
        first.join()
        prepare(archive, tmp_path / "alone")
        assert contents(tmp_path / "set") == contents(tmp_path / "alone")

    @pytest.mark.parametrize("hold", [new_file, lambda p: growing_folder(p, "x"), lambda p: new_folder(p, "x")])
    def test_one_writer(self, hold, tmp_path, monkeypatch):
        monkeypatch.setattr("glioma_hf.locks.WAIT", 0.1)
        with hold(tmp_path / "out"), pytest.raises(InputError, match="another run"), hold(tmp_path / "out"):
            raise AssertionError
        with hold(tmp_path / "out"):
            pass
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]

    def test_a_lock_ends_with_its_process(self, tmp_path):
        code = (
            "import sys, time; from glioma_hf.files import new_folder\n"
            f"with new_folder({str(tmp_path / 'out')!r}, 'x'): print('in', flush=True); time.sleep(60)"
        )
        holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline()
        holder.kill()
        holder.wait()
        assert (tmp_path / ".out.lock").exists()
        with new_folder(tmp_path / "out", "y") as work:
            (work / "a").touch()
        assert [p.name for p in tmp_path.iterdir()] == ["out"]

    def test_who_waits_goes_on_when_the_other_ends(self, tmp_path):
        def hold() -> None:
            with new_folder(tmp_path / "out", "x"):
                inside.set()
                time.sleep(0.4)

        inside = threading.Event()
        other = threading.Thread(target=hold)
        other.start()
        inside.wait()
        with new_folder(tmp_path / "out", "x") as work:
            (work / "b").touch()
        other.join()
        assert (tmp_path / "out" / "b").exists()


def test_a_strangers_file_that_comes_meanwhile_is_kept(tmp_path):
    with new_folder(tmp_path / "out", "x") as work:
        (work / "a").write_text("1")
    with pytest.raises(InputError, match="holds mine, which came there meanwhile"), new_folder(tmp_path / "out", "x"):
        (tmp_path / "out" / "mine").write_text("mine")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {".glioma-hf", "a", "mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_kill_in_the_exchange_is_put_right(tmp_path):
    with new_folder(tmp_path / "out", "x") as work:
        (work / "a").write_text("1")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(KeyError), new_folder(tmp_path / "out", "x"):
        raise KeyError
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_unfinished_model_isnt_thrown_away_by_another_command(data, tmp_path):
    def break_off() -> None:
        with resumable_folder(tmp_path / "out", "model", "job") as work:
            (work / "checkpoint").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert "is an unfinished model; finish or delete it" in refused("data", "stats", data, "--out", tmp_path / "out")
    with resumable_folder(tmp_path / "out", "model", "job") as work:
        assert (work / "checkpoint").exists()
    marker = read_marker(tmp_path / "out")
    assert marker is not None
    assert (marker["kind"], marker["files"]) == ("model", ["checkpoint"])


def test_faults_keep_what_can_be_gone_on_with(tmp_path):
    def fill_the_disk() -> None:
        with resumable_folder(tmp_path / "out", "model", "job") as work:
            (work / "kept").touch()
            with new_file(work / "file"):
                raise OSError(28, "No space left on device")

    with pytest.raises(NotWritten, match=r"out can't be written \(No space left on device\); make room"):
        fill_the_disk()
    with resumable_folder(tmp_path / "out", "model", "job") as work:
        assert (work / "kept").exists()


class TestTrainingIsKnownByContent:
    def break_off(self, data: Path, out: Path) -> None:
        def stop(progress) -> None:
            if progress.message.startswith("choosing thresholds"):
                raise KeyboardInterrupt

        from glioma_hf import train

        with pytest.raises(KeyboardInterrupt):
            train(data, [1], out, "dummy", on_progress=stop)

    def test_the_same_data_elsewhere_is_the_same_job(self, data, tmp_path):
        from glioma_hf import train

        self.break_off(data, tmp_path / "m")
        (tmp_path / "other").mkdir()
        data.rename(tmp_path / "other" / "D")
        told: list[str] = []
        train(tmp_path / "other" / "D", [1], tmp_path / "m", "dummy", on_progress=lambda p: told.append(p.message))
        assert "beginning anew" not in "".join(told)

    def test_other_data_at_the_same_place_is_another_job(self, data, tmp_path):
        from glioma_hf import train

        self.break_off(data, tmp_path / "m")
        shutil.rmtree(data)
        scene = SceneConfig(width=256, height=192, cells_per_megapixel=(250, 300))
        synthesize(tmp_path / "a.zip", 9, SyntheticArchiveConfig(train=2, valid=1, test=2, gen=1, scene=scene))
        prepare(tmp_path / "a.zip", data)
        told: list[str] = []
        train(data, [1], tmp_path / "m", "dummy", on_progress=lambda p: told.append(p.message))
        assert "was made of other data or settings: beginning anew" in told[0]


def test_thresholds_go_into_files_of_thresholds_alone(data, tmp_path):
    image = tmp_path / "precious.json"
    image.write_text('{"mine": 1}')
    tune = ["tune", "--data", data, "--model", "dummy", "--out"]
    assert "isn't a file that this command wrote" in refused(*tune, image)
    assert image.read_text() == '{"mine": 1}'
    assert "which is read" in refused(*tune, data / "provenance.json")
    assert run(*tune, tmp_path / "t.json").returncode == 0
    assert run(*tune, tmp_path / "t.json").returncode == 0


@pytest.mark.parametrize(
    "name", ["../secret.parquet", "/etc/hostname", "data/../../secret.parquet", "link", "linked/x"]
)
def test_only_the_data_sets_own_files_are_published(name, data, tmp_path):
    (tmp_path / "secret.parquet").write_text("secret")
    (data / "link").symlink_to(tmp_path / "secret.parquet")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "x").write_text("secret")
    (data / "linked").symlink_to(tmp_path / "place")
    provenance = json.loads((data / "provenance.json").read_text())
    provenance["splits"][0]["files"][0] = name
    (data / "provenance.json").write_text(json.dumps(provenance))
    before = contents(tmp_path)
    refused("data", "publish", data, "--repo", "me/cells", "--dry-run", "--out", tmp_path / "tree")
    assert contents(tmp_path) == before


def test_a_data_file_that_was_changed_isnt_published(data, tmp_path):
    file = data / "data" / "spec-test-00000-of-00001.parquet"
    other = data / "data" / "spec-train-00000-of-00001.parquet"
    shutil.copyfile(other, file)
    line = refused("data", "publish", data, "--repo", "me/cells", "--dry-run", "--out", tmp_path / "tree")
    assert "spec-test-00000-of-00001.parquet isn't the file that was prepared" in line


class TestPredictions:
    @pytest.fixture
    def images(self, tmp_path) -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        for number in range(3):
            Image.fromarray(generate_scene(number, SCENE).image).save(folder / f"{number}.png")
        return folder

    def predict(self, *arguments: object) -> str:
        done = run("predict", "--model", "dummy", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def test_nothing_of_the_users_is_overwritten(self, images, tmp_path, monkeypatch):
        monkeypatch.chdir(images)
        (images / "0.csv").write_text("mine")
        before = contents(tmp_path)
        for image, out in (("0.png", "."), (".", "."), ("0.png", images), (images, tmp_path)):
            assert "is read" in refused("predict", "--model", "dummy", image, "--out", out)
            assert contents(tmp_path) == before
        (tmp_path / "out").mkdir()
        for name in ("1.csv", "1_rois.zip", "1.json"):
            (tmp_path / "out" / name).write_text("mine")
            line = refused("predict", "--model", "dummy", images, "--out", tmp_path / "out")
            assert f"{name} is there already and predict didn't write it" in line
            assert [p.name for p in (tmp_path / "out").iterdir()] == [name]
            (tmp_path / "out" / name).unlink()
        (tmp_path / "out" / "notes.txt").write_text("mine")
        self.predict(images, "--out", tmp_path / "out")
        assert (tmp_path / "out" / "notes.txt").read_text() == "mine"

    def test_ids_are_unique_and_stay_while_the_folder_grows(self, images, tmp_path):
        out = tmp_path / "out"
        self.predict(images / "1.png", "--out", out)
        self.predict(images, "--out", out)
        Image.fromarray(generate_scene(7, SCENE).image).save(images / "01.png")
        told = self.predict(images, "--out", out)
        assert told.count("is done already") == 3
        ids = {}
        for name in ("0", "1", "2", "01"):
            rows = json.loads((out / f"{name}.json").read_text())
            assert rows
            (ids[name],) = {row["image_id"] for row in rows}
        assert ids == {"1": 1, "0": 2, "2": 3, "01": 4}

    def test_results_are_results_for_pycocotools(self, images, tmp_path):
        from pycocotools.coco import COCO

        self.predict(images, "--out", tmp_path / "out")
        rows = [row for n in range(3) for row in json.loads((tmp_path / "out" / f"{n}.json").read_text())]
        references = COCO()
        references.dataset = {"images": [{"id": i} for i in (1, 2, 3)], "categories": [{"id": 1}], "annotations": []}
        references.createIndex()
        assert len(references.loadRes(rows).anns) == len(rows)

    def test_what_changed_is_made_anew_and_told(self, images, tmp_path):
        out = tmp_path / "out"
        self.predict(images, "--out", out)
        Image.fromarray(generate_scene(9, SCENE).image).save(images / "1.png")
        told = self.predict(images, "--out", out)
        assert told.count("is done already") == 2
        assert "anew: the image changed" in told
        told = self.predict(images, "--out", out, "--pixel-size", 0.5)
        assert told.count("anew: the pixel size changed") == 3
        told = self.predict(images, "--out", out, "--pixel-size", 0.5, "--diameter", 9)
        assert told.count("anew: the settings changed") == 3
        (out / "2.csv").unlink()
        told = self.predict(images, "--out", out, "--pixel-size", 0.5, "--diameter", 9)
        assert told.count("is done already") == 2
        assert (out / "2.csv").is_file()

    def test_another_model_is_told_by_its_weights(self, images, tmp_path):
        from glioma_hf import predict
        from tests.models.dummy import DummySegmenter

        lines: list[str] = []
        for level in (1.0, 1.0, 1.5):
            predict(images, tmp_path / "out", DummySegmenter(level), on_progress=lambda p: lines.append(p.message))
        assert sum("is done already" in line for line in lines) == 3
        assert sum("anew: the model changed" in line for line in lines[6:]) == 3

    def test_an_image_of_the_same_name_from_elsewhere_isnt_taken_for_it(self, images, tmp_path):
        self.predict(images, "--out", tmp_path / "out")
        (tmp_path / "day2").mkdir()
        shutil.copyfile(images / "1.png", tmp_path / "day2" / "1.png")
        assert "1.png is done already" in self.predict(tmp_path / "day2", "--out", tmp_path / "out")
        Image.fromarray(generate_scene(9, SCENE).image).save(tmp_path / "day2" / "1.png")
        before = contents(tmp_path / "out")
        line = refused("predict", "--model", "dummy", tmp_path / "day2", "--out", tmp_path / "out")
        assert "holds results of another 1.png" in line
        Image.fromarray(generate_scene(9, SCENE).image).save(tmp_path / "day2" / "1.bmp")
        (tmp_path / "day2" / "1.png").unlink()
        line = refused("predict", "--model", "dummy", tmp_path / "day2", "--out", tmp_path / "out")
        assert "holds results of 1.png; 1.bmp is called 1 too" in line
        assert contents(tmp_path / "out") == before

    def test_a_table_that_the_user_edited_is_kept(self, images, tmp_path):
        self.predict(images, "--out", tmp_path / "out")
        (tmp_path / "out" / "1.csv").write_text("my notes")
        for changed in ([], ["--pixel-size", 2]):
            line = refused("predict", "--model", "dummy", images / "1.png", "--out", tmp_path / "out", *changed)
            assert "1.csv was changed since predict wrote it" in line
        assert (tmp_path / "out" / "1.csv").read_text() == "my notes"

    def test_a_record_that_was_cut_doesnt_block(self, images, tmp_path):
        self.predict(images, "--out", tmp_path / "out")
        record = tmp_path / "out" / ".glioma-hf"
        whole = record.read_bytes()
        record.write_bytes(whole[:-30])  # of the table of all cells only the line that was written before it
        (tmp_path / "out" / "all_cells.csv").write_text("half")
        assert self.predict(images, "--out", tmp_path / "out").count("is done already") == 3
        assert (tmp_path / "out" / "all_cells.csv").read_text() != "half"
        images_alone = b"".join(line for line in whole.splitlines(keepends=True) if b'"table"' not in line)
        record.write_bytes(images_alone[:-31])  # of the last image only the line that was written before its files
        (tmp_path / "out" / "all_cells.csv").unlink()
        told = self.predict(images, "--out", tmp_path / "out")
        assert told.count("is done already") == 2
        assert self.predict(images, "--out", tmp_path / "out").count("is done already") == 3

    def test_a_name_too_long_is_told_before_anything_is_done(self, images, tmp_path):
        Image.fromarray(generate_scene(9, SCENE).image).save(images / ("x" * 251 + ".png"))
        line = refused("predict", "--model", "dummy", images, "--out", tmp_path / "out")
        assert "has over 255 bytes" in line
        assert not (tmp_path / "out").exists()
        (images / ("x" * 251 + ".png")).rename(images / ("x" * 244 + ".png"))
        self.predict(images, "--out", tmp_path / "out")

    def test_other_folders_of_ours_stay_what_they_are(self, images, data, tmp_path):
        before = contents(data)
        assert "was written as prepared data set, not as predictions" in refused(
            "predict", "--model", "dummy", images, "--out", data
        )
        assert contents(data) == before
