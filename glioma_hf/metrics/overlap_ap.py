"""The benchmark's score of overlapping instances (paper, section 4 and appendix A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.best_match import BestMatch, best_match
from glioma_hf.metrics.coco_map import coco_map
from glioma_hf.metrics.image_score import ImageScore, ScoringOptions, score_image, scored_objects
from glioma_hf.metrics.matching import Counts

Scores = dict[str, Any]
Pair = tuple[Instances, Instances]
EXTRAS = ("curve", "panoptic", "image_means", "interval", "best_match", "hausdorff", "coco")
CURVE = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
RESAMPLES = 2000
_COUNTED = ("tp", "fp", "fn", "precision", "recall", "f1")


def overlap_ap(pairs: Iterable[Pair], extras: Sequence[str] = (), seed: int = 0, **options: Any) -> Scores:
    """Scores of (predictions, references) of each image of a split, counts pooled over the images.

    Args:
        pairs: one (predictions, references) per image; they are read once, one at a time.
        extras: further scores, any of `EXTRAS`:
            "curve": AP at 0.5, 0.55 ... 0.95 and their mean `ap50_95` (of the pooled AP, not COCO's mAP);
            "panoptic": `rq`, `sq`, `pq` at the first threshold;
            "image_means": `mean_ap50` ..., the unweighted mean over images that hold anything;
            "interval": `ap50_low`, `ap50_high` ..., the 95 % interval of the pooled AP by bootstrap over images;
            "best_match": `mdice`, `miou`; "hausdorff": `mhd` (slower); see `best_match`;
            "coco": `coco_map`, COCO's mean AP over 0.5:0.95, where predictions carry scores.
        seed: of the bootstrap.
        options: fields of `ScoringOptions`: thresholds, mode, border, border_rule, smallest_area.

    Returns: for each threshold t (in percent) `ap<t>`, and `tp`, `fp`, `fn`, `precision`, `recall`, `f1`
    at the first; those of further thresholds carry it too (`f1_75`). `images`, `predictions` and
    `references` say how much was scored. All ratios lie in 0 ... 1; 0 where nothing is there to count.

        >>> cell = Instances.from_polygons([[[4, 4, 12, 4, 12, 12, 4, 12]]], (20, 20))
        >>> overlap_ap([(cell, cell)])["ap50"]
        1.0
    """
    chosen = ScoringOptions(**options)
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise InputError(f"the extra score {unknown[0]!r} isn't known; there are {', '.join(EXTRAS)}")
    wanted = replace(chosen, thresholds=_joined(chosen.thresholds, CURVE if "curve" in extras else ()))
    images: list[ImageScore] = []
    best = BestMatch()
    rankable: list[Pair] = []
    for predictions, references in pairs:
        images.append(score_image(predictions, references, wanted))
        if {"best_match", "hausdorff", "coco"} & set(extras):
            kept = scored_objects(predictions, chosen), scored_objects(references, chosen)
            if "coco" in extras:
                rankable.append(kept)
            if {"best_match", "hausdorff"} & set(extras):
                best += best_match(kept[0], kept[1], hausdorff="hausdorff" in extras)
    scores = _pooled(images, chosen.thresholds)
    if "curve" in extras:
        curve = {_ap(t): _sum(images, wanted.thresholds.index(t)).ap for t in CURVE}
        scores |= curve | {"ap50_95": float(np.mean(list(curve.values())))}
    if "panoptic" in extras:
        scores |= _panoptic(images)
    if "image_means" in extras:
        scores |= _image_means(images, chosen.thresholds)
    if "interval" in extras:
        scores |= _interval(images, chosen.thresholds, seed)
    scores |= best.scores(extras)
    if "coco" in extras:
        scores["coco_map"] = coco_map(rankable)
    return scores


def by_category(pairs: Iterable[Pair], groups: Mapping[str, Sequence[int]], **arguments: Any) -> dict[str, Scores]:
    """`overlap_ap` of each group of categories on its own, as the paper scores its tasks.

    Args:
        pairs: as for `overlap_ap`.
        groups: category indices by name, say {"cell_a": [1], "cells": [0, 1, 2]}.
        arguments: of `overlap_ap`.
    """
    everything = list(pairs)

    def of(side: Instances, categories: Sequence[int]) -> Instances:
        return side.select(np.isin(side.categories, list(categories)))

    return {
        name: overlap_ap(((of(p, categories), of(r, categories)) for p, r in everything), **arguments)
        for name, categories in groups.items()
    }


def percent(threshold: float) -> str:
    """0.5 -> '50', 0.55 -> '55', 0.925 -> '92.5': the suffix of a score's name."""
    return f"{100 * threshold:.4g}"


def _ap(threshold: float) -> str:
    return f"ap{percent(threshold)}"


def _joined(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _sum(images: Sequence[ImageScore], position: int) -> Counts:
    return sum((image.counts[position] for image in images), Counts())


def _pooled(images: Sequence[ImageScore], thresholds: Sequence[float]) -> Scores:
    scores: Scores = {}
    for position, t in enumerate(thresholds):
        counts = _sum(images, position)
        suffix = "" if position == 0 else f"_{percent(t)}"
        scores[_ap(t)] = counts.ap
        scores |= {name + suffix: getattr(counts, name) for name in _COUNTED}
    return scores | {
        "images": len(images),
        "predictions": sum(image.predictions for image in images),
        "references": sum(image.references for image in images),
    }


def _panoptic(images: Sequence[ImageScore]) -> Scores:
    """Recognition (F1), segmentation (mean IoU of matches) and panoptic quality, at the first threshold."""
    counts = _sum(images, 0)
    quality = sum(image.iou_sums[0] for image in images) / counts.tp if counts.tp else 0.0
    return {"rq": counts.f1, "sq": quality, "pq": counts.f1 * quality}


def _image_means(images: Sequence[ImageScore], thresholds: Sequence[float]) -> Scores:
    scores: Scores = {}
    holding = [image for image in images if image.predictions or image.references]
    for position, t in enumerate(thresholds):
        suffix = "" if position == 0 else f"_{percent(t)}"
        counts = [image.counts[position] for image in holding]
        for name, key in (("ap", f"mean_{_ap(t)}"), *((n, f"mean_{n}{suffix}") for n in ("precision", "recall", "f1"))):
            scores[key] = float(np.mean([getattr(c, name) for c in counts])) if counts else 0.0
    return scores


def _interval(images: Sequence[ImageScore], thresholds: Sequence[float], seed: int) -> Scores:
    """Percentile bootstrap: images are drawn again with replacement, counts pooled each time."""
    scores: Scores = {}
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), RESAMPLES) if images else None
    for position, t in enumerate(thresholds):
        low = high = 0.0
        if drawn is not None:
            table = np.array([[c.tp, c.tp + c.fp + c.fn] for c in (image.counts[position] for image in images)])
            tp, all_ = (drawn @ table).T
            low, high = np.percentile(np.divide(tp, all_, out=np.zeros(RESAMPLES), where=all_ > 0), [2.5, 97.5])
        scores |= {f"{_ap(t)}_low": float(low), f"{_ap(t)}_high": float(high)}
    return scores
