"""How far annotations of the same images agree (paper, section 5 and Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import ImageScore
from glioma_hf.metrics.matching import Counts, match
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.overlaps import Overlaps, overlaps
from glioma_hf.metrics.score_plots import draw_matrix
from glioma_hf.metrics.scores import OverlapScores
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.plots import drawing
from glioma_hf.rle import BoxMask

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Agreement:
    """AP of every source against every other. `agreement` makes it.

    Attributes:
        sources: their names.
        scores: `OverlapScores` by (source, reference), the source in the place of the predictions; for each
            two sources both ways round. Precision and recall, FP and FN change places with the sides, AP doesn't.
    """

    sources: tuple[str, ...]
    scores: Mapping[tuple[str, str], OverlapScores]

    def of(self, source: str, reference: str) -> OverlapScores:
        """The scores of one source against another. Raises `InputError` for a name that isn't among the sources."""
        for name in (source, reference):
            if name not in self.sources:
                raise InputError(f"{name!r} isn't among the sources {', '.join(self.sources)}")
        return self.scores[source, reference]

    def image(self, position: int) -> Agreement:
        """The agreement on one image alone."""
        return Agreement(self.sources, {names: scores.image(position) for names, scores in self.scores.items()})

    def values(self, threshold: float = 0.5) -> np.ndarray:
        """The matrix of APs at one IoU: float (sources, sources), symmetric."""
        return np.array([[self.of(a, b).at(threshold).ap for b in self.sources] for a in self.sources])

    def to_dict(self) -> dict[str, dict[str, dict[str, float]]]:
        """As `agreement.json` has it: `result[source][reference]["ap50"]`."""
        return {a: {b: self.of(a, b).ap_values() for b in self.sources} for a in self.sources}

    def to_frame(self, threshold: float = 0.5) -> pd.DataFrame:
        """The matrix of APs at one IoU, sources as index and columns."""
        import pandas as pd

        return pd.DataFrame(self.values(threshold), index=list(self.sources), columns=list(self.sources))

    def plot(self, threshold: float = 0.5, path: str | Path | None = None, axes: Any = None, title: str = "") -> Any:
        """The matrix of APs at one IoU as a picture with its numbers, saved at `path` where one is given.

        Returns the axes. Raises `InputError` where matplotlib isn't installed.
        """
        side = 1.6 + 0.9 * len(self.sources)
        with drawing(path, axes, (side + 1, side)) as axes:
            draw_matrix(axes, self.sources, self.values(threshold), f"AP{100 * threshold:.4g}", title)
        return axes


def agreement(
    annotations: Mapping[str, Sequence[Instances]], options: ScoringOptions | None = None, **settings: Any
) -> Agreement:
    """AP of every source against every other, pooled over the images.

    Args:
        annotations: per source (annotator, model, consensus) its instances of each image, in one order.
        options: what is scored and how; the paper's way without them.
        settings: fields of `ScoringOptions` by name, instead of those in `options`.

    Raises `InputError` where the sources hold different numbers of images.

        >>> cell = Instances.from_polygons([[[4, 4, 12, 4, 12, 12, 4, 12]]], (20, 20))
        >>> matrix = agreement({"Ann": [cell], "Bob": [cell], "model": [Instances.empty((20, 20))]})
        >>> matrix.of("Ann", "Bob").ap50, matrix.of("model", "Ann").fn
        (1.0, 1)
        >>> matrix.to_dict()["Ann"]["model"]
        {'ap50': 0.0, 'ap75': 0.0, 'ap90': 0.0}
    """
    counts = {name: len(images) for name, images in annotations.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"the sources hold different numbers of images: {counts}")
    scores: dict[tuple[str, str], OverlapScores] = {}
    names = tuple(annotations)
    for position, source in enumerate(names):
        for reference in names[position:]:
            pairs = zip(annotations[source], annotations[reference], strict=True)
            result = overlap_ap(pairs, options, **settings)
            scores[reference, source] = replace(result, per_image=tuple(map(_swapped, result.per_image)))
            scores[source, reference] = result
    return Agreement(names, scores)


