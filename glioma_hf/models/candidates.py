"""From many candidate masks to the instances of an image: enlarged in their boxes, ranked, the covered ones dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from pydantic import Field
from scipy import ndimage

from glioma_hf.data.features import CATEGORIES
from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import is_scored
from glioma_hf.metrics.matching import Counts, count
from glioma_hf.metrics.overlaps import overlaps
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.models.base import Settings
from glioma_hf.rle import BoxMask


class SelectionSettings(Settings):
    """Which candidates are kept; thresholds are to be chosen on validation data."""

    mask_nms_iou: float = Field(0.35, ge=0, le=1)  # two masks of more are one cell; CellSeg1 has 0.05
    mask_nms_cover: float = Field(0.7, ge=0, le=1)  # of the smaller of two masks
    min_area: int = Field(60, ge=0, le=2**28)  # pixels

    @property
    def least_score(self) -> float:
        """The score from which a candidate is kept."""
        raise NotImplementedError


PARTS = [CATEGORIES.index(name) for name in ("soma", "nucleus")]  # of cells, which they don't rival

AnySettings = TypeVar("AnySettings", bound=Settings)
Chosen = TypeVar("Chosen", contravariant=True)


class Choosable(Protocol[Chosen]):
    """Candidates among which settings choose."""

    candidates: Instances

    def kept(self, settings: Chosen) -> np.ndarray:
        """Which candidates remain: their places, (K,)."""


class Ranked:
    """Candidates, best score first, with what selection asks of them computed once for many settings.

    Memory grows with the number of pairs that overlap. Raises `InputError` where those are too many, see `overlaps`.
    """

    def __init__(self, candidates: Instances):
        scores = np.zeros(len(candidates)) if candidates.scores is None else candidates.scores
        order = np.argsort(-scores, kind="stable")
        self.candidates, self.scores = candidates.select(order), scores[order]
        self.areas = self.candidates.areas
        near = overlaps(self.candidates, self.candidates)
        part = np.isin(self.candidates.categories, PARTS)
        # Of each pair the better one first. A cell and what lies in it aren't rivals.
        self.near = near = near.where((near.rows < near.columns) & (part[near.rows] == part[near.columns]))
        first, second = self.areas[near.rows], self.areas[near.columns]
        # How much of the smaller mask two share, from IoU = shared / (sum of areas - shared).
        self.cover = near.iou / (1 + near.iou) * (first + second) / np.maximum(np.minimum(first, second), 1)

    def kept(self, settings: SelectionSettings) -> np.ndarray:
        """Which candidates remain, in order of rank: their places, (K,).

        Those below the score or area of the settings go, and those that overlap a better one beyond `mask_nms_iou` of
        both or `mask_nms_cover` of the smaller.
        """
        good = (self.scores >= settings.least_score) & (self.areas >= max(1, settings.min_area))
        clash = self.near.where((self.near.iou > settings.mask_nms_iou) | (self.cover > settings.mask_nms_cover))
        kept, cuts = good.copy(), np.searchsorted(clash.rows, np.arange(len(good) + 1))
        for i in np.unique(clash.rows):
            if kept[i]:
                kept[clash.columns[cuts[i] : cuts[i + 1]]] = False
        return np.flatnonzero(kept)

    def select(self, settings: SelectionSettings) -> Instances:
        """The candidates that remain, best score first; their ids are their ranks."""
        best = self.candidates.select(self.kept(settings))
        return Instances.from_rles(best.rles, best.size, best.categories, best.scores)


def merged(parts: Sequence[Instances]) -> Instances:
    """Candidates of several looks at one image, as one set."""
    scores = [part.scores for part in parts if part.scores is not None]
    return Instances.from_rles(
        [rle for part in parts for rle in part.rles],
        parts[0].size,
        np.concatenate([part.categories for part in parts]),
        np.concatenate(scores) if scores else None,
    )


def rate(
    images: Sequence[Choosable[AnySettings]],
    references: Sequence[Instances],
    choices: Iterable[AnySettings],
    typed: bool = False,
) -> list[tuple[float, AnySettings]]:
    """AP at IoU 0.5, pooled over images, of each choice of settings, in their order.

    Args:
        images: the candidates of each image.
        references: what of each image's references is scored, see `scored_objects`.
        typed: whether a candidate of another category than a reference is none of it.
    """
    scored = [is_scored(each.candidates, ScoringOptions()) for each in images]
    ious = [each.candidates.iou(reference) for each, reference in zip(images, references, strict=True)]
    if typed:
        pairs = zip(ious, images, references, strict=True)
        ious = [m * (e.candidates.categories[:, None] == r.categories) for m, e, r in pairs]
    rated = []
    for settings in choices:
        counts = Counts()
        for each, inner, matrix in zip(images, scored, ious, strict=True):
            kept = each.kept(settings)
            counts += count(matrix[kept[inner[kept]]], 0.5)
        rated.append((counts.ap, settings))
    return rated


def middle_of_best(rated: Sequence[tuple[float, AnySettings]]) -> tuple[float, AnySettings]:
    """The highest AP and its settings; among equals the middle one, so that a plateau isn't left at its edge."""
    best = max(ap for ap, _ in rated)
    equal = [settings for ap, settings in rated if ap == best]
    return best, equal[len(equal) // 2]


def enlarge(
    values: np.ndarray, threshold: float, corner: tuple[float, float], stride: float, size: tuple[int, int]
) -> BoxMask | None:
    """A small mask in pixels of the image, inside its own box: its largest part alone, without holes; None if empty.

    Args:
        values: float (h, w), interpolated linearly; the mask is where they are over `threshold`.
        corner: top and left edge of the first value, in pixels of the image.
        stride: pixels per value.
        size: of the image, (height, width).
    """
    rows, columns = np.nonzero(values > threshold)
    if not len(rows):
        return None
    top, up = _weights(rows, corner[0], stride, values.shape[0], size[0])
    left, across = _weights(columns, corner[1], stride, values.shape[1], size[1])
    mask = up @ values @ across.T > threshold
    parts, number = ndimage.label(mask)
    if number == 0:
        return None
    if number > 1:
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return ndimage.binary_fill_holes(mask), (top, left)


def _weights(used: np.ndarray, origin: float, stride: float, count: int, length: int) -> tuple[int, np.ndarray]:
    """Linear interpolation along one axis: the first pixel of the box around `used`, and weights (pixels, count)."""
    first = max(0, int(np.floor(origin + (used.min() - 1) * stride)))
    last = min(length, int(np.ceil(origin + (used.max() + 2) * stride)))
    place = np.clip((np.arange(first, last) + 0.5 - origin) / stride - 0.5, 0, count - 1)
    below = np.minimum(place.astype(int), count - 2)
    weights = np.zeros((max(0, last - first), count), np.float32)
    pixels = np.arange(len(weights))
    weights[pixels, below] = below + 1 - place
    weights[pixels, below + 1] = place - below
    return first, weights
