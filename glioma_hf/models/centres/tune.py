"""Choosing the thresholds of centres' masks on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.models.base import LabelledPixels
from glioma_hf.models.candidates import Ranked, middle_of_best, rate
from glioma_hf.models.centres.segment import CentreSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore

SCORE_THRESHS = tuple(step / 40 for step in range(2, 23))
NMS_IOUS = (0.3, 0.5)
NMS_COVERS = (0.6, 0.8)
AREAS = (1, 2, 3)  # of `LEAST_AREA`: debris is small
LEAST_AREA = 80  # pixels


def tune(
    segmenter: CentreSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[CentreSegmenter, float]:
    """The segmenter with the settings of the highest AP at IoU 0.5, pooled over validation images, and that AP.

    Where it tells classes apart, a cell of the wrong one is none.

    Candidates are made once per image at the lowest score; only their selection is tried again.
    """
    # As large as they are to a model for cells of another diameter.
    areas = [round(times * LEAST_AREA / segmenter.settings.scale**2) for times in AREAS]
    lowest = segmenter.with_settings(score_thresh=min(SCORE_THRESHS), min_area=min(areas))
    ranked, references = [], []
    for number, (image, instances) in enumerate(images, start=1):
        ranked.append(Ranked(lowest.candidates(image)))
        references.append(scored_objects(instances))
        on_progress(Progress(f"validation image {number} of {len(images)}", number, len(images)))
    choices = [
        lowest.settings.model_copy(
            update={"score_thresh": score, "mask_nms_iou": iou, "mask_nms_cover": cover, "min_area": area}
        )
        for iou, cover, area, score in product(NMS_IOUS, NMS_COVERS, areas, SCORE_THRESHS)
    ]
    best, settings = middle_of_best(rate(ranked, references, choices, typed=len(segmenter.network.config.classes) > 1))
    return segmenter.with_settings(**settings.model_dump()), best
