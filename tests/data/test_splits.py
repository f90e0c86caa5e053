from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from glioma_hf import InputError
from glioma_hf.data import splits
from glioma_hf.data.features import check_task, instances_of, tasks_of
from glioma_hf.data.prepare import prepare
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.data.splits import annotated_rows, find_split, has_split, load_images
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def livecell(tmp_path_factory):
    """A prepared set whose splits are not called spec and whose objects are plain cells alone."""
    place = tmp_path_factory.mktemp("livecell")
    square = [10.0, 10.0, 30.0, 10.0, 30.0, 25.0, 10.0, 25.0]
    for split in ("train", "val", "test"):
        images = [{"id": i, "file_name": f"A172_{split}_{i}.tif", "width": 60, "height": 40} for i in (1, 2, 3)]
        marks = [{"id": i, "image_id": i, "category_id": 1, "segmentation": [square]} for i in (1, 3)]
        coco = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "cell"}]}
        (place / f"livecell_coco_{split}.json").write_text(json.dumps(coco))
        for image in images:
            tifffile.imwrite(place / image["file_name"], np.full((40, 60), 10 * image["id"], np.uint8))
    prepare(place, place / "set", source="livecell")
    return place / "set"


def test_splits_are_found_by_their_names(folder, livecell):
    assert find_split(folder, "spec/test").name == "spec/test"
    assert find_split(folder, "test").name == "spec/test"  # the first of that name
    assert find_split(folder, "gen/test").images == 1
    assert find_split(livecell, "validation").name == "livecell/validation"
    assert has_split(livecell, "test")
    assert not has_split(livecell, "spec/test")
    with pytest.raises(InputError, match=r"set: no hidden images; its splits are livecell/train, livecell/vali"):
        find_split(livecell, "hidden")
    with pytest.raises(InputError, match="my cells: no hidden images"):
        find_split(livecell, "hidden", name="my cells")


def test_images_are_the_archives_pixels_with_the_rows_instances(folder, archive):
    images = load_images(folder, "train")
    assert [(i.image_id, i.name) for i in images] == [(1, "train_001.tif"), (2, "train_002.tif")]
    with zipfile.ZipFile(archive) as packed:
        expected = tifffile.imread(io.BytesIO(packed.read("dataset/spec/train/images/train_002.tif")))
    assert np.array_equal(images[1].pixels, expected)
    rows = pq.read_table(folder / "data" / "spec-train-00000-of-00001.parquet").to_pylist()
    assert [i.instances for i in images] == [instances_of(row) for row in rows]
    every = load_images(folder, "train", "all")
    assert [len(i.instances) for i in every] == [len(row["objects"]) for row in rows]


def test_any_data_set_loads(livecell):
    images = load_images(livecell, "validation")
    assert [len(i.instances) for i in images] == [1, 0, 1]
    assert images[0].instances.areas.tolist() == [300]


def test_only_what_is_asked_for_is_read(livecell, monkeypatch):
    decoded = []

    def note(data, name):
        decoded.append(name)
        return np.zeros((40, 60), np.uint8)

    monkeypatch.setattr(splits, "decode_image", note)
    assert [i.image_id for i in load_images(livecell, "train", numbers=[3, 1])] == [3, 1]
    assert [name.rpartition(": ")[2] for name in decoded] == ["A172_train_3.tif", "A172_train_1.tif"]
    assert load_images(livecell, "train", numbers=[]) == []


def test_rows_without_images(folder):
    rows = [row for row, _ in annotated_rows(folder)]
    assert [row["split"] for row in rows] == ["train", "train", "validation", "test", "test", "test"]
    assert all("image" not in row for row in rows)
    row, objects = next(annotated_rows(folder, "test"))
    assert row["file_name"] == "test_001.tif"
    assert objects == instances_of(row, "all")


def test_tasks_are_those_of_the_data(folder, livecell):
    assert tasks_of(folder) == ("cells", "soma", "cell_a", "cell_b", "all")
    assert tasks_of(livecell) == ("cells", "all")
    assert tasks_of(["nucleus"]) == ("nucleus", "all")
    check_task("all", livecell)
    with pytest.raises(InputError, match=r"set: there are no objects of the task soma; the tasks are cells, all"):
        load_images(livecell, "train", "soma")
    with pytest.raises(InputError, match="'mitosis' isn't known; it is one of cells, soma, cell_a, cell_b, nucl"):
        load_images(livecell, "train", "mitosis")


def test_what_isnt_there_is_said_in_a_sentence(folder, livecell, tmp_path):
    with pytest.raises(InputError, match="no prepared data set; make one with glioma-hf data prepare"):
        load_images(tmp_path, "train")
    with pytest.raises(InputError, match=r"^cells of mine: no prepared data set"):
        load_images(tmp_path, "train", name="cells of mine")
    with pytest.raises(InputError, match="set: there is no training image 7; choose one from 1 to 3"):
        load_images(livecell, "train", numbers=[1, 7])
    with pytest.raises(InputError, match="there is no validation image 0; choose one from 1 to 3"):
        load_images(livecell, "validation", numbers=[0])
    with pytest.raises(InputError, match=r"training image 2 \(A172_train_2.tif\) has no annotated cell; choose anoth"):
        load_images(livecell, "train", numbers=[2])
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "data" / "spec-test-00000-of-00001.parquet").write_bytes(b"no Parquet")
    with pytest.raises(InputError, match=r"broken: data/spec-test-00000.*parquet of spec/test is missing or dam"):
        load_images(broken, "test")
    (broken / "data" / "spec-test-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"^mine: data/spec-test-00000-of-00001.parquet of spec/test is missing"):
        load_images(broken, "test", name="mine")
    train, gen = (broken / "data" / f"{stem}-00000-of-00001.parquet" for stem in ("spec-train", "gen-test"))
    shutil.copyfile(train, gen)
    with pytest.raises(InputError, match=r"broken: data/gen-test-00000.*parquet of gen/test is missing or damaged"):
        list(annotated_rows(broken, "gen/test"))
    content = json.loads((broken / PROVENANCE).read_text())  # as from before there were checksums
    (broken / PROVENANCE).write_text(
        json.dumps(content | {"splits": [split | {"checksums": []} for split in content["splits"]]})
    )
    with pytest.raises(InputError, match="broken: gen/test holds 2 images instead of 1; prepare it again"):
        list(annotated_rows(broken, "gen/test"))


def test_neither_datasets_nor_torch_is_imported(livecell):
    code = f"import sys; from glioma_hf.data.splits import load_images; load_images({str(livecell)!r}, 'train')"
    code += "; print(sorted({'datasets', 'torch', 'matplotlib', 'transformers', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
