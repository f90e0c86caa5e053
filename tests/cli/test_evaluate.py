from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import Instances
from glioma_hf.data.prepare import prepare
from tests.cli.test_cli import refused, run
from tests.strategies import square

SIZE = (60, 80)
TRUE_SQUARES = [(5, 5, 12), (12, 5, 12), (40, 30, 15), (60, 5, 9)]
TRUTH = Instances.from_polygons([square(*s) for s in TRUE_SQUARES], SIZE, categories=[1, 1, 1, 2], ids=[1, 2, 3, 4])
# One exact, one shifted by a third, one invented; the soma is found.
FOUND_SQUARES = [(5, 5, 12), (16, 5, 12), (5, 40, 10), (60, 5, 9)]
FOUND = Instances.from_polygons(
    [square(*s) for s in FOUND_SQUARES], SIZE, categories=[1, 1, 1, 2], scores=[0.9, 0.8, 0.7, 0.6]
)
CATEGORIES = [
    {"id": 1, "name": "Cell A", "supercategory": "cell"},
    {"id": 2, "name": "Soma", "supercategory": "cell_part"},
]


@pytest.fixture
def files(tmp_path):
    truth = {
        "images": [{"id": 5, "file_name": "one.tif", "width": 80, "height": 60}],
        "annotations": TRUTH.to_coco(5),
        "categories": CATEGORIES,
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(FOUND.to_coco(5)))
    return tmp_path


def scores_of(*arguments: object) -> dict:
    done = run("evaluate", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files_of(folder: Path) -> list[object]:
    return ["--references", folder / "truth.json", "--predictions", folder / "found.json"]


def test_tasks_are_told_apart(files):
    cells = scores_of(*files_of(files))
    assert (cells["tp"], cells["fp"], cells["fn"]) == (2, 1, 1)
    assert cells["tp_75"] == 1
    assert scores_of(*files_of(files), "--task", "soma")["ap50"] == 1
    assert scores_of(*files_of(files), "--task", "all")["tp"] == 3
    line = refused("evaluate", *files_of(files), "--task", "cell_b")
    assert "truth.json: no object belongs to the task 'cell_b'; there are cells (3), soma (1), cell_a (3)" in line


def test_options_reach_the_metric(files):
    scores = scores_of(*files_of(files), "--threshold", 0.3, "--threshold", 0.6, "--border", 6, "--extra", "panoptic")
    assert {"ap30", "ap60", "pq"} <= set(scores)
    assert scores["references"] == 1  # two begin at row 5
    flat = scores_of(*files_of(files), "--flattened", "--threshold", 0.9)
    assert flat["tp"] == 1


def test_table_for_people(files):
    done = run("evaluate", *files_of(files))
    assert done.returncode == 0
    table = {
        cells[1]: cells[2:-1]
        for cells in (line.split() for line in done.stdout.replace("│", " | ").splitlines())
        if len(cells) > 3
    }
    assert [v for v in table["ap"] if v != "|"] == ["0.5000", "0.2000", "0.2000"]
    assert [v for v in table["tp"] if v != "|"] == ["2", "1", "1"]


def test_files_and_plots(files):
    tifffile.imwrite(files / "one.tif", np.full(SIZE, 90, np.uint8))
    out = files / "out"
    done = run("evaluate", *files_of(files), "--out", out, "--plot", "--images", files)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in out.iterdir() if not p.name.startswith(".")} == {
        "ap_curve.png",
        "matches.csv",
        "one_outcomes.png",
        "result.json",
        "scores.csv",
        "scores.json",
    }
    outcomes = [row["outcome"] for row in csv.DictReader((out / "matches.csv").open())]
    assert sorted(outcomes) == ["invented", "matched", "matched", "missed"]
    assert json.loads((out / "scores.json").read_text())["ap90"] == pytest.approx(1 / 5)
    shown = np.asarray(Image.open(out / "one_outcomes.png")).reshape(-1, 3)
    colours = {tuple(c) for c in np.unique(shown, axis=0)}
    assert {(0, 158, 115), (213, 94, 0), (86, 180, 233), (90, 90, 90)} <= colours


def test_label_maps_and_a_prepared_data_set(files, archive, tmp_path):
    for name, side in (("truth", TRUTH), ("found", FOUND)):
        (tmp_path / name).mkdir()
        cells = side.select(side.categories == 1)
        tifffile.imwrite(tmp_path / name / "one_label.tif", cells.to_label_map().astype(np.uint16))
    scores = scores_of("--references", tmp_path / "truth", "--predictions", tmp_path / "found")
    assert (scores["references"], scores["predictions"]) == (3, 3)
    prepare(archive, tmp_path / "set")
    (tmp_path / "none.json").write_text("[]")
    empty = scores_of("--references", tmp_path / "set", "--predictions", tmp_path / "none.json", "--task", "soma")
    assert empty["images"] == 2
    assert empty["fn"] == empty["references"] > 0


def test_real_annotation_against_itself(t98g):
    path = t98g / "dataset" / "spec" / "valid" / "anno_valid.json"
    scores = scores_of("--references", path, "--predictions", path)
    assert scores["ap90"] == 1
    assert scores["images"] == 3


