from __future__ import annotations

import json

import pytest

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.results import FORMAT, ResultRow, read_row, write_row
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.overlap_ap import overlap_ap
from tests.metrics.test_scores import PAIRS

NAMES = ("a.tif", "b.tif", "c.tif")


def make_row(**fields) -> ResultRow:
    scores = overlap_ap(PAIRS, extras=["curve"], mode="flattened")
    return ResultRow.of(scores, NAMES, data_set="glioma_c6", task="cells", **fields)


def test_a_row_comes_back_as_it_was_written(tmp_path):
    row = make_row(
        split="spec/test",
        model="lora",
        family="sam",
        recipe={"max_steps": 40, "image": [1]},
        thresholds={"pred_iou_thresh": 0.5},
        thresholds_from="spec/validation",
        seed=3,
        seconds_per_image=1.5,
        parameters=2_200_000,
    )
    write_row(tmp_path / "folder" / "result.json", row)
    again = read_row(tmp_path / "folder" / "result.json")
    assert again == row
    assert again.format == FORMAT == 1
    assert again.scoring == overlap_ap([], mode="flattened").options
    assert again.mode == "flattened"
    assert set(again.versions) == {"glioma_hf", "python"}


def test_scores_counts_and_intervals_are_those_of_the_metric():
    row, scores = make_row(), overlap_ap(PAIRS, mode="flattened")
    assert row.scores == overlap_ap(PAIRS, extras=["curve"], mode="flattened").to_dict()
    assert [image.file_name for image in row.images] == list(NAMES)
    assert (row.images[0].tp, row.images[0].fp, row.images[0].fn) == ([2, 1, 1], [1, 2, 2], [1, 2, 2])
    assert row.counts()[2] == [Counts(0, 0, 3)] * 3
    assert row.intervals(seed=4) == scores.intervals(seed=4)
    none = ResultRow.of(overlap_ap([]), (), data_set="empty", task="cells")
    assert none.intervals() == {0.5: (0, 0), 0.75: (0, 0), 0.9: (0, 0)}


def test_each_image_has_a_name():
    with pytest.raises(InputError, match="1 file names for the scores of 3 images"):
        ResultRow.of(overlap_ap(PAIRS), ["a.tif"], data_set="x", task="cells")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format 2 isn't 1, which this version of glioma_hf reads"),
        ({"scoring": {"mode": "flat"}}, "scoring.mode: Input should be 'overlapping' or 'flattened'"),
        ({"scoring": {"thresholds": [2]}}, "scoring: .*IoU thresholds are distinct numbers"),
        ({"task": None}, "task: Input should be a valid string"),
        ({"seconds_per_image": -1}, "seconds_per_image: Input should be greater than or equal to 0"),
        ({"medal": "gold"}, "medal: Extra inputs"),
        ({"images": []}, "the images' tp don't add up to that of the scores"),
        ({"images": [{"file_name": "a", "tp": [1], "fp": [1], "fn": [1]}]}, "a needs 3 counts each"),
    ],
)
def test_anything_else_is_refused_by_a_sentence(tmp_path, change, says):
    path = tmp_path / "result.json"
    write_row(path, make_row())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(
        InputError, match=rf"result.json isn't a row of results \({says}.*; give a result.json"
    ) as error:
        read_row(path)
    assert "\n" not in str(error.value)


def test_files_that_are_no_json_or_not_there(tmp_path):
    (tmp_path / "text.json").write_text("scores")
    with pytest.raises(InputError, match=r"text.json isn't a row of results \(Invalid JSON"):
        read_row(tmp_path / "text.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"can't be read \(it isn't text\)"):
        read_row(tmp_path / "bytes.json")
    with pytest.raises(InputError, match=r"none.json can't be read \(No such file"):
        read_row(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder; give a file"):
        write_row(tmp_path, make_row())


def test_empty_predictions_make_a_row_too(tmp_path):
    scores = overlap_ap([(Instances.empty((9, 9)), Instances.empty((9, 9)))])
    write_row(tmp_path / "r.json", ResultRow.of(scores, ["a"], data_set="x", task="all"))
    assert read_row(tmp_path / "r.json").scores["ap50"] == 0
