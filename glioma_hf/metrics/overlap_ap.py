"""The benchmark's score of overlapping instances (paper, section 4 and appendix A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.best_match import BestMatch, best_match
from glioma_hf.metrics.coco_map import coco_map
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.image_score import ImageScore, match_image
from glioma_hf.metrics.overlapped import Overlapped, overlapped, pooled
from glioma_hf.metrics.score_values import BestMatchScores
from glioma_hf.metrics.scores import OverlapScores, scored_thresholds
from glioma_hf.metrics.scoring_options import ScoringOptions

Pair = tuple[Instances, Instances]
EXTRAS = ("curve", "panoptic", "image_means", "interval", "best_match", "hausdorff", "coco", "overlapped")


def overlap_ap(
    pairs: Iterable[Pair],
    options: ScoringOptions | None = None,
    extras: Sequence[str] = (),
    seed: int = 0,
    keep_outcomes: bool = False,
    **settings: Any,
) -> OverlapScores:
    """Scores of (predictions, references) of each image of a split, counts pooled over the images.

    Crowd regions (see `Instances.crowd`) are no objects; what matches one, and nothing else, counts on neither side.

    Args:
        pairs: one (predictions, references) per image; they are read once, one at a time.
        options: what is scored and how; the paper's way without them.
        extras: further scores, any of `EXTRAS`:
            "curve": AP at 0.5, 0.55 ... 0.95 and their mean `ap50_95` (of the pooled AP, not COCO's mAP);
            "panoptic": `rq`, `sq`, `pq` at the first threshold;
            "image_means": the unweighted mean over images that hold anything;
            "interval": the 95 % interval of the pooled AP by bootstrap over images;
            "best_match": `mdice`, `miou`; "hausdorff": `mhd` (slower); see `best_match`;
            "coco": `coco_map`, COCO's mean AP over 0.5:0.95, where predictions carry scores;
            "overlapped": recall and best IoU of references by the share of them that other references cover, and
                the AP of contested objects alone, `ap_contested`.
        seed: of the bootstrap.
        keep_outcomes: keep each image's true positives, false positives and false negatives as `outcomes`.
        settings: fields of `ScoringOptions` by name, instead of those in `options`.

    Raises `InputError` for an unknown extra, mode or border rule, thresholds outside 0 ... 1 and images whose
    sides differ in size.

        >>> cell = Instances.from_polygons([[[4, 4, 12, 4, 12, 12, 4, 12]]], (20, 20))
        >>> scores = overlap_ap([(cell, cell)])
        >>> scores.ap50, scores.at(0.75).f1, scores.to_dict()["ap90"]
        (1.0, 1.0, 1.0)
        >>> overlap_ap([(cell, cell)], mode="flattened", extras=["panoptic"]).panoptic.pq
        1.0
    """
    options = replace(options or ScoringOptions(), **settings)
    check_extras(extras)
    images = [score_image(p, r, options, extras, keep_outcomes) for p, r in pairs]
    return pooled_scores(images, options, extras, seed, keep_outcomes)


def check_extras(extras: Sequence[str]) -> None:
    """Raise `InputError` for an unknown one."""
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise InputError(f"the extra score {unknown[0]!r} isn't known; there are {', '.join(EXTRAS)}")


@dataclass(frozen=True)
class ScoredImage:
    """One image's part of a split's scores: what `pooled_scores` needs of it."""

    score: ImageScore
    best: BestMatch
    covered: Overlapped | None
    ranked: tuple[Instances, Instances, Instances | None] | None
    outcomes: ImageOutcomes | None


def score_image(
    predictions: Instances,
    references: Instances,
    options: ScoringOptions,
    extras: Sequence[str] = (),
    keep_outcomes: bool = False,
) -> ScoredImage:
    """One image, for `pooled_scores`; arguments as those of `overlap_ap`."""
    scored = replace(options, thresholds=scored_thresholds(options, extras))
    matched = match_image(predictions, references, scored)
    best = BestMatch()
    if "best_match" in extras or "hausdorff" in extras:
        best = best_match(matched.predictions, matched.references, hausdorff="hausdorff" in extras)
    return ScoredImage(
        matched.score,
        best,
        overlapped(matched, references, scored) if "overlapped" in extras else None,
        (matched.predictions, matched.references, matched.crowds) if "coco" in extras else None,
        ImageOutcomes.of(matched) if keep_outcomes else None,
    )


def pooled_scores(
    images: Sequence[ScoredImage],
    options: ScoringOptions,
    extras: Sequence[str] = (),
    seed: int = 0,
    keep_outcomes: bool = False,
) -> OverlapScores:
    """The scores of a split from those of its images, in their order; arguments as those of `overlap_ap`."""
    best = sum((image.best for image in images), BestMatch())
    covered = pooled([image.covered for image in images if image.covered is not None])
    return OverlapScores(
        options,
        tuple(image.score for image in images),
        tuple(dict.fromkeys(extras)),
        seed,
        best_match=BestMatchScores(best.mdice, best.miou) if "best_match" in extras else None,
        mhd=best.mhd if "hausdorff" in extras else None,
        coco_map=coco_map([i.ranked for i in images if i.ranked is not None]) if "coco" in extras else None,
        overlapped=covered.groups if "overlapped" in extras else None,
        contested=covered.contested if "overlapped" in extras else None,
        outcomes=tuple(i.outcomes for i in images if i.outcomes is not None) if keep_outcomes else None,
    )


def by_category(
    pairs: Iterable[Pair],
    groups: Mapping[str, Sequence[int]],
    options: ScoringOptions | None = None,
    **arguments: Any,
) -> dict[str, OverlapScores]:
    """`overlap_ap` of each group of categories on its own, as the paper scores its tasks.

    Args:
        pairs: as for `overlap_ap`.
        groups: category indices by name, say {"cell_a": [1], "cells": [0, 1, 2]}.
        options: as for `overlap_ap`.
        arguments: the others of `overlap_ap`.

        >>> squares = [[[4, 4, 9, 4, 9, 9, 4, 9]], [[10, 10, 16, 10, 16, 16, 10, 16]]]
        >>> references = Instances.from_polygons(squares, (20, 20), categories=[1, 2])
        >>> predictions = references.select([0])
        >>> scores = by_category([(predictions, references)], {"type A": [1], "both": [1, 2]})
        >>> scores["type A"].ap50, scores["both"].ap50
        (1.0, 0.5)
    """
    everything = list(pairs)

    def of(side: Instances, categories: Sequence[int]) -> Instances:
        return side.select(np.isin(side.categories, list(categories)))

    return {
        name: overlap_ap(((of(p, categories), of(r, categories)) for p, r in everything), options, **arguments)
        for name, categories in groups.items()
    }
