from __future__ import annotations

import numpy as np
from PIL import Image

from glioma_hf import Instances
from glioma_hf.draw import PREDICTION, REFERENCE, overlap_map, overlay, scale_bar
from tests.strategies import square

IMAGE = np.full((40, 40), 90, np.uint8)


def test_outlines_lie_on_the_edges_and_nowhere_else():
    cells = Instances.from_polygons([square(10, 10, 20)], (40, 40))
    shown = np.asarray(overlay(IMAGE, references=cells, line=1))
    coloured = (shown == REFERENCE).all(2)
    # The edge runs between two pixels; either will do.
    assert coloured[9:11, 15:25].any(0).all()
    assert coloured[15:25, 9:11].any(1).all()
    assert not coloured[:8].any()
    assert (shown[20, 20] == 90).all()


def test_overlap_is_tinted_and_predictions_lie_on_top():
    cells = Instances.from_polygons([square(5, 5, 20), square(15, 15, 20)], (40, 40))
    shown = np.asarray(overlay(IMAGE, predictions=cells, references=cells, line=1))
    assert (shown == PREDICTION).all(2).any()
    assert not (shown == REFERENCE).all(2).any()
    assert (shown[20, 20] != 90).any()
    assert (shown[10, 10] == 90).all()
    assert overlap_map(cells)[20, 20] == 2


def test_nothing_to_draw():
    assert (np.asarray(overlay(IMAGE, Instances.empty((40, 40)))) == 90).all()


def test_a_hole_has_its_own_outline_and_no_seam():
    ring = np.zeros((40, 40), bool)
    ring[5:35, 5:35] = True
    ring[15:25, 15:25] = False
    shown = np.asarray(overlay(IMAGE, references=Instances.from_masks([ring]), line=1))
    coloured = (shown == REFERENCE).all(2)
    assert coloured[13:17, 20].any()
    assert not coloured[7:13, 7:33].any()


def test_a_scale_bar_is_of_a_round_length():
    picture = Image.new("RGB", (400, 300), (90, 90, 90))
    scale_bar(picture, 0.5)
    white = (np.asarray(picture)[-40:] == 255).all(2)
    rows = white.sum(1)
    assert rows.max() in range(36, 42)  # 40 micrometres would be a fifth of it: 20 are the next round length
