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


def tiles_over(shape: tuple[int, ...], side: int, overlap: float, scale: float = 1.0) -> list[Tile]:
    """Square tiles which cover a view (H, W) and overlap by at least that share of their side."""
    tops, lefts = (_starts(length, side, overlap) for length in shape)
    return _tiles(tops, lefts, (side, side), scale)


def fitted_tiles(
    shape: tuple[int, ...], largest: int, shared: int, step: int, scale: float = 1.0
) -> tuple[list[Tile], tuple[int, int]]:
    """Tiles which cover a view (H, W), as few and as small as will do, and their height and width.

    They begin at multiples of `step` pixels, so that what is computed in cells of as many comes out the same in each;
    the last ones may reach beyond the view.

    Args:
        largest: side of a tile, a multiple of `step`.
        shared: pixels by which neighbours overlap, a multiple of `step` and less than `largest`.
    """
    sides, starts = [], []
    for length in shape:
        count = max(1, -(-(length - shared) // (largest - shared)))
        side = -(-(length + (count - 1) * shared) // (count * step)) * step
        sides.append(side)
        starts.append([number * (side - shared) for number in range(count)])
    return _tiles(starts[0], starts[1], (sides[0], sides[1]), scale), (sides[0], sides[1])


def _tiles(tops: list[int], lefts: list[int], sides: tuple[int, int], scale: float) -> list[Tile]:
    tiles = []
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            own = (
                -np.inf if row == 0 else (tops[row - 1] + top + sides[0]) / 2,
                -np.inf if column == 0 else (lefts[column - 1] + left + sides[1]) / 2,
                np.inf if row == len(tops) - 1 else (top + tops[row + 1] + sides[0]) / 2,
                np.inf if column == len(lefts) - 1 else (left + lefts[column + 1] + sides[1]) / 2,
            )
            tiles.append(Tile(top, left, own, scale))
    return tiles


def owned(points: Tensor, tile: Tile, margin: float = 0.0) -> Tensor:
    """Those of the points (P, 2), (x, y) in the tile, that it answers for, and up to `margin` pixels around."""
    x, y = points[:, 0] + tile.left, points[:, 1] + tile.top
    top, left, bottom, right = tile.own
    return points[(y >= top - margin) & (y < bottom + margin) & (x >= left - margin) & (x < right + margin)]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    count = max(1, int(np.ceil((length - side) / (side * (1 - overlap)))) + 1)
    return [round(float(v)) for v in np.linspace(0, length - side, count)] if count > 1 else [0]
