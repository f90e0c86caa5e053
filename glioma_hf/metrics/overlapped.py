"""How well objects are found that others cover: recall and IoU by the covered share of each reference, and their AP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco

from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import MatchedImage, flattened, is_scored
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.overlaps import Overlaps, overlaps
from glioma_hf.metrics.scoring_options import ScoringOptions

LEAST = 0.01  # of its pixels: up to a hundredth is an outline's breadth, not an overlap
SHARES = (0.0, LEAST, 0.1, 0.3, 1.0)  # limits of the groups


@dataclass(frozen=True)
class OverlappedScores:
    """References whose covered share lies over `least` and not over `most` (the first group has 0 too).

    Attributes:
        references: how many were scored.
        found: those that a prediction matches, at the first threshold.
        iou_sum: of each one's best IoU with any prediction.
    """

    least: float
    most: float
    references: int = 0
    found: int = 0
    iou_sum: float = 0.0

    @property
    def recall(self) -> float:
        """Share of the references that were found; 0 where there are none."""
        return self.found / max(self.references, 1)

    @property
    def miou(self) -> float:
        """Mean over the references of the best IoU; 0 where there are none."""
        return self.iou_sum / max(self.references, 1)

    def values(self) -> dict[str, float]:
        """Numbers by name: `recall_covered_30_100` is that of references covered by over 30 %."""
        end = f"covered_{100 * self.least:g}_{100 * self.most:g}"
        return {f"references_{end}": self.references, f"recall_{end}": self.recall, f"miou_{end}": self.miou}


NONE = tuple(OverlappedScores(least, most) for least, most in pairwise(SHARES))


@dataclass(frozen=True)
class ContestedScores:
    """Counts of contested objects alone, at the first threshold.

    An object is contested where more than a hundredth of its pixels are shared by several references, itself among them
    if it is one. A contested reference is found or missed; a contested prediction that matches nothing is a false
    positive; one that matches a reference which isn't contested counts nowhere.
    """

    counts: Counts

    def values(self) -> dict[str, float]:
        """Numbers by name: `ap_contested`, the counts behind it and how many references there are."""
        counts = {f"{name}_contested": getattr(self.counts, name) for name in ("tp", "fp", "fn")}
        return {"references_contested": self.counts.tp + self.counts.fn, "ap_contested": self.counts.ap, **counts}


@dataclass(frozen=True)
class Overlapped:
    """Of one image, or of all, the references by how much others cover them, and the contested ones."""

    groups: tuple[OverlappedScores, ...]
    contested: ContestedScores


def overlapped(matched: MatchedImage, references: Instances, options: ScoringOptions) -> Overlapped:
    """One image's scores.

    Args:
        matched: of `match_image`.
        references: all that the image has, as `match_image` was given them: what isn't scored covers others too.
        options: by which it was matched.
    """
    everything = flattened(references.select(~references.crowd), options)
    shares, covered = _covered(everything)
    region = Instances.from_rles(
        [rle for share, rle in zip(shares, covered, strict=True) if share > LEAST], everything.size
    )
    shares = shares[is_scored(everything, options)]
    counted = np.ones(len(shares), bool) if matched.ignored is None else ~matched.ignored[0].references
    found = np.zeros(len(shares), bool)
    found[matched.matches[0][1]] = True
    wrong = np.ones(len(matched.predictions), bool) if matched.ignored is None else ~matched.ignored[0].predictions
    wrong[matched.matches[0][0]] = False
    contested = counted & (shares > LEAST)
    counts = Counts(
        int(found[contested].sum()),
        int((_shares_in(matched.predictions.select(wrong), region) > LEAST).sum()),
        int((~found[contested]).sum()),
    )
    best = matched.overlaps.best_of_columns()
    groups = []
    for group in NONE:
        chosen = counted & (shares <= group.most) & ((shares > group.least) | (group.least == 0))
        sums = int(chosen.sum()), int(found[chosen].sum()), float(best[chosen].sum())
        groups.append(OverlappedScores(group.least, group.most, *sums))
    return Overlapped(tuple(groups), ContestedScores(counts))


def covered_shares(instances: Instances) -> np.ndarray:
    """Of each object the share of its pixels that others have too: float64 (N,).

    >>> squares = [[[0, 0, 4, 0, 4, 4, 0, 4]], [[3, 0, 7, 0, 7, 4, 3, 4]], [[9, 9, 12, 9, 12, 12, 9, 12]]]
    >>> covered_shares(Instances.from_polygons(squares, (20, 20))).tolist()
    [0.25, 0.25, 0.0]
    """
    return _covered(instances)[0]


def pooled(images: Sequence[Overlapped]) -> Overlapped:
    """All images together."""
    groups = tuple(
        OverlappedScores(
            group.least,
            group.most,
            sum(image.groups[place].references for image in images),
            sum(image.groups[place].found for image in images),
            sum(image.groups[place].iou_sum for image in images),
        )
        for place, group in enumerate(NONE)
    )
    return Overlapped(groups, ContestedScores(sum((image.contested.counts for image in images), Counts())))


def _covered(instances: Instances) -> tuple[np.ndarray, list[Any]]:
    """Of each object the share of its pixels that others have too, float64 (N,), and those pixels; None for none."""
    shares, pixels = np.zeros(len(instances)), [None] * len(instances)
    near = overlaps(instances, instances)
    near = near.where(near.rows != near.columns)
    for i, columns in _by_row(near):
        others = coco.merge([instances.rles[j] for j in columns])
        pixels[i] = coco.merge([instances.rles[i], others], intersect=True)
        shares[i] = float(coco.area(pixels[i])) / instances.areas[i]
    return shares, pixels


def _shares_in(instances: Instances, region: Instances) -> np.ndarray:
    """Of each object the share of its pixels that lie in any part of a region: float64 (N,)."""
    shares = np.zeros(len(instances))
    for i, columns in _by_row(overlaps(instances, region)):
        part = coco.merge([region.rles[j] for j in columns])
        shares[i] = float(coco.area(coco.merge([instances.rles[i], part], intersect=True))) / instances.areas[i]
    return shares


def _by_row(near: Overlaps) -> Iterator[tuple[int, np.ndarray]]:
    """Each object of the first side that overlaps any, and which it overlaps."""
    cuts = np.searchsorted(near.rows, np.arange(near.shape[0] + 1))
    for i in np.unique(near.rows).tolist():
        yield i, near.columns[cuts[i] : cuts[i + 1]]
