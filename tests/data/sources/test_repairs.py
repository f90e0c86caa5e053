"""What reading puts right, and what `--strict` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from glioma_hf import InputError
from glioma_hf.data.prepare import prepare
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.progress import to_lines
from tests.cli.test_cli import refused, run
from tests.data.sources.test_glioma_c6 import annotation, folder, rows_of  # noqa: F401  (folder is a fixture)
from tests.strategies import square

REPAIRED = {
    "outside": (annotation(segmentation=square(40, 40, 6)), "objects without pixels left out", []),
    "degenerate": (annotation(segmentation=[[2, 2, 9, 2, 5, 2]]), "objects without pixels left out", []),
    "across the border": (
        annotation(segmentation=square(15, 2, 10), bbox=[15, 2, 10, 10], area=100),
        "outlines cut at the image's border",
        [([15, 2, 5, 10], 50)],
    ),
    "above the border": (
        annotation(segmentation=square(2, -4, 8)),
        "outlines cut at the image's border",
        [([2, 0, 8, 4], 32)],
    ),
    "a box elsewhere": (annotation(bbox=[0, 0, 3, 3]), "boxes computed anew", [([2, 2, 6, 6], 36)]),
    "a box of three numbers": (annotation(bbox=[2, 2, 6]), "boxes computed anew", [([2, 2, 6, 6], 36)]),
    "a box that isn't finite": (annotation(bbox=[2, 2, float("nan"), 6]), "boxes computed anew", [([2, 2, 6, 6], 36)]),
    "a negative area": (annotation(area=-4), "areas computed anew", [([2, 2, 6, 6], 36)]),
    "an area in words": (annotation(area="large"), "areas computed anew", [([2, 2, 6, 6], 36)]),
}


@pytest.mark.parametrize("kind", REPAIRED)
def test_each_repair_is_counted_named_and_strict_refuses_it(folder, tmp_path, kind):  # noqa: F811
    changed, repair, expected = REPAIRED[kind]
    path = folder(annotations=[annotation(id=9), changed])
    told: list[str] = []
    prepared = prepare(path, tmp_path / "set", on_progress=to_lines(told.append))
    assert prepared.repairs == {repair: 1}
    assert [line for line in told if f"repaired ({repair})" in line and "anno_train.json: annotation 1 " in line]
    rows = rows_of(path)[0]["objects"]
    assert [(o["bbox"], o["area"]) for o in rows] == [([2, 2, 6, 6], 36), *expected]
    assert json.loads((tmp_path / "set" / PROVENANCE).read_text())["repairs"] == {repair: 1}
    assert f"Repaired while reading: 1 {repair}." in (tmp_path / "set" / "README.md").read_text()
    with pytest.raises(InputError, match=r"anno_train\.json: annotation 1 .*; without --strict: " + repair):
        prepare(path, tmp_path / "strict", strict=True)
    assert not list(tmp_path.glob("*strict*"))


def test_what_is_sound_is_left_as_it_is(folder, tmp_path):  # noqa: F811
    slightly = annotation(id=2, segmentation=[[-0.5, 3, 6, 3, 6, 9, -0.5, 9]], bbox=[-0.5, 3, 6.5, 6], area=39.0)
    path = folder(annotations=[annotation(bbox=[1.5, 2.4, 6.2, 6], area=35.5), slightly])
    assert prepare(path, tmp_path / "set", strict=True).repairs == {}
    first, second = rows_of(path)[0]["objects"]
    assert (first["bbox"], first["area"]) == ([1.5, 2.4, 6.2, 6], 35.5)
    assert second["segmentation"] == slightly["segmentation"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_coordinates_that_are_no_numbers_are_refused(folder, tmp_path, bad):  # noqa: F811
    path = folder(annotations=[annotation(segmentation=[[2, 2, 8, bad, 8, 8]])])
    with pytest.raises(InputError, match=r"annotation 1: polygon 0 has a coordinate that isn't a finite number"):
        prepare(path, tmp_path / "set")


def test_repairs_of_an_interrupted_run_are_still_told(archive, tmp_path, monkeypatch):
    """Counts come from the files written, so the run that ends tells of those before it."""
    import zipfile

    from glioma_hf.data import prepare as publishing

    source = tmp_path / "archive"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(source)
    file = source / "dataset" / "spec" / "train" / "anno_train.json"
    coco = json.loads(file.read_text())
    for entry in coco["annotations"]:
        if entry["image_id"] == 1:
            entry["area"] = -1
    file.write_text(json.dumps(coco))
    expected = sum(entry["image_id"] == 1 for entry in coco["annotations"])
    monkeypatch.setattr(publishing, "IMAGE_BYTES_PER_FILE", 1)

    def stop(line: str) -> None:
        if line.startswith("spec/train 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "set", on_progress=to_lines(stop))
    told: list[str] = []
    prepared = prepare(source, tmp_path / "set", on_progress=to_lines(told.append))
    assert prepared.repairs == {"areas computed anew": expected}
    assert "spec/train: 1 images are there from the run before" in told
    assert not any(line.startswith("spec/train 1:") for line in told)


def test_command_line_counts_repairs_and_strict(folder, tmp_path):  # noqa: F811
    path: Path = folder(annotations=[annotation(id=1), annotation(id=2, segmentation=square(50, 50, 5))])
    done = run("data", "prepare", "--archive", path, "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert "spec/train: 1 images, 1 cell" in done.stdout
    assert "repaired: 1 objects without pixels left out" in done.stdout
    assert "annotation 2 covers no pixel of the image" in done.stderr
    line = refused("data", "prepare", "--archive", path, "--out", tmp_path / "other", "--strict")
    assert "anno_train.json: annotation 2 covers no pixel" in line
    assert not (tmp_path / "other").exists()


def test_boxes_of_prepared_rows_hold_their_masks(archive, tmp_path):
    """What crops rely on: a box misses its mask by two pixels at most."""
    from glioma_hf.data.features import instances_of

    for row in rows_of(archive):
        cells = instances_of(row)
        given = np.array([o["bbox"] for o in row["objects"] if o["category"] != 3])
        corners = [np.hstack([b[:, :2], b[:, :2] + b[:, 2:]]) for b in (cells.boxes, given)]
        assert np.abs(corners[0] - corners[1]).max() <= 2
