"""The pieces that `OverlapScores` is made of, each a few numbers with names."""

from __future__ import annotations

from dataclasses import dataclass, field

from glioma_hf.metrics.intervals import Interval
from glioma_hf.metrics.matching import Counts


@dataclass(frozen=True)
class ThresholdScores(Counts):
    """The scores at one IoU threshold: `ap`, `f1`, `precision`, `recall`, `tp`, `fp`, `fn`.

    Attributes:
        threshold: the IoU.
        interval: 95 % interval of `ap`; None unless the extra "interval" was given.
    """

    threshold: float = field(default=0.0, kw_only=True)
    interval: Interval | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Panoptic:
    """Recognition (F1), segmentation (mean IoU of the matches) and panoptic quality, at the first threshold."""

    rq: float
    sq: float
    pq: float


@dataclass(frozen=True)
class ImageMeans:
    """Unweighted means over the images that hold any object, at one threshold."""

    ap: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class BestMatchScores:
    """Mean over references of the best Dice and of the best IoU with any prediction."""

    mdice: float
    miou: float
