"""Choosing how pixels become cells on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.models.base import LabelledPixels
from glioma_hf.models.candidates import middle_of_best, rate
from glioma_hf.models.unet.segment import UNetSegmenter, UNetSettings
from glioma_hf.progress import OnProgress, Progress, ignore

MASK_THRESHS = (0.4, 0.5, 0.6, 0.7, 0.8)
SPLITS = (("connected", 0.4), ("distance", 0.2), ("distance", 0.4), ("distance", 0.7))
SCORE_THRESHS = (0.0, 0.7, 0.8, 0.9)
AREAS = (1.0, 2.0, 4.0)  # of the segmenter's `min_area`


def tune(
    segmenter: UNetSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[UNetSegmenter, float]:
    """The segmenter with the settings of the highest AP at IoU 0.5, pooled over validation images, and that AP.

    Maps are made once per image, cells once per image, chance and way of splitting.
    """
    references = [scored_objects(instances) for _, instances in images]
    maps = []
    for number, (image, _) in enumerate(images, start=1):
        maps.append(segmenter.probability(image))
        on_progress(Progress(f"validation image {number} of {len(images)}", number, len(images)))
    rated: list[tuple[float, UNetSettings]] = []
    for chance, (split, distance) in product(MASK_THRESHS, SPLITS):
        at = segmenter.with_settings(mask_thresh=chance, split=split, split_distance=distance)
        area = at.settings.min_area
        choices = [
            at.settings.model_copy(update={"score_thresh": score, "min_area": round(area * factor)})
            for score, factor in product(SCORE_THRESHS, AREAS)
        ]
        rated += rate([at.found(each) for each in maps], references, choices)
    best, settings = middle_of_best(rated)
    return segmenter.with_settings(**settings.model_dump()), best
