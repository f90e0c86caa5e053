from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

from glioma_hf import Instances
from glioma_hf.benchmark.results import read_row
from glioma_hf.data.features import instances_of
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.glioma_c6 import find_splits, read_rows
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.progress import to_lines
from glioma_hf.workflows.quickstart import quickstart

BRIEF = (
    get_family("sam")
    .read_recipe("quick")
    .model_copy(update={"epochs": 1, "tiles_per_image": 8, "batch": 2, "max_cells": 6})
)


@pytest.fixture(scope="module")
def run(archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("quick") / "out"
    lines: list[str] = []
    scores = quickstart(out, archive, 2, BRIEF, "embedded", on_progress=to_lines(lines.append))
    return out, scores, lines


def test_folder_holds_everything(run):
    out, scores, _ = run
    assert {p.name for p in out.iterdir() if not p.name.startswith(".")} == {
        "dataset",
        "morphology.csv",
        "overlays",
        "predictions.json",
        "report.html",
        "results",
        "sam",
        "scores.json",
    }
    assert json.loads((out / "scores.json").read_text()) == scores
    assert {p.name for p in (out / "overlays").iterdir()} == {
        f"test_00{i}_sam_{kind}.png" for i in (1, 2) for kind in ("base", "tuned")
    }
    assert all(Image.open(p).size == (256, 192) for p in (out / "overlays").iterdir())


def test_scores_are_those_of_the_predictions_written(run, archive):
    out, scores, _ = run
    with Archive(archive) as opened:
        part = next(p for p in find_splits(opened) if p.split == "test" and p.subset == "spec")
        rows = list(read_rows(opened, part))
    results = json.loads((out / "predictions.json").read_text())
    pairs = []
    for row in rows:
        mine = [r for r in results if r["image_id"] == row["image_id"]]
        pairs.append((Instances.from_coco(mine, (row["height"], row["width"])), instances_of(row)))
    expected = overlap_ap(pairs).to_dict()
    reported = scores["models"]["sam: LoRA, one image"]
    for name in ("tp", "fp", "fn", "precision", "recall", "f1", "ap50", "ap75", "ap90", "images"):
        assert reported[name] == expected[name]
    assert reported["objects"] == expected["references"]
    assert scores["training_image"] == "train_002.tif"


def test_each_model_is_a_row_of_results(run):
    out, scores, _ = run
    for name, model in (("sam_base", "sam: base"), ("sam_tuned", "sam: LoRA, one image")):
        row = read_row(out / "results" / f"{name}.json")
        assert (row.model, row.family, row.split, row.data_set) == (model, "sam", "spec/test", "dataset.zip")
        assert row.scores["ap50"] == scores["models"][model]["ap50"]
        assert [image.file_name for image in row.images] == ["test_001.tif", "test_002.tif"]
        assert row.thresholds == scores["models"][model]["thresholds"]
    assert row.recipe == BRIEF.model_dump(mode="json")


def test_adapter_and_thresholds_give_the_predictions_again(run, archive):
    out, _, _ = run
    segmenter = load_segmenter(adapter=out / "sam")
    with Archive(archive) as opened:
        part = next(p for p in find_splits(opened) if p.split == "test" and p.subset == "spec")
        row = next(read_rows(opened, part))
    from glioma_hf.data.images import decode_image

    again = segmenter.segment(decode_image(row["image"]["bytes"], "x"))
    results = json.loads((out / "predictions.json").read_text())
    assert [r["segmentation"]["counts"] for r in results if r["image_id"] == row["image_id"]] == [
        r["counts"].decode() for r in again.rles
    ]


def test_morphology_has_a_row_per_prediction(run):
    out, _, _ = run
    rows = list(csv.DictReader((out / "morphology.csv").open()))
    assert len(rows) == len(json.loads((out / "predictions.json").read_text()))
    assert all(0 <= float(r["axis_ratio"]) <= 1 and 0 < float(r["solidity"]) <= 1 for r in rows)


def test_report_shows_pictures_scores_and_where_they_are_from(run):
    out, scores, _ = run
    page = (out / "report.html").read_text()
    for number in (1, 2):
        assert f'src="overlays/test_00{number}_sam_tuned.png"' in page
    for row in scores["models"].values():
        assert f"{row['ap50']:.3f}" in page
    assert "dataset.zip" in page
    assert "spec/test" in page
    assert "/tmp" not in page


def test_it_says_what_it_does(run):
    _, _, lines = run
    for word in ("preparing the data set", "base model", "fine-tuning", "step 4 of 4", "scoring", "report"):
        assert any(word in line for line in lines), word


def test_no_path_of_this_machine_in_the_results(run):
    out, _, _ = run
    for file in out.rglob("*"):
        if file.suffix in (".json", ".html", ".md", ".csv"):
            assert str(out.parent) not in file.read_text(), file