def consensus(annotations: Sequence[Instances], threshold: float = 0.5) -> Instances:
    """The majority vote of k annotators on one image, first over objects, then over pixels.

    Objects of different annotators that match each other (optimally, at `threshold`) form a group; of
    two objects of one annotator in a group the one that agrees less with the others is left out. A
    group stays if more than half of the annotators are in it; its mask is the pixels that more than
    half of them drew, its category the commonest one. The order of the annotators doesn't matter but
    for the order of the result and for exact ties.
    """
    if not annotations:
        raise InputError("a consensus needs at least one annotation")
    size = annotations[0].size
    annotations = [a.select(~a.crowd) if a.crowd.any() else a for a in annotations]
    starts = np.cumsum([0, *(len(a) for a in annotations)])
    rows, columns, weights = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)]
    for i, first in enumerate(annotations):
        for j in range(i + 1, len(annotations)):
            near = overlaps(first, annotations[j])
            row, column = match(near, threshold)
            rows.append(row + starts[i])
            columns.append(column + starts[j])
            weights.append(near.at(row, column))
    agreeing = Overlaps((starts[-1], starts[-1]), *map(np.concatenate, (rows, columns, weights)))
    owner = np.repeat(np.arange(len(annotations)), np.diff(starts))
    masks = [mask for a in annotations for mask in a.box_masks()]
    categories = np.concatenate([a.categories for a in annotations])
    kept, named = [], []
    for members in _groups(agreeing, owner):
        if 2 * len(members) <= len(annotations):
            continue
        voted = _vote([masks[m] for m in members], len(annotations))
        if voted[0].any():
            kept.append(voted)
            named.append(int(np.bincount(categories[members]).argmax()))
    return Instances.from_box_masks(kept, size, categories=named)


def _swapped(image: ImageScore) -> ImageScore:
    """The counts of an image whose sides have changed places."""
    counts = tuple(Counts(c.tp, c.fn, c.fp) for c in image.counts)
    return ImageScore(counts, image.iou_sums, image.references, image.predictions)


def _groups(agreeing: Overlaps, owner: np.ndarray) -> list[list[int]]:
    """Connected objects, at most one of each annotator, by their first; `agreeing` holds each pair one way round."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(owner):
        return []
    rows, columns = np.r_[agreeing.rows, agreeing.columns], np.r_[agreeing.columns, agreeing.rows]
    sort = np.lexsort((columns, rows))
    rows, columns, iou = rows[sort], columns[sort], np.r_[agreeing.iou, agreeing.iou][sort]
    weight = csr_matrix((iou, (rows, columns)), shape=agreeing.shape)
    supports = np.bincount(rows, iou, len(owner))
    label = connected_components(weight, directed=False)[1]
    order = np.argsort(label, kind="stable")
    groups = []
    for members in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if len(members) == 1:
            groups.append(members.tolist())
            continue
        support = supports[members]
        if len(members) >= 8:  # long sums depend on their order in the last bit: NumPy's own
            support = weight[members][:, members].toarray().sum(1)
        best: dict[int, int] = {}
        for member in members[np.argsort(-support, kind="stable")].tolist():
            best.setdefault(int(owner[member]), member)
        groups.append(sorted(best.values()))
    return groups


def _vote(masks: Sequence[BoxMask], voters: int) -> BoxMask:
    """Pixels drawn by more than half of the voters."""
    top, left = (min(corner[axis] for _, corner in masks) for axis in (0, 1))
    bottom, right = (max(corner[axis] + mask.shape[axis] for mask, corner in masks) for axis in (0, 1))
    votes = np.zeros((bottom - top, right - left), np.int32)
    for mask, (y, x) in masks:
        votes[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]] += mask
    return 2 * votes > voters, (top, left)
