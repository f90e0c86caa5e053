"""Centres in an image that is opened, not decoded: the cells of the whole, at any scale."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from glioma_hf.data.opened import open_large
from glioma_hf.models.centres.segment import CentreSegmenter, CentreSettings, _resized
from glioma_hf.models.vision import resized
from glioma_hf.models.vision.preprocess import statistics_of
from tests.models.centres.test_segment import Painter, spots

NOISE = np.random.default_rng(0).integers(0, 65536, (230, 310), dtype=np.uint16)


@pytest.mark.parametrize("scale", [0.05, 0.31, 0.5, 0.77, 1.0, 1.6, 3.0])
def test_windows_at_a_scale_are_those_of_the_whole(scale, tmp_path, monkeypatch):
    monkeypatch.setattr(resized, "_SIDE", 100)  # several parts a window
    tifffile.imwrite(tmp_path / "a.tif", NOISE, compression="zlib", tile=(32, 48))
    whole = _resized(NOISE, scale)

    @settings(max_examples=25, deadline=None)
    @given(*[st.integers(0, side + 5) for side in (*whole.shape, *whole.shape)])
    def same(top, left, bottom, right):
        part = view[top:bottom, left:right]
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, whole[top:bottom, left:right], rtol=1e-4, atol=0.1)

    with open_large(tmp_path / "a.tif", 1) as image:
        view = _resized(image, scale)
        assert view.shape == whole.shape
        np.testing.assert_allclose(view[:, :], whole, rtol=1e-4, atol=0.1)
        same()


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_cells_are_those_of_the_image_that_is_held(scale, tmp_path):
    pixels, centres = spots((900, 1100), 104)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="zlib", tile=(256, 128))
    segmenter = CentreSegmenter(Painter(), CentreSettings(tile=384, views=1, scale=scale, centre_thresh=0.3))
    held = segmenter.segment(pixels)
    told = []
    with open_large(tmp_path / "a.tif", 1) as image:
        found = segmenter.segment(image, told.append)
    assert len(found) == len(centres)
    if scale == 1:
        assert found == held
    else:
        assert found.iou(held).max(1).min() > 0.99
    assert [news.done for news in told] == list(range(1, len(told) + 1))


def test_statistics_are_those_of_the_image_that_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr("glioma_hf.models.vision.preprocess.READ_WHOLE", 1000)
    monkeypatch.setattr("glioma_hf.models.vision.preprocess.WINDOW", 16)
    tifffile.imwrite(tmp_path / "a.tif", NOISE, compression="zlib", rowsperstrip=7)
    with open_large(tmp_path / "a.tif", 1) as image:
        assert statistics_of(image) == statistics_of(NOISE)
