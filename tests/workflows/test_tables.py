"""Tables of the benchmark, from the YAML file to the page, with the dummy family."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tifffile
import yaml

from glioma_hf import InputError
from glioma_hf.benchmark.results import read_row
from glioma_hf.benchmark.scoring import evaluate_files
from glioma_hf.benchmark.table import Table
from glioma_hf.errors import NotWritten
from glioma_hf.executor import Workers
from glioma_hf.models import FAMILIES
from glioma_hf.progress import to_lines
from glioma_hf.workflows.prediction import predict
from glioma_hf.workflows.tables.run import benchmark
from tests.cli.test_cli import refused, run
from tests.clusters import two_dask_workers
from tests.models.contract import SCENE
from tests.models.dummy import DummySegmenter

pytestmark = pytest.mark.usefixtures("dummy")

MODELS = [
    {"name": "as it is", "model": "dummy"},
    {"name": "trained", "train": {"model": "dummy", "images": "all", "seeds": [0, 1]}},
]
DUMMY_IN_WORKERS = "from glioma_hf.models import FAMILIES\nFAMILIES['dummy'] = 'tests.models.dummy'\n"


def asked(folder, **changes) -> Table:
    """A small table."""
    content = {
        "title": "Two models | and more",
        "data": {"synthetic": str(folder)},
        "score": [{"data": "synthetic", "split": "spec/test", "tasks": ["cells"]}],
        "models": MODELS,
        "panels": 1,
    }
    return Table.model_validate(content | changes)


def scores_of(made) -> list:
    """What must not depend on who made it: scores and counts of each cell."""
    return [(cell.cell.told(), cell.row.scores, cell.row.images, cell.row.thresholds) for cell in made.cells]


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The small table in both modes and two tasks, made once; tests read it."""
    from glioma_hf.models import FAMILIES

    out = tmp_path_factory.mktemp("tables") / "out"
    score = [
        {"data": "synthetic", "split": "spec/test", "tasks": ["cells", "soma"]},
        {"data": "synthetic", "split": "gen/test"},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "dummy", "tests.models.dummy")
        return out, benchmark(asked(folder, score=score, modes=["overlapping", "flattened"], paper="table2"), out)


def test_every_cell_has_a_row_with_all_that_repeats_it(made, folder):
    out, table = made
    assert len(table.cells) == 3 * 2 * 3
    assert not table.failed
    rows = [read_row(path) for path in (out / "rows").iterdir()]
    assert len(rows) == len(table.cells)
    assert {(r.split, r.task, r.mode) for r in rows} == {
        (split, task, mode)
        for split, task in (("spec/test", "cells"), ("spec/test", "soma"), ("gen/test", "cells"))
        for mode in ("overlapping", "flattened")
    }
    trained = next(r for r in rows if r.model == "trained" and r.seed == 1 and r.task == "cells")
    assert trained.recipe is not None
    assert trained.recipe["seed"] == 1
    assert (trained.family, trained.base) == ("dummy", "plain")
    assert trained.training_images == ["train_001.tif", "train_002.tif"]
    assert trained.thresholds_from == f"{folder.name}, spec/validation"
    assert {"score_threshold", "widen"} < set(trained.thresholds)
    assert {"glioma_hf", "python", "numpy", "torch"} <= set(trained.versions)
    assert trained.seconds_per_image > 0
    assert trained.train_seconds > 0
    assert trained.cpu_seconds_per_image >= 0
    assert trained.train_cpu_seconds > 0
    assert trained.device
    assert {"ap50_95", "recall_covered_0_1", "recall_covered_30_100"} < set(trained.scores)


def test_the_scores_are_those_of_evaluate_on_the_predictions_that_are_kept(made, folder):
    _, table = made
    for cell in table.cells:
        if cell.row.task == "cells":
            scores = evaluate_files(folder, cell.scoring.predictions, "cells", cell.row.split, cell.row.scoring).scores
            assert scores.ap50 == cell.row.scores["ap50"]
    models = {cell.scoring.predictions.split("/")[-2] for cell in table.cells}
    assert len(models) == 2 * 3  # a model for each task and seed serves both splits and modes


