from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import roifile
import tifffile

from glioma_hf import InputError, Instances
from glioma_hf.data.exports import read_rois, write_geojson, write_label_map, write_rois
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.strategies import square

CELLS = generate_scene(4, SceneConfig(width=200, height=150, cells_per_megapixel=(600, 600))).instances()


def test_rois_keep_overlaps_and_come_back_exactly(tmp_path):
    write_rois(CELLS, tmp_path / "cells.zip")
    again = read_rois((tmp_path / "cells.zip").read_bytes(), CELLS.size, "cells.zip")
    assert len(again) == len(CELLS)
    assert (CELLS.iou(CELLS) > 0).sum() > len(CELLS)  # there are overlaps to keep
    for mask, (copy, _) in zip(CELLS.box_masks(), again.box_masks(), strict=True):
        if mask[0].sum() == copy.sum():
            assert np.array_equal(mask[0], copy)
    assert np.mean(again.areas == CELLS.areas) > 0.9  # all but those in several parts or with holes


def test_imagej_reads_what_is_written(tmp_path):
    cells = Instances.from_polygons([square(3, 4, 10), square(8, 4, 10)], (40, 50))
    write_rois(cells, tmp_path / "cells.zip")
    regions = roifile.roiread(tmp_path / "cells.zip")
    assert [r.name for r in regions] == ["cell_00001", "cell_00002"]
    assert [(r.left, r.top) for r in regions] == [(3, 4), (8, 4)]


def test_label_map_is_flattened_by_priority(tmp_path):
    cells = Instances.from_polygons([square(3, 4, 10), square(8, 4, 10)], (40, 50))
    write_label_map(cells, tmp_path / "labels.tif")
    labels = tifffile.imread(tmp_path / "labels.tif")
    assert (labels.dtype, labels.shape) == (np.uint16, (40, 50))
    assert [(labels == i).sum() for i in (1, 2)] == [100, 50]


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_roi", ".roi"), data)
    return buffer.getvalue()


OVAL = roifile.ImagejRoi.frompoints([[1, 1], [5, 1], [5, 5]])
OVAL.roitype = roifile.ROI_TYPE.OVAL


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"junk", r"c\.zip: not a whole zip"),
        (zipped(notes=b"x"), r"c\.zip: 0 ImageJ regions"),
        (zipped(a_roi=b"Iout"), r"c\.zip: a\.roi isn't a readable"),
        (zipped(a_roi=bytes(2**20 + 1)), r"a\.roi holds 1048577 bytes"),
        (zipped(a_roi=OVAL.tobytes()), r"a\.roi isn't an outline; use polygon"),
        (zipped(a_roi=roifile.ImagejRoi.frompoints([[1, 1], [5, 1]]).tobytes()), r"a\.roi isn't an outline"),
    ],
)
def test_bad_rois_are_named(data, says):
    with pytest.raises(InputError, match=says):
        read_rois(data, (40, 50), "c.zip")


def test_geojson_has_every_object_whole_in_pixels(tmp_path):
    two_parts = [square(20, 20, 4)[0], square(28, 20, 4)[0]]
    cells = Instances.from_polygons([square(2, 2, 10), square(6, 2, 10), two_parts], (40, 40), ids=[1, 2, 7])
    write_geojson(cells, tmp_path / "cells.geojson", [{"Area px": area} for area in (100, 100, 32)])
    content = json.loads((tmp_path / "cells.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert [f["properties"]["name"] for f in content["features"]] == ["cell 1", "cell 2", "cell 7"]
    assert [f["geometry"]["type"] for f in content["features"]] == ["Polygon", "Polygon", "MultiPolygon"]
    assert [f["properties"]["measurements"]["Area px"] for f in content["features"]] == [100, 100, 32]
    outlines = []
    for feature in content["features"]:
        kind, rings = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        polygons = [rings] if kind == "Polygon" else rings
        assert all(ring[0] == ring[-1] for (ring,) in polygons)  # closed, as the format wants it
        outlines.append([np.ravel(ring).tolist() for (ring,) in polygons])
    assert Instances.from_polygons(outlines, (40, 40)).areas.tolist() == cells.areas.tolist()


def test_labels_and_names_of_regions_may_be_ids(tmp_path):
    cells = Instances.from_polygons([square(2, 2, 10), square(20, 2, 10)], (40, 40), ids=[3, 8])
    write_label_map(cells, tmp_path / "labels.tif", by_id=True)
    assert set(np.unique(tifffile.imread(tmp_path / "labels.tif"))) == {0, 3, 8}
    write_rois(cells, tmp_path / "rois.zip", by_id=True)
    with zipfile.ZipFile(tmp_path / "rois.zip") as packed:
        assert packed.namelist() == ["cell_00003.roi", "cell_00008.roi"]
