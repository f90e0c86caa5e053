from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from glioma_hf.data.publishing import prepare
from tests.conftest import ROOT

OLD = Path(os.environ.get("GLIOMA_HF_DATASETS36", ROOT / ".venvs" / "datasets36" / "bin" / "python"))


@pytest.fixture(scope="module")
def folder(archive, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "glioma_c6"
    prepare(archive, path)
    return path


# What both releases of `datasets` must give, run in an environment of either.
CHECK = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import load_dataset
path, cache, extra = sys.argv[1], sys.argv[2], {}
if path.endswith(".py"):
    extra = {"data_dir": sys.argv[3], "trust_remote_code": True}
every = load_dataset(path, cache_dir=cache, **extra)
spec = load_dataset(path, "spec", cache_dir=cache, **extra)
gen = load_dataset(path, "gen", cache_dir=cache, **extra)
assert {k: len(v) for k, v in every.items()} == {"spec": 5, "gen": 1}, every
assert {k: len(v) for k, v in spec.items()} == {"train": 2, "validation": 1, "test": 2}, spec
assert {k: len(v) for k, v in gen.items()} == {"test": 1}, gen
row = spec["train"][0]
assert row["image"].size == (256, 192) == (row["width"], row["height"]), row["image"]
assert (row["subset"], row["split"], row["file_name"]) == ("spec", "train", "train_001.tif")
first = row["objects"][0]
assert isinstance(row["objects"], list) and isinstance(first["segmentation"][0], list), type(row["objects"])
assert set(first) == {"id", "category", "segmentation", "bbox", "area"} and len(first["bbox"]) == 4
names = spec["train"].features["objects"]
names = names[0] if isinstance(names, list) else names.feature
assert names["category"].names == ["cell", "cell_a", "cell_b", "soma"]
from glioma_hf.data.features import instances_of
print(sum(len(instances_of(r)) for r in every["spec"]), repr(row["objects"])[:300])
"""


def run(python: str | Path, *arguments: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [str(python), "-c", CHECK, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_folder_opens_with_the_newest_datasets(folder, tmp_path):
    assert run(sys.executable, folder, tmp_path / "cache")


@pytest.mark.skipif(not OLD.exists(), reason="no environment with datasets 3.6: make setup builds it")
def test_folder_and_script_give_the_same_with_datasets_3(folder, archive, tmp_path):
    new = run(sys.executable, folder, tmp_path / "new")
    old = run(OLD, folder, tmp_path / "old")
    script = run(OLD, ROOT / "dataset_script" / "glioma_c6.py", tmp_path / "script", archive)
    assert new == old == script


def test_images_are_the_archives_own_bytes(folder, archive):
    table = pq.read_table(folder / "data" / "spec-train-00000-of-00001.parquet").to_pylist()
    with zipfile.ZipFile(archive) as packed:
        expected = packed.read("dataset/spec/train/images/train_001.tif")
    assert table[0]["image"] == {"bytes": expected, "path": "train_001.tif"}
    assert np.asarray(Image.open(io.BytesIO(expected))).shape == (192, 256)


def test_parquet_is_small_groups_with_a_page_index_and_no_foreign_metadata(folder):
    file = pq.ParquetFile(folder / "data" / "spec-test-00000-of-00001.parquet")
    assert file.schema_arrow.metadata is None
    assert file.metadata.row_group(0).num_rows <= 4
    assert file.metadata.row_group(0).column(2).has_offset_index


def test_streaming_reads_rows_in_order(folder, tmp_path):
    from datasets import load_dataset

    stream = load_dataset(str(folder), "spec", split="test", streaming=True)
    assert [row["file_name"] for row in stream] == ["test_001.tif", "test_002.tif"]


def test_card_states_the_counts_and_both_licences(folder):
    card = (folder / "README.md").read_text()
    assert "| spec | train | 2 |" in card
    assert "CC BY-NC 4.0" in card
    assert "CC BY-NC-ND" in card


def test_t98g_folder_has_no_gen(t98g, tmp_path):
    from datasets import load_dataset

    prepare(t98g, tmp_path / "t98g")
    spec = load_dataset(str(tmp_path / "t98g"), "spec", cache_dir=str(tmp_path / "cache"))
    assert {k: len(v) for k, v in spec.items()} == {"train": 15, "validation": 3, "test": 5}
    everything = load_dataset(str(tmp_path / "t98g"), cache_dir=str(tmp_path / "cache"))
    assert {k: len(v) for k, v in everything.items()} == {"spec": 23}
