from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.scoring_files import read_label_maps, read_predictions, read_references
from glioma_hf.data.splits import annotated_rows
from glioma_hf.metrics.overlap_ap import overlap_ap
from tests.strategies import square

SIZE = (80, 100)
SQUARES = [(10, 10, 20), (50, 40, 15), (60, 12, 25)]


def category(number: int, name: object, supercategory: object = "") -> dict:
    return {"id": number, "name": name, "supercategory": supercategory}


def write_coco(path, categories, kinds=(1, 1, 1), name="f.tif"):
    """One image with three squares of these category ids."""
    marks = Instances.from_polygons([square(*s) for s in SQUARES], SIZE, categories=kinds, ids=[1, 2, 3]).to_coco(1)
    images = [{"id": 1, "file_name": name, "width": 100, "height": 80}]
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))
    return path


def write_results(path, kinds=(1, 1, 1)):
    cells = Instances.from_polygons([square(*s) for s in SQUARES], SIZE, categories=kinds)
    path.write_text(json.dumps(cells.to_coco(1)))
    return path


def true_positives(references, predictions, task):
    expected, given = references.of_task(task), predictions.of_task(task)
    return overlap_ap((given[key], expected[key]) for key in expected).tp


@pytest.mark.parametrize(
    ("entries", "names", "cells"),
    [
        ([category(1, "cell")], ("cell",), 3),
        ([category(1, "CELLS")], ("cell",), 3),
        ([category(1, "GliomaCell")], ("cell",), 3),
        ([category(1, "neuron")], ("neuron",), 3),
        ([category(1, "macrophage A")], ("macrophage A",), 3),
        ([category(1, "cell with nucleus")], ("cell with nucleus",), 3),
        ([category(1, "tumour cell")], ("tumour cell",), 3),
        ([category(1, "nuclei")], ("nuclei",), 3),  # StarDist's: its cells are nuclei
        ([category(1, "nucleus", "none")], ("nucleus",), 3),
        ([category(1, None, None)], ("category 1",), 3),
        ([category(1, "", "cell")], ("cell",), 3),
        ([category(1, "клетка")], ("клетка",), 3),
        ([category(0, "background"), category(1, "cell")], ("background", "cell"), 3),
        ([category(0, "cells-ab12"), category(1, "cell", "cells-ab12")], ("cells-ab12", "cell"), 3),
        ([category(1, "Type A"), category(2, "cell_type_b"), category(3, "Somata")], ("cell_a", "cell_b", "soma"), 2),
        ([category(1, "cell"), category(2, "cell"), category(3, "Nuclei")], ("cell", "soma"), 2),
        ([category(1, "cell"), category(2, "neuron"), category(3, "body", "cell_part")], ("cell", "neuron", "soma"), 2),
        ([category(1, "live cells"), category(2, "dead cells"), category(3, "soma")], None, 2),
        ([category(1, "cell"), category(2, "C6 cell"), category(3, "Glioma cell")], None, 3),  # kept apart
        ([category(1, "A"), category(2, "B"), category(3, "C")], ("cell_a", "cell_b", "C"), 3),
    ],
)
def test_a_files_categories_are_its_own(tmp_path, entries, names, cells):
    kinds = (1, 2, 3) if len(entries) == 3 else (1, 1, 1)
    references = read_references(write_coco(tmp_path / "r.json", entries, kinds))
    assert references.categories == (names or tuple(entry["name"] for entry in entries))
    assert sum(map(len, references.of_task("cells").values())) == cells
    assert sum(map(len, references.of_task("all").values())) == 3
    predictions = read_predictions(write_results(tmp_path / "p.json", kinds), references)
    assert true_positives(references, predictions, "cells") == cells
    for task, count in references.tasks().items():
        assert true_positives(references, predictions, task) == count


def test_each_category_is_a_task_by_its_own_name(tmp_path):
    entries = [category(1, "neuron"), category(2, "Type A"), category(3, "Soma")]
    references = read_references(write_coco(tmp_path / "r.json", entries, (1, 2, 3)))
    assert references.tasks() == {"cells": 2, "soma": 1, "cell_a": 1, "neuron": 1, "Type A": 1, "Soma": 1, "all": 3}
    assert [len(side) for side in references.of_task("neuron").values()] == [1]


def test_a_task_without_objects_is_said(tmp_path):
    references = read_references(write_coco(tmp_path / "r.json", [category(1, "soma"), category(2, "cell")]))
    with pytest.raises(InputError, match=r"r.json: no object belongs to the task 'cells'; there are soma \(3\), all"):
        references.of_task("cells")
    with pytest.raises(InputError, match=r"r.json: no object belongs to the task 'cell_b'; there are soma \(3\)"):
        references.of_task("cell_b")
    with pytest.raises(InputError, match=r"r.json: the task 'neurons' isn't one of its own; there are soma \(3\)"):
        references.of_task("neurons")
    (tmp_path / "none.json").write_text("[]")
    predictions = read_predictions(tmp_path / "none.json", references)
    assert [len(side) for side in predictions.of_task("soma").values()] == [0]  # a model may find nothing
    empty = json.loads((tmp_path / "r.json").read_text()) | {"annotations": []}
    (tmp_path / "r.json").write_text(json.dumps(empty))
    assert [len(side) for side in read_references(tmp_path / "r.json").of_task("cells").values()] == [0]


