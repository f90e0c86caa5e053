"""What is sent by those who must be kept out: refused in a sentence, and nothing of it stays."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import func, select

from glioma_hf import InputError
from glioma_hf.leaderboard import jobs, scoring
from glioma_hf.leaderboard.bounded import Bounds, Exceeded
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.submissions import ModelFacts, submit, withdraw
from glioma_hf.leaderboard.tables import Submission
from tests.leaderboard.made import TASK
from tests.strategies import square

SQUARE = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": square(20, 20, 30)}


def refused(board, ann, file, kind="results", task=TASK) -> str:
    """What is said of a file; no trace of it is left."""
    before = sorted(p.name for p in board.database.record.folder.rglob("*"))
    with pytest.raises(InputError) as caught:
        submit(board, ann, task, kind, file, ModelFacts("Bad"))
    assert sorted(p.name for p in board.database.record.folder.rglob("*")) == before
    with board.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 0
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _map(size) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, np.ones(size, np.uint16))
    return file.getvalue()


def packed(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return path


@pytest.mark.usefixtures("in_this_process")
def test_files_that_are_no_results_of_the_task(board, ann, tmp_path):
    file = tmp_path / "bad.json"
    for content, told in (
        ("[" * 200_000, "nested too deeply"),
        ("no json", "isn't JSON"),
        ([SQUARE | {"image_id": 77}], "of the unknown image 77"),
        ([SQUARE | {"category_id": 99}], "category"),
        ([SQUARE | {"category_id": 3}], "no object of the task 'cells'"),
        ([SQUARE | {"score": float("nan")}], "scores are finite numbers"),
        ([SQUARE | {"segmentation": {"size": [192, 256], "counts": "0" * 10**6}}], "RLE"),
        ([SQUARE | {"segmentation": {"size": [10**6, 10**6], "counts": "PPPP"}}], "size"),
        ([SQUARE | {"segmentation": [[10, 10, float("inf"), 10, 20, 20]]}], "finite"),
        ([], "no object of the task 'cells'"),
    ):
        sentence = refused(board, ann, written(file, content))
        assert sentence.startswith("bad.json"), sentence
        assert told in sentence, sentence


@pytest.mark.usefixtures("in_this_process")
def test_more_objects_than_a_submission_may_have(board, ann, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_OBJECTS", 50)
    sentence = refused(board, ann, written(tmp_path / "many.json", [SQUARE] * 51))
    assert sentence == "many.json: 51 objects, more than the 50 that a submission may have"


def test_a_million_objects_end_at_a_bound(board, ann, tmp_path):
    rle = {"size": [192, 256], "counts": "T1o0"}
    row = json.dumps(SQUARE | {"segmentation": rle})
    board.limits = replace(board.limits, check=Bounds(20, 400))
    file = written(tmp_path / "million.json", "[" + ",".join([row] * 10**6) + "]")
    with pytest.raises(Exceeded, match=r"more than 400 MB of memory|longer than 20 s"):
        submit(board, ann, TASK, "results", file, ModelFacts("Bad"))


@pytest.mark.usefixtures("in_this_process")
def test_zips_that_are_no_label_maps(board, ann, tmp_path):
    for files, told in (
        ({"../../etc/test_001.tif": b"x"}, "../../etc/test_001.tif"),
        ({"/etc/test_001.tif": b"x"}, "/etc/test_001.tif"),
        ({"readme.txt": b"x"}, "no label map (TIFF or PNG) lies in it"),
        ({"a/test_001.tif": b"x", "b/test_001.tif": b"x"}, "two label maps are called test_001.tif"),
        ({"test_001.tif": b"x"}, "test_001.tif"),
    ):
        sentence = refused(board, ann, packed(tmp_path / "maps.zip", **files), "label_maps")
        assert told in sentence, sentence
    (tmp_path / "maps.zip").write_bytes(b"PK\x03\x04 no zip")
    assert refused(board, ann, tmp_path / "maps.zip", "label_maps").startswith("maps.zip")
    bomb = packed(tmp_path / "maps.zip", **{"test_001.tif": bytes(600 * 2**20)})
    assert bomb.stat().st_size < 2**20
    assert "bytes" in refused(board, ann, bomb, "label_maps")


@pytest.mark.usefixtures("in_this_process")
def test_label_maps_are_called_as_their_zip_and_by_their_names(board, ann, tmp_path):
    for name, data, told in (
        ("test_001.tif", b"", "maps.zip: test_001.tif: the file is empty"),
        ("x.tif", _map((192, 256)), "maps.zip: predictions of x, which the references don't hold"),
        ("test_001.tif", _map((10, 10)), "maps.zip: image 1 (test_001.tif): the predictions are of size [10, 10]"),
        ("a" * 300 + ".tif", b"x", f"maps.zip: {'a' * 40} can't be unpacked (File name too long)"),
    ):
        sentence = refused(board, ann, packed(tmp_path / "maps.zip", **{name: data}), "label_maps")
        assert sentence.startswith(told), sentence


@pytest.mark.usefixtures("in_this_process")
def test_label_maps_that_fill_the_disk_together(board, ann, tmp_path, monkeypatch):
    """Each of them small enough, and the zip as well."""
    monkeypatch.setattr(jobs, "MAX_UNPACKED", 3 * 2**20)
    many = packed(tmp_path / "maps.zip", **{f"test_{number:03}.tif": bytes(2**20) for number in range(5)})
    sentence = refused(board, ann, many, "label_maps")
    assert sentence == "maps.zip: more than 3 MB when unpacked; send fewer label maps"


class Bad:
    def __reduce__(self):
        return (print, ("it ran",))


@pytest.mark.usefixtures("in_this_process")
def test_models_that_are_none(board, ann, tmp_path, capfd):
    info = {"format": 1, "family": "sam", "base": "embedded", "task": "cells"}
    weights = {"adapter_config.json": "{}", "adapter_model.safetensors": pickle.dumps(Bad())}
    for files, told in (
        ({"model.json": json.dumps(info), **weights}, "isn't safetensors"),
        ({"model.json": json.dumps(info | {"base": "/etc"}), **weights}, "its base '/etc' is none of"),
        ({"model.json": json.dumps(info | {"base": "../../x"}), **weights}, "its base '../../x' is none of"),
        ({"model.json": json.dumps(info | {"family": "os"}), **weights}, "os"),
        ({"model.json": json.dumps(info), "adapter_model.bin": pickle.dumps(Bad())}, "missing"),
        ({**weights, "adapter_config.json": '{"base_model_name_or_path": "/etc"}'}, "its base '/etc' is none of"),
        ({"model.json": json.dumps(info | {"x": 1}), **weights}, "(x: there is no such entry)"),
        ({"model.json": "[]", **weights}, "model.json: can't be read (Input should be an object)"),
        (weights, "names no base"),
        ({"../model.json": json.dumps(info), **weights}, "../model.json"),
    ):
        sentence = refused(board, ann, packed(tmp_path / "model.zip", **files), "model")
        assert told in sentence, sentence
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize("name", ["../../evil.json", "..\\evil.json", "/etc/evil.json", "<script>.json", "a\x00b.json"])
@pytest.mark.usefixtures("in_this_process")
def test_names_of_files_are_names_alone(board, ann, results, name):
    sent = submit(board, ann, TASK, "results", results, ModelFacts("Mine"), name)
    with board.database.reading() as session:
        kept = session.get_one(Submission, sent).file_name
    assert not set(kept) & set("/\\<>\x00")
    assert kept.endswith(".json")
    assert not kept.startswith(".")


def test_models_are_said_in_plain_text():
    for field, text in (("name", ""), ("name", "a\x00"), ("name", "a\u202eb"), ("card", "x" * 30_000)):
        with pytest.raises(InputError, match=r"the model's|a model has a name"):
            ModelFacts(**{"name": "One", field: text})
    for address in ("javascript:alert(1)", "data:text/html,x", "ftp://a"):
        with pytest.raises(InputError, match="begins with https"):
            ModelFacts("One", code_url=address)


@pytest.mark.usefixtures("in_this_process")
def test_a_model_is_run_on_the_tasks_images(board, ann, tmp_path):
    """One of the family that is smallest, as train saves it."""
    from glioma_hf.models import get_family, load_segmenter
    from glioma_hf.models.saved import ModelFolder

    segmenter = load_segmenter("centres:general")
    family = get_family("centres")
    folder = ModelFolder(tmp_path / "saved")
    folder.write(family, segmenter, "general", family.recipe())
    zipped = folder.pack(tmp_path / "model.zip")
    sent = submit(board, ann, TASK, "model", zipped, ModelFacts("Centres"))
    assert scoring.score(board, sent)
    with board.database.reading() as session:
        row = session.get_one(Submission, sent)
        assert (row.state, row.told) == ("scored", "")
        assert row.model.num_params > 100_000
        table = standings(session, Asked(task=TASK, viewer=ann))
        assert table.rows[0].scores["seconds_per_image"] > 0
        assert table.rows[0].scores["parameters"] == row.model.num_params
    assert np.isfinite(table.rows[0].scores["ap50"])
    withdraw(board, ann, sent)
    assert not list((board.database.record.folder / "files").rglob(f"{sent}*")), "what it found goes with it"
