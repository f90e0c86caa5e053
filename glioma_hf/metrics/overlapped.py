"""How well objects are found that others cover: recall and IoU by the covered share of each reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pycocotools import mask as coco

from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import MatchedImage, flattened, is_scored
from glioma_hf.metrics.overlaps import overlaps
from glioma_hf.metrics.scoring_options import ScoringOptions

SHARES = (0.0, 0.01, 0.1, 0.3, 1.0)  # limits of the groups; up to a hundredth is an outline's breadth, not an overlap


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


def overlapped(matched: MatchedImage, references: Instances, options: ScoringOptions) -> tuple[OverlappedScores, ...]:
    """One image's scores, a group each.

    Args:
        matched: of `match_image`.
        references: all that the image has, as `match_image` was given them: what isn't scored covers others too.
        options: by which it was matched.
    """
    everything = flattened(references.select(~references.crowd), options)
    shares = covered_shares(everything)[is_scored(everything, options)]
    counted = np.ones(len(shares), bool) if matched.ignored is None else ~matched.ignored[0].references
    found = np.zeros(len(shares), bool)
    found[matched.matches[0][1]] = True
    best = matched.overlaps.best_of_columns()
    groups = []
    for group in NONE:
        chosen = counted & (shares <= group.most) & ((shares > group.least) | (group.least == 0))
        sums = int(chosen.sum()), int(found[chosen].sum()), float(best[chosen].sum())
        groups.append(OverlappedScores(group.least, group.most, *sums))
    return tuple(groups)


def covered_shares(instances: Instances) -> np.ndarray:
    """Of each object the share of its pixels that others have too: float64 (N,).

    >>> squares = [[[0, 0, 4, 0, 4, 4, 0, 4]], [[3, 0, 7, 0, 7, 4, 3, 4]], [[9, 9, 12, 9, 12, 12, 9, 12]]]
    >>> covered_shares(Instances.from_polygons(squares, (20, 20))).tolist()
    [0.25, 0.25, 0.0]
    """
    shares = np.zeros(len(instances))
    near = overlaps(instances, instances)
    near = near.where(near.rows != near.columns)
    cuts = np.searchsorted(near.rows, np.arange(len(instances) + 1))
    for i in np.unique(near.rows):
        own = instances.rles[i]
        others = coco.merge([instances.rles[j] for j in near.columns[cuts[i] : cuts[i + 1]]])
        shares[i] = float(coco.area(coco.merge([own, others], intersect=True))) / instances.areas[i]
    return shares


def pooled(images: Sequence[tuple[OverlappedScores, ...]]) -> tuple[OverlappedScores, ...]:
    """The groups of all images together."""
    return tuple(
        OverlappedScores(
            group.least,
            group.most,
            sum(image[place].references for image in images),
            sum(image[place].found for image in images),
            sum(image[place].iou_sum for image in images),
        )
        for place, group in enumerate(NONE)
    )
