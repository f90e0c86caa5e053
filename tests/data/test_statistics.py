from __future__ import annotations

import json

import pandas as pd
import pytest
from PIL import Image

from glioma_hf import InputError
from glioma_hf.data.features import instances_of
from glioma_hf.data.prepare import prepare
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.glioma_c6 import find_splits, read_rows
from glioma_hf.data.statistics import measure_objects, overview
from glioma_hf.shape import shape_table
from tests.cli.test_cli import refused, run


def test_objects_are_measured_as_the_rows_say(folder, archive):
    objects = measure_objects(folder)
    with Archive(archive) as opened:
        rows = [row for part in find_splits(opened) for row in read_rows(opened, part)]
    assert len(objects) == sum(len(row["objects"]) for row in rows)
    for row in rows:
        chosen = objects[(objects.file_name == row["file_name"]) & (objects.category != "soma")]
        expected = shape_table(instances_of(row))
        for column in ("id", "area", "axis_ratio", "solidity"):
            assert chosen[column].tolist() == expected[column].tolist()


def test_overview_is_table_one(folder):
    parts = {part["part"]: part for part in overview(folder)}
    assert parts["spec"]["images"] == 5
    assert parts["gen"]["images"] == 1
    objects = measure_objects(folder)
    for name, part in parts.items():
        chosen = objects[objects.subset == name]
        assert part["soma"] == (chosen.category == "soma").sum()
        assert part["cells"] == (chosen.category != "soma").sum()
    assert parts["gen"]["cells"] == parts["gen"]["cell"]


def test_command_writes_tables_and_figures_and_compares(folder, archive, tmp_path):
    prepare(archive, tmp_path / "other")
    done = run("data", "stats", folder, tmp_path / "other", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "out" / "overview.json").read_text())
    assert tables["synthetic"] == overview(folder)
    for name in ("synthetic", "other"):
        assert len(pd.read_csv(tmp_path / "out" / name / "objects.csv")) == len(measure_objects(folder))
    pictures = [*(tmp_path / "out").rglob("*.png")]
    assert sorted(p.name for p in pictures) == sorted(
        2 * ["areas.png", "shapes.png", "solidity.png"] + ["comparison.png"]
    )
    assert all(Image.open(p).width > 500 for p in pictures)


def test_bad_folders(folder, tmp_path):
    with pytest.raises(InputError, match="no prepared data set"):
        measure_objects(tmp_path)
    assert "different names" in refused("data", "stats", folder, folder, "--out", tmp_path / "o")


def test_t98g_counts(t98g, tmp_path):
    prepare(t98g, tmp_path / "t98g")
    assert [(p["images"], p["cells"], p["soma"]) for p in overview(tmp_path / "t98g")] == [(23, 1453, 0)]
