"""`OverlapScores`: what `overlap_ap` gives, numbers by name, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.image_score import ImageScore
from glioma_hf.metrics.intervals import Interval, ap_intervals
from glioma_hf.metrics.matching import Counts
from glioma_hf.metrics.overlapped import ContestedScores, OverlappedScores
from glioma_hf.metrics.score_plots import draw_curves
from glioma_hf.metrics.score_values import BestMatchScores, ImageMeans, Panoptic, ThresholdScores
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.plots import drawing

if TYPE_CHECKING:
    import pandas as pd

CURVE = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
ROWS = ("ap", "precision", "recall", "f1", "tp", "fp", "fn")  # as tables have them
_COUNTED = ("tp", "fp", "fn", "precision", "recall", "f1")  # as `to_dict` has them
_PER_IMAGE = ("curve", "panoptic", "image_means", "interval")  # extras that follow from the images' counts


@dataclass(frozen=True, repr=False)
class OverlapScores:
    """The scores of a split, counts pooled over its images. `overlap_ap` makes it.

    `ap50`, `ap75` and `ap90` are the AP at those IoUs; `tp`, `fp`, `fn`, `precision`, `recall` and `f1` are those
    of the first threshold; `at(0.75)` holds all of another. Ratios lie in 0 ... 1; 0 where there is nothing to count.

    Attributes:
        options: what was scored and how.
        per_image: one `ImageScore` an image, in their order, with counts at each of `thresholds`.
        extras: the further scores that were asked for; the attributes of all others are None.
        seed: of the intervals.
        best_match, mhd, coco_map: of the extras "best_match", "hausdorff" and "coco".
        overlapped, contested: of the extra "overlapped": groups of references, the least covered first; counts.
        outcomes: per image its true positives, false positives and false negatives, where they were to be kept.

        >>> images = (ImageScore((Counts(3, 1, 0), Counts(2, 2, 1)), (2.4, 1.8), 4, 3),)
        >>> scores = OverlapScores(ScoringOptions(thresholds=(0.5, 0.75)), images)
        >>> scores.ap50, scores.precision, scores.at(0.75).ap
        (0.75, 0.75, 0.4)
        >>> print(scores)
        IoU             0.5    0.75
        ap           0.7500  0.4000
        precision    0.7500  0.5000
        recall       1.0000  0.6667
        f1           0.8571  0.5714
        tp                3       2
        fp                1       2
        fn                0       1
        images            1
        predictions       4
        references        3
    """

    options: ScoringOptions
    per_image: tuple[ImageScore, ...]
    extras: tuple[str, ...] = ()
    seed: int = 0
    best_match: BestMatchScores | None = None
    mhd: float | None = None
    coco_map: float | None = None
    overlapped: tuple[OverlappedScores, ...] | None = None
    contested: ContestedScores | None = None
    outcomes: tuple[ImageOutcomes, ...] | None = field(default=None, compare=False)

    # -- at a threshold -------------------------------------------------------------------

    @property
    def thresholds(self) -> tuple[float, ...]:
        """All IoUs that were scored: those of the options, then the curve's."""
        return scored_thresholds(self.options, self.extras)

    def at(self, threshold: float) -> ThresholdScores:
        """The scores at one IoU. Raises `InputError` for a threshold that wasn't scored."""
        pooled = self._pooled.get(threshold)
        if pooled is None:
            raise InputError(
                f"IoU {threshold:g} wasn't scored, but {', '.join(f'{t:g}' for t in self.thresholds)}; "
                "give it among the thresholds"
            )
        return pooled

    def image(self, position: int) -> OverlapScores:
        """The scores of one image alone, without those that don't follow from its counts."""
        return replace(
            self,
            per_image=(self.per_image[position],),
            extras=tuple(extra for extra in self.extras if extra in _PER_IMAGE),
            best_match=None,
            mhd=None,
            coco_map=None,
            overlapped=None,
            contested=None,
            outcomes=None if self.outcomes is None else (self.outcomes[position],),
        )

    def intervals(self, seed: int = 0) -> dict[float, Interval]:
        """95 % interval of the AP at each threshold, by bootstrap over images; (0, 0) where there are none."""
        counts = [image.counts for image in self.per_image]
        intervals = ap_intervals(counts, seed) or [(0.0, 0.0)] * len(self.thresholds)
        return dict(zip(self.thresholds, intervals, strict=True))

    @cached_property
    def _pooled(self) -> dict[float, ThresholdScores]:
        intervals = self.intervals(self.seed) if "interval" in self.extras else {}
        pooled = {}
        for position, threshold in enumerate(self.thresholds):
            counts = sum((image.counts[position] for image in self.per_image), Counts())
            interval = intervals.get(threshold)
            pooled[threshold] = ThresholdScores(counts.tp, counts.fp, counts.fn, threshold=threshold, interval=interval)
        return pooled

    # -- numbers by name ------------------------------------------------------------------

    @property
    def first(self) -> ThresholdScores:
        """The scores at the first threshold."""
        return self.at(self.options.thresholds[0])

    @property
    def ap50(self) -> float:
        """AP at IoU 0.5. Raises `InputError` where it wasn't scored, as do `ap75` and `ap90`."""
        return self.at(0.5).ap

    @property
    def ap75(self) -> float:
        """AP at IoU 0.75."""
        return self.at(0.75).ap

    @property
    def ap90(self) -> float:
        """AP at IoU 0.9."""
        return self.at(0.9).ap

    @property
    def tp(self) -> int:
        """True positives at the first threshold."""
        return self.first.tp

    @property
    def fp(self) -> int:
        """False positives at the first threshold."""
        return self.first.fp

    @property
    def fn(self) -> int:
        """False negatives at the first threshold."""
        return self.first.fn

    @property
    def precision(self) -> float:
        """TP / (TP + FP) at the first threshold."""
        return self.first.precision

    @property
    def recall(self) -> float:
        """TP / (TP + FN) at the first threshold."""
        return self.first.recall

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) at the first threshold."""
        return self.first.f1

    @property
    def images(self) -> int:
        """How many images were scored."""
        return len(self.per_image)

    @property
    def predictions(self) -> int:
        """How many predictions were scored."""
        return sum(image.predictions for image in self.per_image)

    @property
    def references(self) -> int:
        """How many references were scored."""
        return sum(image.references for image in self.per_image)

    # -- extras ---------------------------------------------------------------------------

    @property
    def curve(self) -> dict[float, float] | None:
        """AP at IoU 0.5, 0.55 ... 0.95."""
        return {t: self.at(t).ap for t in CURVE} if "curve" in self.extras else None

    @property
    def ap50_95(self) -> float | None:
        """Mean of the curve: of the pooled AP, not COCO's mAP."""
        return None if self.curve is None else float(np.mean(list(self.curve.values())))

    @property
    def panoptic(self) -> Panoptic | None:
        """Recognition, segmentation and panoptic quality."""
        if "panoptic" not in self.extras:
            return None
        quality = sum(image.iou_sums[0] for image in self.per_image) / self.tp if self.tp else 0.0
        return Panoptic(self.f1, quality, self.f1 * quality)

    @property
    def image_means(self) -> dict[float, ImageMeans] | None:
        """Means over images by threshold."""
        if "image_means" not in self.extras:
            return None
        holding = [image for image in self.per_image if image.predictions or image.references]
        means = {}
        for position, threshold in enumerate(self.options.thresholds):
            counts = [image.counts[position] for image in holding]
            rows = [(c.ap, c.precision, c.recall, c.f1) for c in counts] or [(0.0, 0.0, 0.0, 0.0)]
            means[threshold] = ImageMeans(*(float(np.mean(column)) for column in zip(*rows, strict=True)))
        return means

    # -- as other things ------------------------------------------------------------------

    def to_dict(self) -> dict[str, float]:
        """Numbers by name, as `scores.json` and the `evaluate` module have them.

        For each threshold t (in percent) `ap<t>`, and `tp`, `fp`, `fn`, `precision`, `recall`, `f1` at the first;
        those of further thresholds carry it too (`f1_75`). Then `images`, `predictions`, `references` and the extras.
        """
        values: dict[str, float] = {}
        for threshold in self.options.thresholds:
            scores = self.at(threshold)
            values[_ap(threshold)] = scores.ap
            values |= {name + self._suffix(threshold): getattr(scores, name) for name in _COUNTED}
        values |= {"images": self.images, "predictions": self.predictions, "references": self.references}
        return values | self.extra_values()

    def ap_values(self) -> dict[str, float]:
        """The APs by name, one per threshold: `ap50` ..."""
        return {_ap(t): self.at(t).ap for t in self.options.thresholds}

    def extra_values(self) -> dict[str, float]:
        """The extras by name: `ap55` ..., `ap50_95`, `pq`, `mean_f1_75`, `ap50_low`, `mdice`, `coco_map` ..."""
        values: dict[str, float] = {}
        if self.curve is not None and self.ap50_95 is not None:
            values |= {_ap(t): ap for t, ap in self.curve.items() if t not in self.options.thresholds}
            values["ap50_95"] = self.ap50_95
        if self.panoptic is not None:
            values |= vars(self.panoptic)
        for threshold, means in (self.image_means or {}).items():
            values[f"mean_{_ap(threshold)}"] = means.ap
            for name in ("precision", "recall", "f1"):
                values[f"mean_{name}{self._suffix(threshold)}"] = getattr(means, name)
        for threshold in self.options.thresholds:
            interval = self.at(threshold).interval
            if interval is not None:
                values |= {f"{_ap(threshold)}_low": interval[0], f"{_ap(threshold)}_high": interval[1]}
        if self.best_match is not None:
            values |= vars(self.best_match)
        values |= {} if self.mhd is None else {"mhd": self.mhd}
        values |= {} if self.coco_map is None else {"coco_map": self.coco_map}
        for part in (*(self.overlapped or ()), *((self.contested,) if self.contested else ())):
            values |= part.values()
        return values

    def to_frame(self) -> pd.DataFrame:
        """A row per threshold (the index, "iou"): ap, precision, recall, f1, tp, fp, fn; with intervals low, high."""
        import pandas as pd

        rows = [self.at(threshold) for threshold in sorted(self.thresholds)]
        table = {name: [getattr(row, name) for row in rows] for name in ROWS}
        if "interval" in self.extras:
            table |= {
                name: [(row.interval or (0.0, 0.0))[end] for row in rows] for end, name in enumerate(("low", "high"))
            }
        return pd.DataFrame(table, index=pd.Index([row.threshold for row in rows], name="iou"))

    def plot(self, path: str | Path | None = None, axes: Any = None, label: str = "", title: str = "") -> Any:
        """AP against the IoU threshold: the curve, or without that extra the thresholds that were scored.

        Args:
            path: where the picture is saved; nowhere without it.
            axes: of matplotlib, to draw into; a new figure's without them.
            label: of this line, where several share the axes.

        Returns the axes. Raises `InputError` where matplotlib isn't installed.
        """
        points = self.curve or {t: self.at(t).ap for t in sorted(self.thresholds)}
        with drawing(path, axes, (5.5, 4)) as axes:
            draw_curves(axes, {label or "AP": points}, title)
        return axes

    def __str__(self) -> str:
        thresholds = self.options.thresholds
        table = [["IoU", *(f"{t:g}" for t in thresholds)]]
        table += [[name, *(shown(getattr(self.at(t), name)) for t in thresholds)] for name in ROWS]
        totals = {"images": self.images, "predictions": self.predictions, "references": self.references}
        table += [[name, shown(value)] for name, value in (totals | self.extra_values()).items()]
        first = max(len(row[0]) for row in table)
        others = max(len(cell) for row in table for cell in row[1:])
        return "\n".join("  ".join([row[0].ljust(first), *(c.rjust(others) for c in row[1:])]) for row in table)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={ap:.4f}" for name, ap in self.ap_values().items())
        return f"OverlapScores({values}, images={self.images})"

    def _suffix(self, threshold: float) -> str:
        return "" if threshold == self.options.thresholds[0] else f"_{_percent(threshold)}"


def scored_thresholds(options: ScoringOptions, extras: Sequence[str]) -> tuple[float, ...]:
    """The thresholds of the options and, where the curve is among the extras, its own; each once."""
    return tuple(dict.fromkeys((*options.thresholds, *(CURVE if "curve" in extras else ()))))


def shown(value: float) -> str:
    """A number as tables show it: ratios with four digits, counts whole."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _percent(threshold: float) -> str:
    """0.5 -> '50', 0.55 -> '55', 0.925 -> '92.5': the suffix of a score's name."""
    return f"{100 * threshold:.4g}"


def _ap(threshold: float) -> str:
    return f"ap{_percent(threshold)}"
