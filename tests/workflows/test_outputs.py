"""What is measured of cells, with units, and the file that says which image is which."""

from __future__ import annotations

import json

import numpy as np
import pytest

from glioma_hf import Instances
from glioma_hf.benchmark.scoring_files import read_predictions, read_references
from glioma_hf.workflows.outputs import coco_file, measures
from tests.strategies import square

CELLS = Instances.from_polygons(
    [square(2, 2, 10), [[20, 2, 40, 2, 40, 7, 20, 7]]], (40, 50), scores=[0.9, 0.5], ids=[1, 2]
)


def test_all_lengths_have_one_unit():
    pixels, micrometres = measures(CELLS), measures(CELLS, 0.5)
    assert list(pixels)[:5] == ["id", "score", "x_px", "y_px", "area_px"]
    assert list(micrometres)[:5] == ["id", "score", "x_um", "y_um", "area_um2"]
    assert micrometres.area_um2.tolist() == [25, 25]
    assert micrometres.x_um.tolist() == [3.5, 15]
    assert np.allclose(pixels.eccentricity, np.sqrt(1 - pixels.axis_ratio**2))
    assert pixels.eccentricity[0] == 0
    assert pixels.eccentricity[1] == pytest.approx(0.97, abs=0.01)


def test_a_coco_file_is_matched_by_the_images_names(tmp_path):
    (tmp_path / "found.json").write_text(json.dumps(coco_file([("b.tif", CELLS)])))
    images = [{"id": i, "file_name": f"{n}.tif", "width": 50, "height": 40} for i, n in ((1, "a"), (2, "b"))]
    annotations = CELLS.to_coco(2, [1])
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "references.json").write_text(json.dumps(content))
    references = read_references(tmp_path / "references.json")
    found = read_predictions(tmp_path / "found.json", references)
    assert [len(found.instances[key]) for key in (1, 2)] == [0, 2]
    assert found.instances[2].scores.tolist() == [0.9, 0.5]