def test_a_coco_file_of_predictions_is_matched_by_its_own_names(tmp_path):
    entries = [category(1, "neuron"), category(2, "Cell A")]
    references = read_references(write_coco(tmp_path / "r.json", entries, (1, 1, 2)))
    swapped = [category(7, "cell_a"), category(8, "Neuron"), category(9, "unused")]
    predictions = read_predictions(write_coco(tmp_path / "p.json", swapped, (8, 8, 7)), references)
    for task, count in {"neuron": 2, "cell_a": 1, "cells": 3}.items():
        assert true_positives(references, predictions, task) == count
    other = write_coco(tmp_path / "o.json", [category(1, "astrocyte"), category(2, "Cell A")], (1, 1, 2))
    with pytest.raises(InputError, match=r"o.json: its category 'astrocyte' isn't one of the references' \(neuron, C"):
        read_predictions(other, references)


def test_of_a_prepared_set_the_first_test_split_is_read(folder):
    references = read_references(folder)
    assert list(references.names.values()) == ["test_001.tif", "test_002.tif"]
    rows = list(annotated_rows(folder, "spec/test"))
    assert references.tasks()["all"] == sum(len(objects) for _, objects in rows)
    assert set(references.tasks()) >= {"cells", "soma", "cell_a", "cell_b", "all"}
    assert len(read_references(folder, "gen/test").names) == 1
    with pytest.raises(InputError, match="no object belongs to the task 'nucleus'"):
        references.of_task("nucleus")
    with pytest.raises(InputError, match="no tuning images; its splits are spec/train"):
        read_references(folder, "tuning")


def label_map() -> np.ndarray:
    return Instances.from_polygons([square(*s) for s in SQUARES], SIZE).to_label_map().astype(np.uint16)


@pytest.mark.parametrize(
    "name",
    ["f", "f_label", "f_labels", "f_mask", "f_masks", "f_cp_masks", "f_seg", "f_LABEL"],
)
@pytest.mark.parametrize("kind", ["coco", "label maps"])
def test_label_maps_by_the_names_that_tools_give_them(tmp_path, name, kind):
    (tmp_path / "maps").mkdir()
    tifffile.imwrite(tmp_path / "maps" / f"{name}.tif", label_map())
    (tmp_path / "maps" / "._f.tif").write_bytes(b"what macOS leaves")
    if kind == "coco":
        references = read_references(write_coco(tmp_path / "r.json", [category(1, "neuron")]))
    else:
        (tmp_path / "truth").mkdir()
        tifffile.imwrite(tmp_path / "truth" / "f_label.tif", label_map())
        references = read_references(tmp_path / "truth")
    predictions = read_predictions(tmp_path / "maps", references)
    for task in ("cells", "all", *(["neuron"] if kind == "coco" else [])):
        assert true_positives(references, predictions, task) == 3
    with pytest.raises(InputError, match="the task 'glia' isn't"):
        predictions.of_task("glia")


def test_what_predict_writes_can_be_scored(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(out / f"{name}_labels.tif", label_map())
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(out / f"{name}.png")
        for end in (".json", ".csv", "_rois.zip"):
            (out / f"{name}{end}").write_text("[]")
    maps = read_label_maps(out)
    assert maps.names == {"a": "a_labels.tif", "b": "b_labels.tif"}
    assert maps.tasks()["cells"] == 6


def test_label_maps_that_cant_be_told_apart_or_matched(tmp_path):
    references = read_references(write_coco(tmp_path / "r.json", [category(1, "cell")]))
    maps = tmp_path / "maps"
    maps.mkdir()
    with pytest.raises(InputError, match=r"no label maps \(TIFF or PNG\) in it"):
        read_predictions(maps, references)
    tifffile.imwrite(maps / "g_label.tif", label_map())
    with pytest.raises(InputError, match="maps: predictions of g, which the references don't hold"):
        read_predictions(maps, references)
    tifffile.imwrite(maps / "g_masks.tif", label_map())
    with pytest.raises(InputError, match="a second label map of g; keep one"):
        read_label_maps(maps)
    (maps / "g_masks.tif").unlink()
    coco = json.loads((tmp_path / "r.json").read_text())
    coco["images"] += [{"id": 2, "file_name": "sub/f.png", "width": 9, "height": 9}]
    (tmp_path / "r.json").write_text(json.dumps(coco))
    references = read_references(tmp_path / "r.json")
    with pytest.raises(InputError, match="its images 1 and 2 are both called f; name them apart"):
        read_predictions(maps, references)
