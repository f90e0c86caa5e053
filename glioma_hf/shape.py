"""Shapes of instances, measured inside each object's own box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage import measure

from glioma_hf.instances import Instances

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "id",
    "category",
    "score",
    "x",
    "y",
    "area",
    "perimeter",
    "major_axis",
    "minor_axis",
    "axis_ratio",
    "solidity",
)


def shape_table(instances: Instances, pixel_size: float = 1.0) -> DataFrame:
    """One row of `COLUMNS` per object that has pixels, in the order of `instances`.

    `x`, `y` are the centroid in pixels. `area`, `perimeter` and the axes are in pixels, or in the unit of
    `pixel_size` (say micrometres per pixel). `axis_ratio` is short over long axis, which the paper (section 3.2)
    calls eccentricity, and `solidity` area over convex area, both 0 ... 1: a circle has an axis ratio of 1.
    `score` is NaN where there are none.

    >>> square = Instances.from_polygons([[[2, 2, 8, 2, 8, 8, 2, 8]]], size=(10, 10))
    >>> shape_table(square, pixel_size=0.5)[["area", "axis_ratio"]].values.tolist()
    [[9.0, 1.0]]
    """
    import pandas as pd

    rows = []
    for position, (mask, (top, left)) in enumerate(instances.box_masks()):
        if not mask.any():
            continue
        region = measure.regionprops(mask.astype(np.uint8))[0]
        # A single row or column of pixels has no width by moments; a pixel is a pixel wide all the same.
        major, minor = max(region.axis_major_length, 1.0), max(region.axis_minor_length, 1.0)
        row, column = region.centroid
        rows.append(
            {
                "id": int(instances.ids[position]),
                "category": int(instances.categories[position]),
                "score": np.nan if instances.scores is None else float(instances.scores[position]),
                "x": column + left + 0.5,
                "y": row + top + 0.5,
                "area": region.area * pixel_size**2,
                "perimeter": region.perimeter * pixel_size,
                "major_axis": major * pixel_size,
                "minor_axis": minor * pixel_size,
                "axis_ratio": min(minor / major, 1.0),
                "solidity": _solidity(region),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _solidity(region: measure._regionprops.RegionProperties) -> float:
    if min(region.image.shape) < 3:  # too thin for a hull
        return 1.0
    return float(region.solidity)
