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

from glioma_hf.data.prepare import prepare
from glioma_hf.progress import to_lines
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
from tests.conftest import ROOT

OLD = Path(os.environ.get("GLIOMA_HF_DATASETS36", ROOT / ".venvs" / "datasets36" / "bin" / "python"))


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
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [1, 1]
    assert file.metadata.row_group(0).column(2).has_offset_index


def test_streaming_reads_rows_in_order(folder, tmp_path):
    from datasets import load_dataset

    stream = load_dataset(str(folder), "spec", split="test", streaming=True)
    assert [row["file_name"] for row in stream] == ["test_001.tif", "test_002.tif"]


def test_the_ways_of_datasets_work(folder, tmp_path):
    torch = pytest.importorskip("torch")
    from datasets import load_dataset

    train = load_dataset(str(folder), "spec", split="train", cache_dir=str(tmp_path / "cache"))
    assert train.select([1])[0]["file_name"] == "train_002.tif"
    assert sorted(train.shuffle(seed=3)["image_id"]) == [1, 2]
    crowded = train.filter(lambda row: len(row["objects"]) > 10**6)
    assert len(crowded) == 0
    row = train.with_format("torch")[0]
    assert isinstance(row["image"], torch.Tensor)
    assert row["image"].shape[-2:] == (192, 256)
    assert row["objects"][0]["segmentation"][0].dtype == torch.float32
    stream = load_dataset(str(folder), "spec", split="train", streaming=True)
    assert [r["image_id"] for r in stream.take(1)] == [1]
    assert [r["image_id"] for r in stream.skip(1)] == [2]
    assert sorted(r["image_id"] for r in stream.shuffle(seed=0, buffer_size=2)) == [1, 2]
    assert next(iter(stream.with_format("torch")))["image"].shape[-2:] == (192, 256)


def small_files(monkeypatch, images: int) -> None:
    from glioma_hf.data import prepare as publishing

    monkeypatch.setattr(publishing, "IMAGE_BYTES_PER_FILE", images * 256 * 192)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_splits_of_several_files_open_as_one(archive, folder, tmp_path, monkeypatch):
    small_files(monkeypatch, 1)
    prepared = prepare(archive, tmp_path / "set")
    assert prepared.splits[0].files == [f"data/spec-train-0000{i}-of-00002.parquet" for i in range(2)]
    assert run(sys.executable, tmp_path / "set", tmp_path / "a") == run(sys.executable, folder, tmp_path / "b")


@pytest.mark.parametrize("last", ["spec/train 1:", "spec/train 2:", "spec/validation 1:", "gen/test 1:"])
def test_a_run_that_was_broken_off_goes_on(archive, tmp_path, monkeypatch, last):
    small_files(monkeypatch, 1)
    prepare(archive, tmp_path / "whole")

    def stop(line: str) -> None:
        if line.startswith(last):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(archive, tmp_path / "set", on_progress=to_lines(stop))
    assert not (tmp_path / "set").exists()
    told: list[str] = []
    prepare(archive, tmp_path / "set", on_progress=to_lines(told.append))
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    done = ["spec/train 1:", "spec/train 2:", "spec/validation 1:", "spec/test 1:", "spec/test 2:", "gen/test 1:"]
    read = [line[: line.index(":") + 1] for line in told if "run before" not in line]
    assert read == done[done.index(last) :]


def test_another_archive_isnt_gone_on_with(archive, tmp_path, monkeypatch):
    small_files(monkeypatch, 1)

    def stop(line: str) -> None:
        if line.startswith("spec/test 1:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(archive, tmp_path / "set", on_progress=to_lines(stop))
    scene = SceneConfig(width=256, height=192, cells_per_megapixel=(250, 300))
    other = tmp_path / archive.name
    synthesize(other, 6, SyntheticArchiveConfig(train=2, valid=1, test=2, gen=1, scene=scene))
    told: list[str] = []
    prepare(other, tmp_path / "set", on_progress=to_lines(told.append))
    assert "was made of other data or settings: beginning anew" in told[0]
    assert told[1].startswith("spec/train 1:")
    assert not list(tmp_path.glob(".set*"))
    prepare(other, tmp_path / "undisturbed")
    assert contents(tmp_path / "set") == contents(tmp_path / "undisturbed")


def test_an_archive_is_known_by_its_content(archive, tmp_path, monkeypatch):
    small_files(monkeypatch, 1)

    def stop(line: str) -> None:
        if line.startswith("spec/test 1:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(archive, tmp_path / "set", on_progress=to_lines(stop))
    copy = tmp_path / archive.name
    copy.write_bytes(archive.read_bytes())
    told: list[str] = []
    prepare(copy, tmp_path / "set", on_progress=to_lines(told.append))
    assert told[0] == "spec/train: 2 images are there from the run before"


def test_card_states_the_counts(folder):
    assert "| spec | train | 2 |" in (folder / "README.md").read_text()


def test_folders_of_one_name_are_not_taken_for_each_other(folder, tmp_path):
    """`datasets` keeps what it read by the folder's name and card, not by its place or files."""
    from datasets import load_dataset

    scene = SceneConfig(width=256, height=192, cells_per_megapixel=(250, 300))
    other = SyntheticArchiveConfig(train=2, valid=1, test=2, gen=1, scene=scene)
    synthesize(tmp_path / "other.zip", 6, other)
    prepare(tmp_path / "other.zip", tmp_path / folder.name)
    for path in (folder, tmp_path / folder.name, folder):
        rows = load_dataset(str(path), "spec", split="test", cache_dir=str(tmp_path / "cache"))
        expected = pq.read_table(path / "data" / "spec-test-00000-of-00001.parquet").to_pylist()
        assert [row["objects"] for row in rows] == [row["objects"] for row in expected]


def test_card_of_the_published_data_states_both_licences(tmp_path):
    from glioma_hf.data.card import card
    from glioma_hf.data.prepared import Prepared, PreparedSplit
    from glioma_hf.data.sources import get_source

    source = get_source("glioma_c6")
    splits = [
        PreparedSplit(*name.split("/"), [f"data/{i}.parquet"], counts["images"], {"cell": counts["cells"]})
        for i, (name, counts) in enumerate(source.published.items())
    ]
    for split in splits:
        split.objects = dict.fromkeys(source.categories, 0) | split.objects
    (tmp_path / "data").mkdir()
    for split in splits:
        (tmp_path / split.files[0]).touch()
    text = card(source, Prepared("glioma_c6", "dataset.zip", splits, {}), tmp_path)
    for words in ("# Glioma C6", "license: cc-by-nc-4.0", "CC BY-NC 4.0", "CC BY-NC-ND", "malashin2025gliomac6"):
        assert words in text
    assert "This is not" not in text
    assert "as published" not in text


def test_t98g_folder_has_no_gen(t98g, tmp_path):
    from datasets import load_dataset

    prepare(t98g, tmp_path / "t98g")
    spec = load_dataset(str(tmp_path / "t98g"), "spec", cache_dir=str(tmp_path / "cache"))
    assert {k: len(v) for k, v in spec.items()} == {"train": 15, "validation": 3, "test": 5}
    everything = load_dataset(str(tmp_path / "t98g"), cache_dir=str(tmp_path / "cache"))
    assert {k: len(v) for k, v in everything.items()} == {"spec": 23}