def change(folder: Path, **fields) -> None:
    rows = FOUND.to_coco(5)
    rows[1] |= fields
    (folder / "found.json").write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"image_id": 9}, "found.json: object 1 is of the unknown image 9"),
        ({"category_id": 7}, "found.json: image 5: annotation 1: category 7 isn't among [1, 2]"),
        ({"score": float("nan")}, "found.json: object 1 of image 5 has the score nan"),
        ({"segmentation": {"size": [61, 80], "counts": "x"}}, "annotation 1: its RLE is of size [61, 80]"),
        ({"segmentation": {"size": [60, 80], "counts": [3, 4]}}, "annotation 1: the counts of its RLE don't fill"),
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 1: polygon 0 has 2 points"),
        ({"id": 0}, "image 5 has the object id 0 more than once"),
    ],
)
def test_bad_predictions_name_image_and_object(files, fields, says):
    change(files, **fields)
    assert says in refused("evaluate", *files_of(files))


def test_other_bad_input(files, tmp_path):
    truth = json.loads((files / "truth.json").read_text())
    huge = truth | {"images": [truth["images"][0] | {"width": 10**6, "height": 10**6}]}
    (files / "huge.json").write_text(json.dumps(huge))
    line = refused("evaluate", "--references", files / "huge.json", "--predictions", files / "found.json")
    assert "image 5: an image of 1000000 x 1000000 pixels is out of bounds" in line
    twice = truth | {"images": truth["images"] * 2}
    (files / "twice.json").write_text(json.dumps(twice))
    line = refused("evaluate", "--references", files / "twice.json", "--predictions", files / "found.json")
    assert "images has the id 5 more than once" in line
    (files / "text.json").write_text("{}")
    assert "isn't COCO" in refused(
        "evaluate", "--references", files / "text.json", "--predictions", files / "found.json"
    )
    (files / "list.json").write_text("[1]")
    assert "isn't a list of COCO results" in refused(
        "evaluate", "--references", files / "truth.json", "--predictions", files / "list.json"
    )
    assert "can't be read" in refused("evaluate", "--references", files / "no.json", "--predictions", files / "no.json")
    assert "the task 'nuclei'" in refused("evaluate", *files_of(files), "--task", "nuclei")
    assert "say where with --out" in refused("evaluate", *files_of(files), "--plot")
    assert "isn't known; there are curve" in refused("evaluate", *files_of(files), "--extra", "map")
    for name, shape in (("a", (9, 9)), ("b", (9, 8))):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "one.tif", np.zeros(shape, np.uint8))
    line = refused("evaluate", "--references", tmp_path / "a", "--predictions", tmp_path / "b")
    assert "image one (one.tif): the predictions are of size [9, 8], the references of [9, 9]" in line
    (tmp_path / "b" / "one.tif").rename(tmp_path / "b" / "two.tif")
    assert "which the references don't hold" in refused(
        "evaluate", "--references", tmp_path / "a", "--predictions", tmp_path / "b"
    )


def test_agreement_with_a_consensus(files, tmp_path):
    third = FOUND.select([0, 1, 3])
    (files / "third.json").write_text(json.dumps(third.to_coco(5)))
    sources = [f"one={files / 'truth.json'}", f"two={files / 'found.json'}", f"three={files / 'third.json'}"]
    arguments = [part for source in sources for part in ("--source", source)]
    voters = [part for name in ("one", "two", "three") for part in ("--consensus", name)]
    done = run("agreement", *arguments, *voters, "--out", tmp_path / "agree")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "agree" / "agreement.json").read_text())
    assert set(result["pooled"]) == {"one", "two", "three", "consensus"}
    assert result["pooled"]["two"]["three"]["ap50"] == pytest.approx(2 / 3)
    # All voters have the first two cells, no majority the others.
    assert result["images"]["one.tif"]["consensus"]["three"]["ap50"] == 1
    assert (tmp_path / "agree" / "agreement_ap75.png").is_file()
    assert "give at least two different" in refused("agreement", "--source", sources[0])
    assert "the consensus asks for four" in refused("agreement", *arguments, "--consensus", "four")


def test_what_a_pair_of_files_lacks_goes_to_stderr_in_one_line(files):
    truth = json.loads((files / "truth.json").read_text())
    truth["images"].append({"id": 6, "file_name": "two.tif", "width": 80, "height": 60})
    truth["annotations"][0]["iscrowd"] = 1
    (files / "truth.json").write_text(json.dumps(truth))
    done = run("evaluate", *files_of(files), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["references"] == 2
    told = [line for line in done.stderr.splitlines() if "images scored" in line]
    assert told == [
        f"2 images scored: 1 crowd region of {files / 'truth.json'}, ignored with what lies in them; 1 image without "
        "an object of the task 'cells' in the references; 1 image without predictions of it"
    ]


def test_strict_refuses_what_prepare_would_repair(files):
    truth = json.loads((files / "truth.json").read_text())
    truth["annotations"][1]["bbox"] = [0, 0, 5, 5]
    (files / "truth.json").write_text(json.dumps(truth))
    done = run("evaluate", *files_of(files))
    assert done.returncode == 0
    assert "noted in all: 1 boxes computed anew; --strict refuses them" in done.stderr
    line = refused("evaluate", *files_of(files), "--strict")
    assert "truth.json: image 5: annotation 2 has the box [0, 0, 5, 5]" in line
