"""Large images tile by tile: tiles overlap, and each answers for its middle alone.

What lies at one tile's edge is seen whole by the next, and the parts they answer for meet without gaps, so that nothing
is found twice or missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """A tile of an image, in pixels of the view that it is cut from.

    Attributes:
        top, left: of its corner.
        own: top, left, bottom, right of the part that it answers for.
        scale: pixels of the view per pixel of the image.
    """

    top: int
    left: int
    own: tuple[float, float, float, float]
    scale: float = 1.0


def tiles_over(shape: tuple[int, ...], side: int, overlap: float, scale: float = 1.0, step: int = 1) -> list[Tile]:
    """Tiles of that side which cover a view (H, W) and overlap by at least that share of it.

    With `step` they begin at multiples of so many pixels, so that what is computed in cells of as many comes out the
    same in each; the last ones may then reach beyond the view.
    """
    tops, lefts = (_starts(length, side, overlap, step) for length in shape)
    tiles = []
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            own = (
                -np.inf if row == 0 else (tops[row - 1] + top + side) / 2,
                -np.inf if column == 0 else (lefts[column - 1] + left + side) / 2,
                np.inf if row == len(tops) - 1 else (top + tops[row + 1] + side) / 2,
                np.inf if column == len(lefts) - 1 else (left + lefts[column + 1] + side) / 2,
            )
            tiles.append(Tile(top, left, own, scale))
    return tiles


def owned(points: Tensor, tile: Tile, margin: float = 0.0) -> Tensor:
    """Those of the points (P, 2), (x, y) in the tile, that it answers for, and up to `margin` pixels around."""
    x, y = points[:, 0] + tile.left, points[:, 1] + tile.top
    top, left, bottom, right = tile.own
    return points[(y >= top - margin) & (y < bottom + margin) & (x >= left - margin) & (x < right + margin)]


def _starts(length: int, side: int, overlap: float, step: int) -> list[int]:
    last = max(0, -(-(length - side) // step)) * step
    count = int(np.ceil(last / (side * (1 - overlap) - (step - 1)))) + 1
    return [round(float(start) / step) * step for start in np.linspace(0, last, count)] if count > 1 else [0]
