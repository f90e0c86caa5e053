"""Files that are scored, as other tools write them: by their own tables, and what is missing is always said."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.image_names import distinct, pair_paths
from glioma_hf.benchmark.scoring import agree_files, evaluate_files
from glioma_hf.benchmark.scoring_files import read_predictions, read_references
from glioma_hf.data.prepare import prepare
from glioma_hf.data.sources.rows import Repairs, check_annotations
from tests.strategies import instances, square, stacks

SIZE = (80, 100)
CELLS = {
    "a.tif": [square(10, 10, 20), square(50, 40, 20)],
    "b.tif": [square(20, 30, 18)],
    "c.tif": [square(60, 12, 25), square(12, 45, 16)],
}
CATEGORIES = [{"id": 1, "name": "cell", "supercategory": "cell"}]


def coco(path: Path, cells: dict, size=(100, 80), start: int = 1, **more) -> Path:
    """A COCO file of images by name, numbered from `start`."""
    images, annotations = [], []
    for number, (name, objects) in enumerate(cells.items(), start):
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for segmentation in objects:
            key = len(annotations) + 1
            annotations.append({"id": key, "image_id": number, "category_id": 1, "segmentation": segmentation, **more})
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))
    return path


def renamed(names: dict[str, str]) -> dict:
    return {names.get(name, name): cells for name, cells in CELLS.items()}


def evaluated(tmp_path: Path, first: dict, second: dict, **arguments):
    return evaluate_files(coco(tmp_path / "r.json", first), coco(tmp_path / "p.json", second, start=7), **arguments)


# -- what would be repaired --------------------------------------------------------------

numbers = st.one_of(st.floats(-3, 3), st.sampled_from([0, 2, 2.5, -2, 1e300, -1]))
areas = st.sampled_from([None, 1, 9.5, 0, -1, 1e300, True, "7", 10**17])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), stacks())
def test_masks_are_looked_at_all_at_once_as_one_by_one(tmp_path, data, stack):
    """Boxes, areas and empty masks of RLEs: the same notes, in the same order."""
    rows = instances(stack).to_coco(1)
    for row in rows:
        moved = data.draw(st.lists(numbers, min_size=4, max_size=4))
        row["bbox"] = data.draw(
            st.sampled_from([row["bbox"], [a + b for a, b in zip(row["bbox"], moved, strict=True)]])
        )
        if data.draw(st.integers(0, 9)) == 0:
            row["bbox"] = data.draw(st.sampled_from([None, [], [1, 2], "a", [1, 2, "x", 3]]))
        row["area"], row["category_id"] = data.draw(areas), 1
    height, width = stack.shape[1:]
    images = [{"id": 1, "file_name": "a.tif", "width": width, "height": height}]
    path = tmp_path / "rle.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": CATEGORIES}))
    told: list[list[str]] = [[], []]
    together, singly = (Repairs(on_progress=lambda p, lines=lines: lines.append(p.message)) for lines in told)
    found = read_references(path, repairs=together).instances[1]
    list(check_annotations(rows, found, f"{path}: image 1", singly))
    assert told[0] == told[1]
    assert together.counts == singly.counts


# -- whose image is whose ----------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"a.tif": "plate 1/a.tif", "b.tif": "plate 1/b.tif", "c.tif": "plate 1/c.tif"},
        {"a.tif": "./a.tif", "b.tif": "x\\b.tif"},
        {"a.tif": "/data/x/a.tif", "c.tif": "C:\\y\\c.tif"},
    ],
)
def test_images_are_matched_by_name_whatever_their_numbers(tmp_path, names):
    turned = dict(reversed(renamed(names).items()))
    evaluation = evaluated(tmp_path, CELLS, turned)
    assert (evaluation.scores.tp, evaluation.scores.fp, evaluation.scores.fn) == (5, 0, 0)
    assert evaluation.notes == ()
    assert evaluated(tmp_path, turned, CELLS).scores.ap50 == 1
    sources = {"one": tmp_path / "r.json", "two": tmp_path / "p.json"}
    assert agree_files(sources).pooled.of("one", "two").ap50 == 1


def test_unicode_forms_of_a_name_are_one(tmp_path):
    names = [unicodedata.normalize(form, "Zelle ä/é.tif") for form in ("NFC", "NFD")]
    first, second = ({name: CELLS["a.tif"]} for name in names)
    assert evaluated(tmp_path, first, second).scores.tp == 2
    (tmp_path / "maps").mkdir()
    labels = Instances.from_polygons(CELLS["a.tif"], SIZE).to_label_map().astype(np.uint16)
    tifffile.imwrite(tmp_path / "maps" / unicodedata.normalize("NFD", "é_masks.tif"), labels)
    assert evaluate_files(tmp_path / "r.json", tmp_path / "maps").scores.tp == 2


def test_folders_tell_images_of_one_base_name_apart(tmp_path):
    cells = {"day 1/f.tif": CELLS["a.tif"], "day 2/f.tif": CELLS["b.tif"]}
    turned = dict(reversed({f"root/{name}": objects for name, objects in cells.items()}.items()))
    assert evaluated(tmp_path, cells, turned).scores.ap50 == 1
    with pytest.raises(
        InputError, match=r"r.json: its image f.tif may be day 1/f.tif or day 2/f.tif of .*p.json; writ"
    ):
        evaluated(tmp_path, {"f.tif": CELLS["a.tif"]}, cells)
    with pytest.raises(InputError, match=r"p.json: its image f.tif may be day 1/f.tif or day 2/f.tif of"):
        evaluated(tmp_path, cells, {"f.tif": CELLS["a.tif"]})
    # Neither has the other's folders, and the base name isn't alone: not guessed.
    other = {"day 1/f.tif": CELLS["a.tif"], "day 3/f.tif": CELLS["b.tif"]}
    evaluation = evaluated(tmp_path, cells, other)
    assert (evaluation.scores.tp, evaluation.scores.fn) == (2, 1)
    assert "1 image of " in evaluation.notes[0]
    assert "(day 3/f.tif)" in evaluation.notes[0]


def test_a_name_that_comes_twice_is_no_key(tmp_path):
    path = coco(tmp_path / "p.json", {"a.tif": CELLS["a.tif"], "z.tif": []}, start=4)
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = "a.tif"
    path.write_text(json.dumps(content))
    references = coco(tmp_path / "r.json", CELLS)
    with pytest.raises(InputError, match=r"p.json: its images 4 and 5 are both called a.tif; name them apart"):
        evaluate_files(references, path)
    results = [{"image_id": 4, "category_id": 1, "segmentation": objects} for objects in CELLS["a.tif"]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert evaluate_files(path, tmp_path / "results.json").scores.tp == 2  # results have ids, no names


def test_pairs_are_one_to_one():
    left = {1: "x/a.tif", 2: "b.tif", 3: "c/d/e.tif", 4: "g.tif"}
    right = {"p": "b.tif", "q": "a.tif", "r": "d/e.tif", "s": "h.tif"}
    assert pair_paths(left, right, ("l", "r")) == {1: "q", 2: "p", 3: "r"}
    assert pair_paths({}, right, ("l", "r")) == {}
    assert distinct(["a", "A", "a (2)"]) == ["a", "A (2)", "a (2) (2)"]


# -- what they lack ----------------------------------------------------------------------


def test_what_is_missing_is_told_with_counts(tmp_path):
    lines = []
    first = CELLS | {"d.tif": [], "e.tif": [square(3, 3, 9)]}
    second = {name: CELLS[name] for name in ("a.tif", "b.tif")} | {"e.tif": [], "x.tif": [], "y.tif": []}
    evaluation = evaluated(tmp_path, first, second, on_progress=lambda news: lines.append(news.message))
    assert (evaluation.scores.tp, evaluation.scores.fn) == (3, 3)
    assert evaluation.notes == tuple(lines)
    assert lines == [
        "5 images scored: 1 image without an object of the task 'cells' in the references; 3 images without "
        f"predictions of it; 2 images of {tmp_path / 'p.json'} that the references don't hold, passed over "
        "(x.tif, y.tif)"
    ]


def test_nothing_left_to_score_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"p.json: predictions of x.tif, which the references don't hold.*a.tif, b.ti"):
        evaluated(tmp_path, CELLS, {"x.tif": CELLS["a.tif"]})
    with pytest.raises(InputError, match=r"neither has an object of the task 'cells' in the 1 image that they share"):
        evaluated(tmp_path, {"a.tif": []}, {"a.tif": []})
    with pytest.raises(InputError, match=r"r.json holds no image; nothing is left to score|neither has an object"):
        evaluated(tmp_path, {}, {})
    both = [*CATEGORIES, {"id": 2, "name": "soma"}]
    path = coco(tmp_path / "r.json", CELLS)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": both}))
    with pytest.raises(InputError, match=r"no object belongs to the task 'soma'; there are cells \(5\)"):
        evaluate_files(path, coco(tmp_path / "p.json", CELLS), "soma")


def test_label_maps_and_coco_files_meet_by_name_without_ending(tmp_path):
    references = coco(tmp_path / "r.json", {f"sub/{name}": cells for name, cells in CELLS.items()})
    (tmp_path / "maps").mkdir()
    for name, cells in [*list(CELLS.items())[:2], ("z.tif", [])]:
        labels = Instances.from_polygons(cells, SIZE).to_label_map().astype(np.uint16)
        tifffile.imwrite(tmp_path / "maps" / name.replace(".tif", "_cp_masks.tif"), labels)
    evaluation = evaluate_files(references, tmp_path / "maps")
    assert (evaluation.scores.tp, evaluation.scores.fn) == (3, 2)
    assert "1 image without predictions" in evaluation.notes[0]
    assert "(z_cp_masks.tif)" in evaluation.notes[0]
    turned = evaluate_files(tmp_path / "maps", references)
    assert (turned.scores.tp, turned.scores.fp) == (3, 0)
    assert "(sub/c.tif)" in turned.notes[0]
    found = agree_files({"coco": references, "maps": tmp_path / "maps"})
    assert found.pooled.of("coco", "maps").tp == 3


# -- what `prepare` would put right ------------------------------------------------------


def test_sizes_are_compared(tmp_path):
    references = coco(tmp_path / "r.json", CELLS)
    for size in ((50, 40), (80, 100)):
        with pytest.raises(InputError, match=rf"p.json: image 2 \(b.tif\) is {size[0]} x {size[1]}, the .* 100 x 80"):
            evaluate_files(references, coco(tmp_path / "p.json", {"b.tif": CELLS["b.tif"]}, size, 2))


def test_evaluate_notes_and_counts_what_prepare_would_repair(tmp_path):
    beyond = {"a.tif": [*CELLS["a.tif"], square(90, 70, 30), square(300, 300, 9)]}
    references = coco(tmp_path / "r.json", beyond, bbox=[10, 10, 20, 20], area=0)
    predictions = coco(tmp_path / "p.json", {"a.tif": CELLS["a.tif"]})
    lines = []
    evaluation = evaluate_files(references, predictions, on_progress=lambda news: lines.append(news.message))
    assert (evaluation.scores.tp, evaluation.scores.fn) == (2, 0)
    assert evaluation.notes[-1] == (
        "noted in all: 2 areas computed anew, 1 boxes computed anew, 1 outlines cut at the image's border, "
        "1 objects without pixels left out; --strict refuses them"
    )
    assert any("r.json: image 1: annotation 3 reaches out of the image" in line for line in lines)
    with pytest.raises(
        InputError, match=r"image 1: annotation 1 has the area 0; without --strict: areas computed anew"
    ):
        evaluate_files(references, predictions, strict=True)
    results = [{"image_id": 1, "category_id": 1, "segmentation": objects, "bbox": [1, 2, 3, 4]} for objects in
               CELLS["a.tif"]]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert evaluate_files(predictions, tmp_path / "results.json", strict=True).scores.tp == 2  # a detector's own boxes


def test_swapped_width_and_height_are_told(tmp_path):
    tall = {"a.tif": [square(10, 70 + 5 * i, 12) for i in range(4)]}
    notes = evaluated(tmp_path, tall, tall).notes
    assert "2 images with width and height swapped" in notes[-1]
    with pytest.raises(
        InputError, match=r"4 of 4 outlines leave the image of 100 x 80 and would lie in one of 80 x 100"
    ):
        evaluated(tmp_path, tall, tall, strict=True)


def test_crowds_of_files_are_ignored_and_told(tmp_path, folder):
    references = coco(tmp_path / "r.json", {"a.tif": [*CELLS["a.tif"], square(40, 20, 50)]})
    content = json.loads(references.read_text())
    content["annotations"][2]["iscrowd"] = 1
    references.write_text(json.dumps(content))
    found = [*CELLS["a.tif"], square(70, 45, 12)]
    results = [{"image_id": 1, "category_id": 1, "segmentation": s, "score": 0.5, "iscrowd": 1} for s in found]
    (tmp_path / "p.json").write_text(json.dumps(results))
    evaluation = evaluate_files(references, tmp_path / "p.json", extras=["coco"])
    assert (evaluation.scores.tp, evaluation.scores.fp, evaluation.scores.fn) == (2, 0, 0)
    assert evaluation.scores.coco_map == 1
    assert "1 crowd region of " in evaluation.notes[0]
    assert read_references(references).tasks()["cells"] == 2
    content["annotations"][2]["iscrowd"] = 7
    references.write_text(json.dumps(content))
    with pytest.raises(InputError, match="annotation 3 has the iscrowd 7; it is 0 or 1"):
        read_references(references)


# -- the fields of results ---------------------------------------------------------------


def rle(segmentation: list) -> dict:
    made = coco_mask.frPyObjects(segmentation, *SIZE)[0]
    return {"size": list(SIZE), "counts": made["counts"].decode()}


def runs(segmentation: list) -> list[int]:
    flat = coco_mask.decode(coco_mask.frPyObjects(segmentation, *SIZE)[0]).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return np.diff(np.r_[0, edges, flat.size]).tolist()


GOOD = {
    "ids of text": lambda row, i: row | {"image_id": "1", "category_id": "1", "id": f"x{i}"},
    "ids that are floats": lambda row, i: row | {"image_id": 1.0, "category_id": 1.0, "id": 1.5 + i},
    "no ids": lambda row, i: row | {"id": None},
    "huge ids": lambda row, i: row | {"id": 2**70 + i},
    "an id that is a list": lambda row, i: row | {"id": [1]},
    "no scores": lambda row, i: row | {"score": None},
    "more fields": lambda row, i: row | {"area": "large", "bbox": None, "iscrowd": "perhaps", "x": {"y": []}},
    "rle": lambda row, i: row | {"segmentation": rle(row["segmentation"])},
    "counts": lambda row, i: row | {"segmentation": {"size": list(SIZE), "counts": runs(row["segmentation"])}},
    "counts that are floats": lambda row, i: (
        row | {"segmentation": {"size": list(SIZE), "counts": [float(v) for v in runs(row["segmentation"])]}}
    ),
}
SEGMENTATIONS = [
    None, [], [[]], [[[]]], {}, "POLYGON((10 10, 30 10))", "123456", ["123456"], 5, True, [1, 2, 3, 4], [[1, 2, 3, 4]],
    [[1, 2, 3, 4, 5]], [[[1, 2], [3, 4], [5, 6]]], [[1, 2, 3, 4, 5, None]], [[1, 2, 3, 4, 5, "x"]], [{}], [None],
    [[1, 2, 3, 4, 5, 10**400]], [[1, 2, 3, 4, 5, float("nan")]], [[1, 2, 3, 4, 5, float("inf")]], [[{}] * 6],
    {"counts": "x"}, {"size": None, "counts": "x"}, {"size": [80, 100]}, {"size": [80, 100], "counts": None},
    {"size": [100, 80], "counts": [8000]}, {"size": [80, 100], "counts": [8000.5]}, {"size": "80", "counts": [8000]},
    {"size": [80, 100], "counts": [-1, 8001]}, {"size": [80, 100], "counts": [10**400]}, {"size": {}, "counts": []},
    {"size": [80, 100], "counts": [1e308, 1e308]}, {"size": [80, 100], "counts": ["8000"]},
    {"size": [80, 100], "counts": [[8000]]},
    {"size": [80, 100], "counts": "b'abc'"}, {"size": [80, 100], "counts": "~~~~"}, {"size": [80, 100], "counts": "é"},
    {"size": [80, 100], "counts": "oooooooooooo0"}, {"size": [80, 100], "counts": "0" * 90_000},
]  # fmt: skip
BAD = {
    **{f"segmentation {i}": {"segmentation": s} for i, s in enumerate(SEGMENTATIONS)},
    **{f"score {s!r:.9}": {"score": s} for s in ("0.9", True, [1], {}, float("nan"), float("inf"), 10**400)},
    **{f"category {c!r:.9}": {"category_id": c} for c in (None, True, [1], {}, "x", 1.5, 9, 10**400)},
    **{f"image {i!r:.9}": {"image_id": i} for i in (None, True, [1], {}, "f.tif", 1.5, 9, 10**400)},
}


def results(folder: Path, change=lambda row, i: row) -> Path:
    rows = [{"image_id": 1, "category_id": 1, "segmentation": s, "score": 0.5} for s in CELLS["a.tif"]]
    (folder / "p.json").write_text(json.dumps([change(row, i) for i, row in enumerate(rows)]))
    return folder / "p.json"


@pytest.mark.parametrize("name", GOOD)
def test_fields_that_can_be_read(tmp_path, name):
    references = coco(tmp_path / "r.json", {"a.tif": CELLS["a.tif"]})
    evaluation = evaluate_files(references, results(tmp_path, GOOD[name]))
    assert (evaluation.scores.tp, evaluation.scores.fp, evaluation.scores.fn) == (2, 0, 0)


@pytest.mark.parametrize("name", BAD)
def test_fields_that_cant_are_refused_in_a_sentence_that_names_the_file(tmp_path, name):
    references = read_references(coco(tmp_path / "r.json", {"a.tif": CELLS["a.tif"]}))
    path = results(tmp_path, lambda row, i: row | BAD[name] if i else row)
    with pytest.raises(InputError, match=r"p\.json") as error:
        read_predictions(path, references)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "text",
    ["", "null", "5", '"x"', "{}", "[5]", "[[]]", '[{"image_id": 1}', "[" * 10**5, "[]\n%", '{"annotations": []}'],
)
def test_what_isnt_results(tmp_path, text):
    references = read_references(coco(tmp_path / "r.json", {"a.tif": CELLS["a.tif"]}))
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError, match=r"p\.json"):
        read_predictions(tmp_path / "p.json", references)


def test_a_box_alone_is_no_mask(tmp_path):
    references = read_references(coco(tmp_path / "r.json", {"a.tif": CELLS["a.tif"]}))
    path = results(tmp_path, lambda row, i: {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]})
    with pytest.raises(InputError, match=r"image 1: annotation number 0: it has a box and no segmentation \(a list of"):
        read_predictions(path, references)


# -- agreement ---------------------------------------------------------------------------


def test_a_source_called_consensus_isnt_replaced_by_the_vote(tmp_path):
    path = coco(tmp_path / "r.json", CELLS)
    sources = {"one": path, "consensus": path}
    with pytest.raises(InputError, match="a source is called consensus, as the vote is; give it another name"):
        agree_files(sources, voters=["one", "consensus"])
    assert agree_files(sources).pooled.of("one", "consensus").ap50 == 1


def test_images_of_one_name_keep_their_own_entries(tmp_path):
    path = coco(tmp_path / "r.json", {"a.tif": CELLS["a.tif"], "x.tif": CELLS["b.tif"]})
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = "a.tif"
    path.write_text(json.dumps(content))
    rows = [{"image_id": 1, "category_id": 1, "segmentation": CELLS["a.tif"][0]}]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    told = agree_files({"one": path, "two": tmp_path / "p.json"}).to_dict()
    assert list(told["images"]) == ["a.tif", "a.tif (2)"]
    pytest.importorskip("matplotlib")
    evaluate_files(path, tmp_path / "p.json", extras=["curve"]).write(tmp_path / "out", plot=True)
    pictures = sorted(p.name for p in (tmp_path / "out").glob("a*outcomes.png"))
    assert pictures == ["a (2)_outcomes.png", "a_outcomes.png"]


def test_crowds_of_a_prepared_data_set_are_ignored(tmp_path):
    (tmp_path / "archive" / "images").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "archive" / "images" / "a.tif", np.full(SIZE, 90, np.uint8))
    path = coco(tmp_path / "archive" / "anno_test.json", {"a.tif": [*CELLS["a.tif"], square(40, 20, 50)]}, iscrowd=0)
    content = json.loads(path.read_text())
    content["annotations"][2]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    prepare(tmp_path / "archive", tmp_path / "set")
    rows = [{"image_id": 1, "category_id": 0, "segmentation": s} for s in (*CELLS["a.tif"], square(70, 45, 12))]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    evaluation = evaluate_files(tmp_path / "set", tmp_path / "p.json")
    assert (evaluation.scores.tp, evaluation.scores.fp, evaluation.scores.fn) == (2, 0, 0)
    assert "1 crowd region of" in evaluation.notes[0]