def test_pages_tell_ours_beside_the_papers(made):
    out, _ = made
    text = (out / "table.md").read_text()
    assert "| trained, mean of 2 seeds | " in text
    assert "| Cellpose, fine-tuned (the paper) | 0.889 | 0.789 | 0.836 | 0.718 | 0.263 | 0.013 |" in text
    assert re.search(r"- (trained over as it is|as it is over trained): \+0\.\d{3} \(.*\), (exceeds|within)", text)
    flattened = text.split("## synthetic, spec/test: cells, flattened, the first of overlapping ones wins")[1]
    assert "(the paper)" not in flattened.split("\n## ")[0]  # Table 2 is of overlapping masks
    rows = list(csv.DictReader((out / "table.csv").open()))
    ours = [row for row in rows if row["from"] == "here"]
    assert len(ours) == 2 * 6
    assert all(float(row["ap50_low"]) <= float(row["ap50"]) <= float(row["ap50_high"]) for row in ours)
    latex = (out / "table.tex").read_text()
    assert "ap50\\_95" in latex
    assert latex.count("\\begin{tabular}") == 6
    page = (out / "index.html").read_text()
    assert "Two models | and more" in page
    assert page.count("<svg") == 6
    pictures = re.findall(r'<img loading="lazy" src="(.*?)"', page)
    assert pictures
    assert all((out / name).is_file() for name in pictures)
    assert "By how much of a reference others cover" in page
    assert "://" not in page


def test_what_is_done_is_left_and_what_changed_is_made_again(folder, tmp_path):
    first = benchmark(asked(folder), tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "rows").iterdir()}
    lines: list[str] = []
    again = benchmark(asked(folder), tmp_path / "out", on_progress=to_lines(lines.append))
    assert again.done_before == len(again.cells) == 3
    assert "3 of 3 cells are done already" in lines
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "rows").iterdir()} == before
    assert scores_of(again) == scores_of(first)
    # Another scoring makes rows anew, of the predictions that are there; another recipe makes that model anew.
    shown: list[str] = []
    benchmark(asked(folder, scoring={"border": 0}), tmp_path / "out", on_progress=to_lines(shown.append))
    assert not [line for line in shown if line.startswith(("model", "predicted"))]
    assert sum(line.startswith("cell ") for line in shown) == 3
    models = [MODELS[0], {"name": "trained", "train": {"model": "dummy", "images": [1], "recipe": {"levels": [2.0]}}}]
    changed = benchmark(asked(folder, scoring={"border": 0}, models=models), tmp_path / "out")
    assert changed.done_before == 1
    assert changed.cells[1].row.training_images == ["train_001.tif"]


def test_a_table_goes_on_where_other_packages_are_installed(folder, tmp_path, monkeypatch):
    from tests.models import dummy

    def absent(*_):
        raise InputError("its package isn't installed")

    there, missing = dummy.FAMILY, replace(dummy.FAMILY, load=absent, train=absent)
    monkeypatch.setitem(FAMILIES, "other", "tests.models.other")
    models = [{"name": name, "train": {"model": name}} for name in ("dummy", "other")]
    for number, (first, second) in enumerate([(there, missing), (missing, replace(there, name="other"))]):
        monkeypatch.setattr(dummy, "FAMILY", first)
        monkeypatch.setitem(sys.modules, "tests.models.other", SimpleNamespace(FAMILY=second))
        made = benchmark(asked(folder, models=models), tmp_path / "out")
        assert made.done_before == number
        assert [cell.cell.model.name for cell in made.failed] == ["other"][number:]
    assert "isn't installed" not in (tmp_path / "out" / "table.md").read_text()
    assert len(list((tmp_path / "out" / "panels").iterdir())) == 2


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_row_is_made_again(folder, tmp_path, damaged):
    before = benchmark(asked(folder), tmp_path / "out")
    file = sorted((tmp_path / "out" / "rows").iterdir())[0]
    file.write_bytes(damaged)
    again = benchmark(asked(folder), tmp_path / "out")
    assert again.done_before == len(again.cells) - 1
    assert [cell.row.scores for cell in again.cells] == [cell.row.scores for cell in before.cells]
    assert read_row(file).failed is None


def test_what_would_score_nothing_or_something_else_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="the table has no models"):
        benchmark(asked(folder, models=[]), tmp_path / "out")
    with pytest.raises(InputError, match="no data set is called synthetik here; there is synthetic"):
        benchmark(asked(folder), tmp_path / "out", data={"synthetik": str(folder)})
    assert not (tmp_path / "out").exists()


def test_a_recipe_may_be_a_named_one_with_other_numbers(folder, tmp_path):
    recipe = {"recipe": "quick", "levels": [2.0]}
    made = benchmark(
        asked(folder, models=[{"name": "m", "train": {"model": "dummy", "recipe": recipe}}]), tmp_path / "o"
    )
    assert made.cells[0].row.recipe == {"seed": 0, "levels": [2.0]}
    unknown = [{"name": "m", "train": {"model": "dummy", "recipe": {"recipe": "paper"}}}]
    failed = benchmark(asked(folder, models=unknown), tmp_path / "o").failed
    assert "the recipe 'paper' isn't known" in failed[0].row.failed


