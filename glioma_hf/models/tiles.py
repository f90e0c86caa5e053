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
    shape: tuple[int, ...], largest: int, shared: int, step: int, begin: int | None = None, scale: float = 1.0
) -> tuple[list[Tile], tuple[int, int]]:
    """Tiles which cover a view (H, W), as few and as small as will do, and their height and width.

    The last ones may reach beyond the view.

    Args:
        largest: side of a tile, a multiple of `step`, at least `shared + begin`.
        shared: pixels by which neighbours overlap at least.
        step: of which their sides are multiples.
        begin: pixels at multiples of which they begin, a multiple of `step` and without it the same: what is computed
            in cells of as many comes out alike in each tile.
    """
    begin = begin or step
    sides, starts = zip(*(_fitted(length, largest, shared, step, begin) for length in shape), strict=True)
    return _tiles(starts[0], starts[1], (sides[0], sides[1]), scale), (sides[0], sides[1])


def _fitted(length: int, largest: int, shared: int, step: int, begin: int) -> tuple[int, list[int]]:
    """Along one axis: the tiles' side and where they begin, of the least pixels in all."""
    if length <= largest:
        return max(1, -(-length // step)) * step, [0]
    choices = []
    for advance in range((largest - shared) // begin * begin, 0, -begin):
        count = 1 - (largest - length) // advance
        side = -(-max(shared + advance, length - (count - 1) * advance) // step) * step
        choices.append((count * side, side, [number * advance for number in range(count)]))
    _, side, starts = min(choices, key=lambda choice: choice[0])
    return side, starts


def ending_tiles(shape: tuple[int, ...], side: int, advance: int) -> list[Tile]:
    """Square tiles over a view (H, W), each `advance` pixels after the one before; the last ends where the view does.

    They lie as MONAI's sliding windows do: about the middle of a view that is smaller than a tile.
    """
    tops, lefts = (_ending(length, side, advance) for length in shape)
    return _tiles(tops, lefts, (side, side), 1.0)


def _ending(length: int, side: int, advance: int) -> list[int]:
    if length <= side:
        return [-((side - length) // 2)]
    return [*range(0, length - side, advance), length - side]


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
