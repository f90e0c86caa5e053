"""Choosing the thresholds of cells made of flows on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.models.base import LabelledPixels
from glioma_hf.models.candidates import middle_of_best, rate
from glioma_hf.models.flows.segment import FlowSegmenter, FlowSettings
from glioma_hf.progress import OnProgress, Progress, ignore

CELL_THRESHS = (0.3, 0.4, 0.5, 0.6, 0.7)
FLOW_THRESHS = (0.2, 0.3, 0.4, 0.6, 0.8, 0.0)
SCORE_THRESHS = (0.0, 0.6, 0.7, 0.8)
AREAS = (1.0, 2.0, 4.0)  # of the segmenter's `min_area`


def tune(
    segmenter: FlowSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[FlowSegmenter, float]:
    """The segmenter with the settings of the highest AP at IoU 0.5, pooled over validation images, and that AP.

    Where it tells classes apart, a cell of the wrong one is none.

    Maps are made once per image, cells once per image and chance; only their selection is tried again.
    """
    references = [scored_objects(instances) for _, instances in images]
    maps = []
    for number, (image, _) in enumerate(images, start=1):
        maps.append(segmenter.maps(image))
        on_progress(Progress(f"validation image {number} of {len(images)}", number, len(images)))
    typed = segmenter.networks[0].config.maps > 1
    rated: list[tuple[float, FlowSettings]] = []
    for chance in CELL_THRESHS:
        at = segmenter.with_settings(cell_thresh=chance)
        choices = [
            at.settings.model_copy(
                update={"flow_thresh": error, "score_thresh": score, "min_area": round(at.settings.min_area * area)}
            )
            for error, score, area in product(FLOW_THRESHS, SCORE_THRESHS, AREAS)
        ]
        rated += rate([at.found(each) for each in maps], references, choices, typed=typed)
    best, settings = middle_of_best(rated)
    return segmenter.with_settings(**settings.model_dump()), best