def test_a_failed_cell_is_told_and_kept_and_the_rest_goes_on(folder, tmp_path):
    models = [
        *MODELS,
        {"name": "unknown", "model": "dummy:nothing"},
        {"name": "other recipe", "train": {"model": "dummy", "recipe": "paper"}},
        {"name": "bad number", "train": {"model": "dummy", "recipe": {"levelz": [1]}}},
        {"name": "no image", "train": {"model": "dummy", "images": [77]}},
        {"name": "nowhere", "predictions": str(tmp_path / "nowhere")},
    ]
    score = [{"data": "synthetic", "tasks": ["cells", "nucleus"]}, {"data": "lost"}, {"data": "absent"}]
    data = {"synthetic": str(folder), "absent": str(tmp_path / "absent")}
    lines: list[str] = []
    made = benchmark(
        asked(folder, models=models, score=score, data=data), tmp_path / "out", on_progress=to_lines(lines.append)
    )
    reasons = {(c.row.model, c.row.data_set, c.row.task): c.row.failed for c in made.cells}
    assert reasons["as it is", "synthetic", "cells"] is None
    assert reasons["trained", "synthetic", "cells"] is None
    assert (
        reasons["unknown", "synthetic", "cells"]
        == "the model nothing can't be loaded; the dummy family has plain alone"
    )
    assert "the recipe 'paper' isn't known" in reasons["other recipe", "synthetic", "cells"]
    assert "levelz" in reasons["bad number", "synthetic", "cells"]
    assert "there is no training image 77" in reasons["no image", "synthetic", "cells"]
    assert "no predictions of nowhere lie there" in reasons["nowhere", "synthetic", "cells"]
    assert "no objects of the task nucleus" in reasons["trained", "synthetic", "nucleus"]
    assert "'lost' isn't one of the table's (synthetic, absent)" in reasons["trained", "lost", "cells"]
    assert f"absent ({tmp_path / 'absent'}): no prepared data set" in reasons["trained", "absent", "cells"]
    assert sum(line.startswith("failed: ") for line in lines) == len(made.failed)
    assert "failed: the model nothing" in (tmp_path / "out" / "table.md").read_text()
    assert "failed: the model nothing" in (tmp_path / "out" / "index.html").read_text().replace("&#39;", "'")
    # What failed is tried again.
    assert benchmark(asked(folder), tmp_path / "out").done_before == 3


def test_a_model_that_breaks_is_a_failed_cell_and_a_full_disk_ends_the_table(folder, tmp_path, monkeypatch):
    def breaks(self, image, on_progress=None):
        raise RuntimeError("shapes differ")

    with monkeypatch.context() as patch:
        patch.setattr(DummySegmenter, "segment", breaks)
        made = benchmark(asked(folder, models=MODELS[:1]), tmp_path / "out")
    assert "a fault of glioma-hf or of a library (RuntimeError: shapes differ)" in made.cells[0].row.failed

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("glioma_hf.workflows.tables.stages.write_text", full)
        with pytest.raises(
            NotWritten, match=r"out can't be written \(No space left on device\); make room and run the same"
        ):
            benchmark(asked(folder), tmp_path / "out")
    assert not benchmark(asked(folder), tmp_path / "out").failed


def test_predictions_of_any_tool_and_annotators_of_one_image_set(made, folder, tmp_path):
    _, table = made
    own = {
        cell.row.model: cell.scoring.predictions
        for cell in table.cells
        if (cell.row.split, cell.row.task) == ("spec/test", "cells") and not cell.row.seed
    }
    annotators = {"Ann": own["trained"], "Bob": own["trained"], "Cid": own["as it is"]}
    voted = benchmark(
        asked(folder, models=[]), tmp_path / "vote", predictions={"a tool": own["trained"]}, annotators=annotators
    )
    scores = {cell.row.model: cell.row.scores["ap50"] for cell in voted.cells}
    assert list(scores) == ["Ann", "Bob", "Cid", "a tool"]
    assert scores["Ann"] == scores["Bob"] == scores["a tool"] > scores["Cid"]  # two of three outvote the third
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "spec_test.json").write_bytes(Path(own["trained"]).read_bytes())
    by_split = benchmark(asked(folder, models=[]), tmp_path / "split", predictions={"a tool": str(tmp_path / "tool")})
    whole = next(c.row for c in table.cells if c.row.model == "trained" and c.row.mode == "overlapping")
    assert by_split.cells[0].row.scores["ap50"] == whole.scores["ap50"]


