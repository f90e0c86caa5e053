from __future__ import annotations

import numpy as np
import pytest

from glioma_hf import Instances
from glioma_hf.shape import COLUMNS, shape_table
from tests.strategies import square


def ellipse(size: tuple[int, int], centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x + 0.5 - centre[0]) / half[0]) ** 2 + ((y + 0.5 - centre[1]) / half[1]) ** 2 <= 1


def test_ellipse_has_its_axes():
    cells = Instances.from_masks([ellipse((200, 300), (150, 100), (80, 20))], scores=[0.5])
    row = shape_table(cells).iloc[0]
    assert row.major_axis == pytest.approx(160, rel=0.01)
    assert row.minor_axis == pytest.approx(40, rel=0.01)
    assert row.axis_ratio == pytest.approx(0.25, rel=0.02)
    assert row.solidity > 0.97
    assert (row.x, row.y) == pytest.approx((150, 100), abs=0.01)
    assert row.area == cells.areas[0]


def test_axis_ratio_of_a_circle_is_one_as_the_papers_eccentricity():
    cells = Instances.from_masks([ellipse((100, 100), (50, 50), (30, 30))])
    assert shape_table(cells).axis_ratio[0] == pytest.approx(1, abs=0.01)


def test_cross_is_less_solid_than_its_hull():
    bar = [10, 30, 90, 30, 90, 50, 10, 50]
    post = [40, 0, 60, 0, 60, 80, 40, 80]
    row = shape_table(Instances.from_polygons([[bar, post]], (100, 100))).iloc[0]
    assert row.area == 2800
    # Hull: the 80 x 80 box less its four corner triangles of 30 x 30.
    assert row.solidity == pytest.approx(2800 / (6400 - 4 * 450), abs=0.03)


def test_pixel_size_scales_lengths_and_areas():
    cells = Instances.from_polygons([square(2, 2, 10)], (20, 20))
    one, half = shape_table(cells).iloc[0], shape_table(cells, 0.5).iloc[0]
    assert half.area == one.area / 4
    assert half.major_axis == one.major_axis / 2
    assert half.solidity == one.solidity


def test_smallest_objects_and_none():
    thin = np.zeros((9, 9), bool)
    thin[4, 2:7] = True
    dot = np.zeros((9, 9), bool)
    dot[1, 1] = True
    empty = np.zeros((9, 9), bool)
    table = shape_table(Instances.from_masks([thin, dot, empty]))
    assert len(table) == 2
    assert (table.solidity == 1).all()
    assert table.axis_ratio.between(0, 1).all()
    assert list(shape_table(Instances.empty((5, 5))).columns) == list(COLUMNS)
