"""DeepSea as a family: as published, tuned, never trained. Its weights are in a package that may be missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from glioma_hf import InputError, train
from glioma_hf.models import find_base, get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.vision.pretrained import package_file
from glioma_hf.progress import Progress
from glioma_hf.workflows.training import tune
from tests.models.contract import PAIR, SCENE


@pytest.fixture(scope="module")
def segmenter():
    try:
        package_file("deepsea")
    except InputError as error:
        pytest.skip(str(error))
    return load_segmenter("deepsea")


def test_it_is_a_family_of_one_base():
    family = get_family("deepsea")
    assert find_base("deepsea") == (family, "published")
    with pytest.raises(InputError, match="there is deepsea:published alone"):
        load_segmenter("deepsea:other")


def test_it_isnt_trained(folder, tmp_path):
    family = get_family("deepsea")
    with pytest.raises(InputError, match="DeepSea comes trained and isn't trained here"):
        family.train("published", [PAIR], family.read_recipe(), Run())
    with pytest.raises(InputError, match="DeepSea comes trained and isn't trained here"):
        train(folder, [1], tmp_path / "model", "deepsea")
    assert not (tmp_path / "model").exists()


def test_it_finds_cells_in_images_of_any_form(segmenter):
    cells = segmenter.segment(SCENE.image)
    assert len(cells) > 3
    assert (np.diff(cells.scores) <= 0).all()
    assert (cells.scores >= segmenter.score_threshold).all()
    assert cells.areas.sum() == cells.flatten().areas.sum()  # a label map: no overlaps
    for same in (SCENE.image.astype(np.uint16) * 200, np.stack([SCENE.image] * 3, 2), SCENE.image / 255.0):
        assert len(segmenter.segment(same)) == len(cells)
    assert len(segmenter.segment(np.zeros((40, 50), np.uint8))) == 0
    told: list[Progress] = []
    segmenter.segment(SCENE.image, told.append)
    assert told[-1].share == 1


def test_edges_part_cells_that_touch(segmenter):
    maps = np.zeros((2, 60, 100), np.float32)
    maps[0, 10:50, 10:90] = 0.9  # one blob, with an edge through its middle
    maps[1, 10:50, 48:52] = 0.8
    assert len(segmenter.found(maps)) == 1
    parted = segmenter.with_settings(edge_weight=1.0).found(maps)
    assert len(parted) == 2
    assert parted.areas.sum() == 40 * 80  # the edge's pixels are cells' again
    assert segmenter.with_settings(edge_weight=1.0, min_area=2000).found(maps).areas.tolist() == []


def test_its_thresholds_are_tuned_and_kept_in_a_file(segmenter, folder, tmp_path):
    family = get_family("deepsea")
    tuned, ap = family.tune(segmenter, [PAIR], lambda progress: None)
    counted = tuned.segment(PAIR[0])
    from glioma_hf.metrics.overlap_ap import overlap_ap

    assert overlap_ap([(counted, PAIR[1])]).ap50 == pytest.approx(ap)
    assert ap >= overlap_ap([(segmenter.segment(PAIR[0]), PAIR[1])]).ap50
    chosen, _ = tune(folder, "deepsea", out=tmp_path / "t.json")
    assert load_segmenter("deepsea", thresholds=tmp_path / "t.json").settings == chosen.settings
    assert "edge_weight" in json.loads((tmp_path / "t.json").read_text())
    assert segmenter.for_diameter(92.0).settings.scale == pytest.approx(0.5)
