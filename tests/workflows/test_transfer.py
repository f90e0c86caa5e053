"""The transfer study from its YAML file to its page, with tiny networks."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading

import pytest
import yaml

torch = pytest.importorskip("torch")

from glioma_hf import InputError
from glioma_hf.benchmark.study import Study
from glioma_hf.executor import Workers
from glioma_hf.metrics.foreground import foreground
from glioma_hf.metrics.pixel_dice import dice_score
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import Progress
from glioma_hf.workflows.transfer.pieces import pooled
from glioma_hf.workflows.transfer.run import transfer
from tests.cli.test_cli import refused, run
from tests.clusters import two_dask_workers
from tests.models.dummy import DummySegmenter

pytestmark = pytest.mark.usefixtures("dummy")

NETWORK = {"widths": [8, 8, 8, 8, 8]}


def asked(folder, **changes) -> Study:
    """A small study: a network from start values, one pretrained, a model as it is."""
    content = {
        "title": "Three | starts",
        "paper": "Table 1",
        "data": {"synthetic": str(folder)},
        "images": {
            "data": "synthetic",
            "splits": ["spec/train", "spec/validation", "spec/test"],
            "test_only": ["test"],
        },
        "counts": {"train": 2, "validation": 1, "test": 2},
        "repeats": 2,
        "resolutions": {"low": [64, 48], "high": [128, 96]},
        "recipe": {
            "network": NETWORK,
            "epochs": 3,
            "batch": 2,
            "learning_rate": 1e-2,
            "patience": 4,
            "precision": "fp32",
        },
        "check_epochs": 1,
        "pretraining": {
            "before": {
                "data": "synthetic",
                "start": "random",
                "resolution": "low",
                "train": "gen/test",
                "recipe": {"epochs": 2, "batch": 1, "augmentation": {"crop_sides": [0.3, 0.6], "flips": True}},
            }
        },
        "variants": [
            {
                "name": "random",
                "encoder": "tiny",
                "start": "random",
                "resolution": "low",
                "scored": [["low", "low"], ["low", "high"]],
                "paper": [0.9, None],
            },
            {
                "name": "pretrained",
                "encoder": "tiny",
                "start": "before",
                "resolution": "low",
                "method": "crop",
                "scored": [["high", "high"]],
            },
            {"name": "dummy", "model": "dummy", "scored": [["low", "high"]]},
        ],
        "panels": 1,
    }
    return Study.model_validate({**content, **changes})


def scores_of(made) -> dict:
    """What must not depend on who made it and when."""
    return {name: [(r.repeat, r.scores, r.test, r.curve) for r in results] for name, results in made.results.items()}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The same sums here and in other processes: how many threads share them changes their last digits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The small study, made once; tests read it."""
    from glioma_hf.models import FAMILIES

    out = tmp_path_factory.mktemp("studies") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "dummy", "tests.models.dummy")
        return transfer(asked(folder), out), out


def test_every_repeat_of_every_row_is_scored_on_images_that_it_has_not_seen(made):
    study, out = made
    assert study.failed == {}
    assert {name: len(results) for name, results in study.results.items()} == {"random": 2, "pretrained": 2, "dummy": 2}
    for results in study.results.values():
        for each in results:
            assert not set(each.test) & set(each.train + each.validation)
            assert (len(each.train), len(each.validation), len(each.test)) == (2, 1, 2)
            assert all(len(scores) == 2 for scores in each.scores)
    first = [results[0].test for results in study.results.values()]
    assert first[0] == first[1] == first[2]  # rows of a repeat meet the same images
    assert [epoch for epoch, _ in study.results["random"][0].curve] == [1.0, 2.0, 3.0]
    assert len(list((out / "repeats").glob("*.json"))) == 6


def test_a_model_as_it_is_is_scored_by_its_foreground(made, folder):
    study, _ = made
    images = {item.name: item for item in pooled(str(folder), ("spec/train", "spec/validation", "spec/test"))}
    for each in study.results["dummy"]:
        for name, score in zip(each.test, each.scores[0], strict=True):
            mask = foreground(images[name].instances)
            predicted = foreground(DummySegmenter(1.0).segment(images[name].pixels))
            assert score == dice_score(predicted, mask, (128, 96))


def test_what_was_pretrained_is_a_saved_model(made):
    _, out = made
    (folder,) = [path for path in (out / "pretrained").iterdir() if path.is_dir()]
    saved = ModelFolder(folder)
    saved.check()
    assert saved.recipe().augmentation.crop_sides == (0.3, 0.6)
    assert not list((out / "work").iterdir())


def test_tables_curves_and_panels_are_written(made):
    study, out = made
    rows = list(csv.DictReader((out / "study.csv").open()))
    assert [(row["row"], row["r1"], row["r2"]) for row in rows] == [
        ("random", "low", "low"),
        ("random", "low", "high"),
        ("pretrained", "high", "high"),
        ("dummy", "low", "high"),
    ]
    assert rows[0]["paper"] == "0.9"
    assert float(rows[3]["dice"]) == pytest.approx(study.averages()[3].dice)
    assert "random over dummy at (low, high)" in (out / "study.md").read_text()
    assert (out / "study.tex").read_text().count("&") == 5 * 4
    assert (out / "curves.png").stat().st_size > 1000
    page = (out / "index.html").read_text()
    assert page.count("<figure>") == 3
    assert len(list((out / "panels").glob("*.jpg"))) == 3


