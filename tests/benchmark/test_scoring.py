"""`evaluate` and `agreement` beyond the metric: outcomes once an image, files written whole, pictures."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.results import read_row
from glioma_hf.benchmark.scoring import agree_files, evaluate_files, score_sets
from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.data.splits import annotated_rows
from glioma_hf.executor import Workers
from glioma_hf.metrics import image_score
from glioma_hf.metrics.agreement import agreement
from glioma_hf.metrics.overlap_ap import EXTRAS, overlap_ap
from glioma_hf.metrics.scoring_options import ScoringOptions
from tests.strategies import square

SIZE = (60, 80)
REFERENCES = Instances.from_polygons([square(5, 5, 12), square(12, 5, 12), square(40, 30, 15)], SIZE, ids=[1, 2, 3])
PREDICTIONS = Instances.from_polygons([square(5, 5, 12), square(16, 5, 12), square(5, 40, 10)], SIZE)


@pytest.fixture
def files(tmp_path) -> Path:
    images = [{"id": i, "file_name": f"{n}.tif", "width": 80, "height": 60} for i, n in ((5, "one"), (2, "two"))]
    annotations = REFERENCES.to_coco(5, [1]) + [{**a, "id": a["id"] + 10} for a in REFERENCES.to_coco(2, [1])]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "references.json").write_text(json.dumps(content))
    (tmp_path / "predictions.json").write_text(json.dumps(PREDICTIONS.to_coco(5, [1])))
    return tmp_path


PAIRS = [(PREDICTIONS, REFERENCES), (Instances.empty(SIZE), REFERENCES)]


def test_scores_names_and_row_of_a_pair_of_files(files):
    options = ScoringOptions(thresholds=(0.4, 0.6))
    evaluation = evaluate_files(
        files / "references.json", files / "predictions.json", options=options, extras=["panoptic"]
    )
    assert evaluation.scores == overlap_ap(PAIRS, options, ["panoptic"])
    assert evaluation.names == ("one.tif", "two.tif")
    row = evaluation.row()
    assert (row.data_set, row.split, row.task, row.model) == ("references.json", None, "cells", None)
    assert (row.images[0].tp, row.images[1].fn) == ([2, 1], [3, 3])


def test_row_of_a_prepared_data_set_names_it_and_its_split(folder, tmp_path):
    (tmp_path / "none.json").write_text("[]")
    row = evaluate_files(folder, tmp_path / "none.json", "soma", "validation").row()
    assert (row.data_set, row.split, row.task) == ("glioma_c6", "spec/validation", "soma")
    assert [image.file_name for image in row.images] == [r["file_name"] for r, _ in annotated_rows(folder, row.split)]


def test_a_files_own_category_is_a_task(files):
    content = json.loads((files / "references.json").read_text())
    content["categories"] = [{"id": 1, "name": "neuron"}]
    (files / "references.json").write_text(json.dumps(content))
    evaluation = evaluate_files(files / "references.json", files / "predictions.json", "neuron")
    assert (evaluation.task, evaluation.scores.tp) == ("neuron", 2)
    with pytest.raises(InputError, match=r"the task 'glia' isn't one of its own; there are .*neuron \(6\)"):
        evaluate_files(files / "references.json", files / "predictions.json", "glia")


def test_files_say_the_same_and_each_image_is_matched_once(files, monkeypatch):
    pytest.importorskip("matplotlib")
    calls = []
    plain = image_score.match

    def counted(iou, threshold):
        calls.append(threshold)
        return plain(iou, threshold)

    monkeypatch.setattr(image_score, "match", counted)
    evaluation = evaluate_files(files / "references.json", files / "predictions.json", extras=["curve"])
    evaluation.write(files / "out", plot=True)
    assert calls.count(0.5) == 2  # two images
    values = evaluation.scores.to_dict()
    assert json.loads((files / "out" / "scores.json").read_text()) == values
    with (files / "out" / "scores.csv").open() as file:
        assert {row["score"]: float(row["value"]) for row in csv.DictReader(file)} == values
    assert read_row(files / "out" / "result.json") == evaluation.row()
    with (files / "out" / "matches.csv").open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert [row[:4] for row in rows] == [
        ("one.tif", "matched", "0", "1"),
        ("one.tif", "matched", "1", "2"),
        ("one.tif", "missed", "", "3"),
        ("one.tif", "invented", "2", ""),
        *(("two.tif", "missed", "", str(number)) for number in (11, 12, 13)),
    ]
    assert [p.name for p in sorted((files / "out").glob("*.png"))] == [
        "ap_curve.png",
        "one_outcomes.png",
        "two_outcomes.png",
    ]


def test_overlays_lie_over_the_images_and_have_each_outcomes_colour(files):
    pytest.importorskip("matplotlib")
    (files / "images").mkdir()
    for name, grey in (("one", 90), ("two", 120)):
        tifffile.imwrite(files / "images" / f"{name}.tif", np.full(SIZE, grey, np.uint8))
    evaluation = evaluate_files(files / "references.json", files / "predictions.json", extras=["curve"])
    evaluation.write(files / "out", plot=True, images=files / "images")
    colours = []
    for name in ("one", "two"):
        shown = np.asarray(Image.open(files / "out" / f"{name}_outcomes.png")).reshape(-1, 3)
        colours.append({tuple(map(int, colour)) for colour in np.unique(shown, axis=0)})
    assert {(0, 158, 115), (213, 94, 0), (86, 180, 233), (90, 90, 90)} <= colours[0]
    assert {(86, 180, 233), (120, 120, 120)} <= colours[1]
    assert not {(0, 158, 115), (213, 94, 0)} & colours[1]
    tifffile.imwrite(files / "images" / "two.tif", np.zeros((9, 9), np.uint8))
    with pytest.raises(InputError, match=r"two.tif is of size \[9, 9\], its references of \[60, 80\]"):
        evaluation.write(files / "other", plot=True, images=files / "images")
    assert not (files / "other").exists()


def test_agreement_of_files_is_scored_once_and_told_per_image(files):
    pytest.importorskip("matplotlib")
    (files / "same.json").write_text(json.dumps(REFERENCES.to_coco(5, [1]) + REFERENCES.to_coco(2, [1])))
    sources = {"truth": files / "references.json", "model": files / "predictions.json", "same": files / "same.json"}
    found = agree_files(sources, voters=["truth", "model", "same"])
    sides = {"truth": [REFERENCES] * 2, "model": [p for p, _ in PAIRS], "same": [REFERENCES] * 2}
    sides["consensus"] = [REFERENCES] * 2
    told = found.to_dict()
    assert told["pooled"] == agreement(sides).to_dict()
    assert list(told["images"]) == ["one.tif", "two.tif"]
    for position, name in enumerate(told["images"]):
        assert told["images"][name] == agreement({k: [v[position]] for k, v in sides.items()}).to_dict()
    found.write(files / "out")
    assert json.loads((files / "out" / "agreement.json").read_text()) == told
    assert {p.name for p in (files / "out").glob("*.png")} == {f"agreement_ap{t}.png" for t in (50, 75, 90)}


def test_several_processes_score_the_same(folder):
    references = read_references(folder, "test")
    images = {key: side.select(side.areas > 100) for key, side in references.instances.items()}
    predictions = replace(references, instances=images)
    extras = [extra for extra in EXTRAS if extra != "coco"]
    alone = score_sets(references, predictions, "cells", extras=extras, keep_outcomes=True)
    shared = score_sets(references, predictions, "cells", extras=extras, keep_outcomes=True, workers=Workers(2))
    assert shared == alone
    assert shared.to_dict() == alone.to_dict()
    assert [o.kinds for o in shared.outcomes] == [o.kinds for o in alone.outcomes]
