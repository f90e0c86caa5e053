"""Overlaps made of real cells: cut out by their outlines and laid over others, whole masks known.

A thin cell shifts the light's phase a little, and phases of cells that lie over one another add up. To first order so
do their contrasts in the image: what a cell makes brighter or darker than the background about it, it makes so wherever
it lies. The cell below shines through, as it does under a microscope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy import ndimage

from glioma_hf.instances import Instances
from glioma_hf.rle import BoxMask

Labelled = tuple[np.ndarray, Instances]


class OverlapConfig(BaseModel):
    """How cells are laid over others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: int = Field(8, ge=0, le=10**4)  # that are laid over an image, at most
    covered: tuple[float, float] = (0.1, 0.6)  # share of a laid cell that lies over others, least and most
    halo: int = Field(8, ge=0, le=200)  # pixels beyond its outline that move with a cell, fading
    tries: int = Field(30, ge=1, le=10**4)  # places that are tried for a cell

    @field_validator("covered")
    @classmethod
    def _shares(cls, shares: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= shares[0] <= shares[1] <= 1:
            raise ValueError("from the least to the greatest, within 0 and 1")
        return shares


@dataclass(frozen=True)
class _Piece:
    contrast: np.ndarray  # float32 (h, w), in standard deviations of its image, fading beyond the outline
    mask: np.ndarray  # bool (h, w)
    category: int


def lay_over(
    image: np.ndarray,
    instances: Instances,
    donors: Sequence[Labelled],
    seed: int | tuple[int, ...],
    config: OverlapConfig | None = None,
) -> tuple[np.ndarray, Instances]:
    """An image with cells of others laid over its own, and all their whole masks, the laid ones last.

    Args:
        image: (H, W) or (H, W, channels); the result is grey, of its type.
        donors: images and cells to cut from; cells at their border are left where they are.
        seed: the same gives the same pixels.
    """
    config, rng = config or OverlapConfig(), np.random.default_rng(seed)
    below = _grey(image)
    laid: list[BoxMask] = []
    categories = instances.categories.tolist()
    taken = instances.to_label_map() > 0
    spread = max(float(below.std()), 1e-6)
    cut = [(number, place) for number, (_, cells) in enumerate(donors) for place in _whole(cells)]
    picked = [cut[i] for i in rng.permutation(len(cut))[: config.cells]]
    pieces: list[_Piece] = []
    for number in sorted({number for number, _ in picked}):
        image_of_it, cells = donors[number]
        pieces += _pieces(image_of_it, cells, [place for other, place in picked if other == number], config.halo)
    for piece in pieces:
        contrast, mask = _turned(piece.contrast, piece.mask, int(rng.integers(8)))
        corner = _place(taken, mask, rng, config)
        if corner is None:
            continue
        laid.append((mask, corner))
        categories.append(piece.category)
        window, inner = _meet(mask.shape, corner, below.shape)
        below[window] += spread * contrast[inner]
        taken[window] |= mask[inner]
    limits = (0, np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else (below.min(), below.max())
    masks = [*instances.box_masks(), *laid]
    whole = Instances.from_box_masks(masks, instances.size, categories=np.array(categories, np.int64))
    return np.clip(np.round(below) if image.dtype.kind in "ui" else below, *limits).astype(image.dtype), whole


def _grey(image: np.ndarray) -> np.ndarray:
    grey = np.array(image, np.float32)
    return grey[..., :3].mean(2) if grey.ndim == 3 else grey


def _whole(cells: Instances) -> list[int]:
    """Those that don't touch the border and aren't crumbs."""
    return [int(i) for i in np.flatnonzero(~cells.touching_border(1) & (cells.areas > 100))]


def _pieces(image: np.ndarray, cells: Instances, places: list[int], halo: int) -> list[_Piece]:
    """The cells at these places, cut out."""
    grey, labels = _grey(image), cells.to_label_map()
    spread, background = max(float(grey.std()), 1e-6), labels == 0
    overall = float(np.median(grey[background])) if background.any() else float(np.median(grey))
    pieces = []
    chosen = cells.select(places)
    for (mask, (top, left)), category in zip(chosen.box_masks(), chosen.categories.tolist(), strict=True):
        wide = np.pad(mask, halo)
        window, inner = _meet(wide.shape, (top - halo, left - halo), grey.shape)
        others = np.zeros(wide.shape, bool)
        others[inner] = ~background[window] & ~wide[inner]
        around = background[window]
        # The background near the cell, where there is enough of it: light isn't even over an image.
        level = float(np.median(grey[window][around])) if around.sum() > 50 else overall
        contrast = np.zeros(wide.shape, np.float32)
        contrast[inner] = (grey[window] - level) / spread
        away = ndimage.distance_transform_edt(~wide)
        fading = np.clip(1 - away / (halo + 1), 0, 1) * ~others
        pieces.append(_Piece(contrast * fading.astype(np.float32), wide, category))
    return pieces


def _turned(contrast: np.ndarray, mask: np.ndarray, which: int) -> tuple[np.ndarray, np.ndarray]:
    contrast, mask = (np.rot90(part, which % 4) for part in (contrast, mask))
    return (contrast[:, ::-1], mask[:, ::-1]) if which >= 4 else (contrast, mask)


def _place(
    taken: np.ndarray, mask: np.ndarray, rng: np.random.Generator, config: OverlapConfig
) -> tuple[int, int] | None:
    """A corner at which the mask lies inside the image and over others as far as it should; None if none was found."""
    rows, columns = np.nonzero(taken)
    for _ in range(config.tries if len(rows) else 0):
        pixel = rng.integers(len(rows))
        off = rng.uniform(-0.5, 1.5, 2) * mask.shape
        corner = int(rows[pixel] - off[0]), int(columns[pixel] - off[1])
        window, inner = _meet(mask.shape, corner, taken.shape)
        if mask[inner].sum() < mask.sum():
            continue
        covered = (taken[window] & mask[inner]).sum() / mask.sum()
        if config.covered[0] <= covered <= config.covered[1]:
            return corner
    return None


def _meet(
    shape: tuple[int, ...], corner: tuple[int, int], size: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a box meets an image: the window of the image, and that of the box."""
    low = [max(0, start) for start in corner]
    high = [
        max(first, min(end, start + side)) for first, end, start, side in zip(low, size, corner, shape, strict=True)
    ]
    rows, columns = (slice(first, last) for first, last in zip(low, high, strict=True))
    inner = [slice(first - start, last - start) for first, last, start in zip(low, high, corner, strict=True)]
    return (rows, columns), (inner[0], inner[1])
