"""Choosing generation thresholds on validation images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import ScoringOptions, is_scored, scored_objects
from glioma_hf.metrics.matching import Counts, count
from glioma_hf.models.sam.generate import GenerationSettings, Ranked, SamSegmenter, merged

SCORES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
IOUS = (0.05, 0.2, 0.35, 0.5)
COVERS = (0.5, 0.7, 0.9)
SCALES = ((1.0,), (0.7,), (0.7, 1.0))


def tune(
    segmenter: SamSegmenter,
    images: Sequence[tuple[np.ndarray, Instances]],
    report: Callable[[int, int], None] = lambda done, total: None,
    scales: Sequence[tuple[float, ...]] = SCALES,
) -> tuple[GenerationSettings, float]:
    """The settings with the highest AP at IoU 0.5, pooled over validation images, and that AP.

    Candidates are made once per image and scale at the lowest thresholds; only their selection is tried again.
    Among equals the middle one wins, so that a plateau isn't left at its edge.

    Args:
        scales: sets of scales to look at the images at.
    """
    floor = segmenter.settings.model_copy(update={"score_threshold": min(SCORES)})
    seen: dict[float, list[Instances]] = {scale: [] for scale in sorted({s for each in scales for s in each})}
    references = []
    for number, (image, wanted) in enumerate(images, start=1):
        for scale, found in seen.items():
            lowest = SamSegmenter(segmenter.model, floor.model_copy(update={"scales": (scale,)}))
            found.append(lowest.candidates(image))
        references.append(scored_objects(wanted))
        report(number, len(images))
    tried: list[tuple[float, GenerationSettings]] = []
    for chosen in scales:
        candidates = [Ranked(merged([seen[scale][number] for scale in chosen])) for number in range(len(images))]
        scored = [is_scored(ranked.found, ScoringOptions()) for ranked in candidates]
        ious = [ranked.found.iou(wanted) for ranked, wanted in zip(candidates, references, strict=True)]
        for score, iou, cover in product(SCORES, IOUS, COVERS):
            settings = floor.model_copy(
                update={
                    "scales": chosen,
                    "score_threshold": score,
                    "largest_iou": iou,
                    "largest_cover": cover,
                }
            )
            counts = Counts()
            for ranked, inner, matrix in zip(candidates, scored, ious, strict=True):
                kept = ranked.kept(settings)
                counts += count(matrix[kept[inner[kept]]], 0.5)
            tried.append((counts.ap, settings))
    best = max(ap for ap, _ in tried)
    equal = [settings for ap, settings in tried if ap == best]
    return equal[len(equal) // 2], best