def test_a_saved_model_keeps_its_thresholds_and_a_typed_one_answers_all_tasks(made, folder, tmp_path):
    out, _ = made
    saved = next(path for path in (out / "models").iterdir() if path.is_dir() and "cells" in path.name)
    models = [
        {"name": "kept", "model": str(saved)},
        {"name": "tuned", "model": str(saved), "thresholds": "validation"},
        {"name": "wide", "model": "dummy", "settings": {"widen": 9}, "thresholds": "kept"},
        {"name": "one for all", "train": {"model": "dummy", "task": "all"}},
    ]
    score = [{"data": "synthetic", "tasks": ["cells", "soma"]}]
    made = benchmark(asked(folder, models=models, score=score), tmp_path / "out")
    rows = {(cell.row.model, cell.row.task): cell.row for cell in made.cells}
    assert rows["kept", "cells"].thresholds == json.loads((saved / "thresholds.json").read_text())
    assert rows["kept", "cells"].scores == rows["tuned", "cells"].scores
    assert rows["wide", "cells"].thresholds["widen"] == 9
    assert rows["wide", "cells"].thresholds_from is None
    assert rows["one for all", "cells"].scores["predictions"] > 0
    assert rows["one for all", "soma"].scores["predictions"] == 0  # the dummy calls all that it finds cells


def test_the_command(folder, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked("elsewhere").model_dump(exclude_unset=True)))
    arguments = ("benchmark", tmp_path / "mine.yaml", "--out", tmp_path / "out", "--data", f"synthetic={folder}")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 of 3 cells scored; open ")
    assert "cell 3 of 3: trained, seed 1: synthetic, spec/test, cells, overlapping: AP50 0." in done.stderr
    (tmp_path / "empty.json").write_text("[]")
    again = run(*arguments, "--from", f"nothing={tmp_path / 'empty.json'}", "--from", f"lost={tmp_path / 'lost'}")
    assert again.returncode == 1
    assert again.stdout.startswith("4 of 5 cells scored, 3 of them done before; open ")
    alone = ("benchmark", "t98g", "--out", tmp_path / "none", "--data", f"t98g={tmp_path / 'nothing'}")
    assert run(*alone).returncode == 2
    assert "--from is NAME=PATH, a name each" in refused(*arguments, "--from", "nothing")
    assert "isn't known; it is t98g, table2, table3, table4 or a YAML file" in refused(
        "benchmark", "table9", "--out", "x"
    )
    assert "holds other files" in refused("train", "--data", folder, "--model", "dummy", "--out", tmp_path / "out")


@pytest.mark.alone
def test_processes_and_a_cluster_that_loses_a_worker_give_the_same(folder, tmp_path):
    pytest.importorskip("distributed")
    alone = benchmark(asked(folder), tmp_path / "alone")
    preload = tmp_path / "preload.py"
    preload.write_text(DUMMY_IN_WORKERS)
    with two_dask_workers(tmp_path, preload) as (address, processes):
        lost = threading.Event()

        def lose(line: str) -> None:
            if line.startswith("model ") and not lost.is_set():
                os.kill(processes[0], signal.SIGKILL)
                lost.set()

        shared = benchmark(
            asked(folder), tmp_path / "shared", workers=Workers(scheduler=address), on_progress=to_lines(lose)
        )
        images = tmp_path / "images"
        images.mkdir()
        for number in range(3):
            tifffile.imwrite(images / f"{number}.tif", SCENE.image[number:])
        cluster = Workers(scheduler=address)  # by the worker that is left
        found = [
            predict(images, tmp_path / name, DummySegmenter(1.0), workers=w)
            for name, w in (("a", None), ("b", cluster))
        ]
    assert lost.is_set()
    assert scores_of(shared) == scores_of(alone)
    assert found[0] == found[1]
    assert (tmp_path / "a" / "2.json").read_bytes() == (tmp_path / "b" / "2.json").read_bytes()


def test_a_table_that_is_done_trains_and_predicts_nothing(folder, tmp_path, monkeypatch):
    benchmark(asked(folder, panels=0), tmp_path / "out")

    def breaks(*_):
        raise AssertionError

    monkeypatch.setattr(DummySegmenter, "segment", breaks)
    made = benchmark(asked(folder, panels=0), tmp_path / "out")
    assert made.done_before == len(made.cells) == 3


def test_an_annotator_called_as_a_model_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"^the table: two models are called 'as it is'; name them apart$"):
        benchmark(asked(folder), tmp_path / "out", annotators={"as it is": "a.json"})
    assert not (tmp_path / "out").exists()


def test_a_place_that_holds_something_else_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"is read itself|was written as"):
        benchmark(asked(folder), folder)


def test_a_daemon_has_no_processes_of_its_own(monkeypatch):
    """Such as a worker of Dask below its nanny, where a table's models may be trained."""
    from glioma_hf.models import base

    assert base.Run().workers == 1
    monkeypatch.setattr(base, "current_process", lambda: type("Process", (), {"daemon": True}))
    assert base.Run().workers == 0
    assert base.Run(workers=4).workers == 0