def test_run_again_it_goes_on_where_it_was(made, folder, tmp_path):
    import shutil

    study, out = made
    shutil.copytree(out, tmp_path / "out")
    assert transfer(asked(folder), tmp_path / "out").done_before == 6
    gone = sorted((tmp_path / "out" / "repeats").glob("random_repeat2*.json"))
    gone[0].unlink()
    told: list[str] = []
    again = transfer(asked(folder), tmp_path / "out", on_progress=lambda progress: told.append(progress.message))
    assert again.done_before == 5
    assert scores_of(again) == scores_of(study)
    assert next(line for line in told if "DiceScore" in line).startswith("1 of 1: random, repeat 2: DiceScore 0.")
    more = transfer(asked(folder), tmp_path / "out", repeats=1)
    assert (more.done_before, len(more.results["random"])) == (3, 1)


def test_a_repeat_that_is_broken_off_goes_on_to_the_same_scores(made, folder, tmp_path):
    study, _ = made

    def stop(progress: Progress) -> None:
        if progress.loss is not None and progress.total == 3 and progress.done == 2:
            raise KeyboardInterrupt

    only = asked(folder, repeats=1, variants=[asked(folder).variants[0].model_dump()])
    with pytest.raises(KeyboardInterrupt):
        transfer(only, tmp_path / "out", on_progress=stop)
    again = transfer(only, tmp_path / "out")
    assert scores_of(again)["random"] == scores_of(study)["random"][:1]


@pytest.mark.alone
def test_repeats_are_shared_by_processes(made, folder, tmp_path):
    study, _ = made
    only = asked(folder, variants=[asked(folder).variants[0].model_dump()])
    shared = transfer(only, tmp_path / "out", workers=Workers(jobs=2))
    assert scores_of(shared)["random"] == scores_of(study)["random"]


@pytest.mark.alone
def test_repeats_are_shared_by_a_cluster_that_loses_a_worker(made, folder, tmp_path):
    pytest.importorskip("distributed")
    study, _ = made
    only = asked(folder, variants=[asked(folder).variants[0].model_dump()])
    with two_dask_workers(tmp_path) as (address, processes):
        lost = threading.Event()

        def lose(progress: Progress) -> None:
            if progress.message and not lost.is_set():
                os.kill(processes[0], signal.SIGKILL)
                lost.set()

        shared = transfer(only, tmp_path / "out", workers=Workers(scheduler=address), on_progress=lose)
    assert lost.is_set()
    assert scores_of(shared)["random"] == scores_of(study)["random"]


def test_a_row_that_fails_is_told_and_the_rest_goes_on(folder, tmp_path):
    rows = [
        {"name": "no weights", "encoder": "tiny", "start": "imagenet", "resolution": "low", "scored": [["low", "low"]]},
        {"name": "dummy", "model": "dummy", "scored": [["low", "low"]]},
    ]
    made = transfer(asked(folder, variants=rows, repeats=1), tmp_path / "out")
    assert "tiny was never pretrained" in made.failed["no weights"]
    assert len(made.results["dummy"]) == 1
    assert "failed: the encoder tiny" in (tmp_path / "out" / "index.html").read_text()


def test_bad_input_is_one_sentence_before_any_work(folder, tmp_path, made):
    _, out = made
    (before,) = [path for path in (out / "pretrained").iterdir() if path.is_dir()]
    row = {"name": "v", "encoder": "tiny", "start": "random", "resolution": "low", "scored": [["low", "low"]]}
    for changes, says in (
        (
            {"variants": [{**row, "start": "nowhere"}]},
            "v: the start 'nowhere' isn't known; it is random, imagenet, befo",
        ),
        ({"variants": [{**row, "encoder": "lite0", "start": str(before)}]}, "are of the encoder tiny, the study asks"),
        ({"variants": [{**row, "recipe": {"epochz": 1}}]}, "the recipe of v: epochz"),
        ({"images": {"data": "other"}}, "the data set 'other' isn't one of the study's"),
        ({"counts": {"train": 9, "validation": 1, "test": 2}}, "can't be split into 9 for training"),
    ):
        with pytest.raises(InputError, match=says):
            transfer(asked(folder, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_makes_a_study(folder, tmp_path):
    content = asked(folder, variants=[{"name": "dummy", "model": "dummy", "scored": [["low", "low"]]}]).model_dump(
        mode="json", exclude_unset=True
    )
    content["data"] = {}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    done = run("transfer", tmp_path / "mine.yaml", "--data", f"synthetic={folder}", "--out", tmp_path / "out")
    assert "2 repeats of 1 rows scored" in done.stdout
    results = [json.loads(path.read_text()) for path in (tmp_path / "out" / "repeats").glob("*.json")]
    assert len(results) == 2
    content["variants"].append(
        {
            "name": "no weights",
            "encoder": "tiny",
            "resolution": "low",
            "scored": [["low", "low"]],
            "recipe": {"batch": 1},
        }
    )
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(content))
    done = run("transfer", tmp_path / "more.yaml", "--data", f"synthetic={folder}", "--out", tmp_path / "out")
    assert done.returncode == 1  # some failed
    assert "2 repeats of 2 rows scored, 2 of them done before" in done.stdout
    line = refused("transfer", tmp_path / "mine.yaml", "--out", tmp_path / "x")
    assert "the data set 'synthetic' isn't one of the study's (none); add it to data, or give --data" in line
