"""Choosing the thresholds of mask generation on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.models.base import LabelledPixels
from glioma_hf.models.candidates import Ranked, merged, middle_of_best, rate
from glioma_hf.models.sam.generate import SamSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore

PRED_IOU_THRESHS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
NMS_IOUS = (0.05, 0.2, 0.35, 0.5)
NMS_COVERS = (0.5, 0.7, 0.9)
SCALES = ((1.0,), (0.7,), (0.7, 1.0))


def tune(
    segmenter: SamSegmenter,
    images: Sequence[LabelledPixels],
    on_progress: OnProgress = ignore,
    scales: Sequence[tuple[float, ...]] = SCALES,
) -> tuple[SamSegmenter, float]:
    """The segmenter with the settings of the highest AP at IoU 0.5, pooled over validation images, and that AP.

    Candidates are made once per image and scale at the lowest thresholds; only their selection is tried again.
    Among equals the middle one wins, so that a plateau isn't left at its edge.

    Args:
        scales: sets of scales to look at the images at.
    """
    lowest = segmenter.with_score_threshold(min(PRED_IOU_THRESHS))
    by_scale: dict[float, list[Instances]] = {scale: [] for scale in sorted({s for each in scales for s in each})}
    references = []
    for number, (image, instances) in enumerate(images, start=1):
        for scale, candidates in by_scale.items():
            candidates.append(lowest.with_settings(scales=(scale,)).candidates(image))
        references.append(scored_objects(instances))
        on_progress(Progress(f"validation image {number} of {len(images)}", number, len(images)))
    rated = []
    for chosen in scales:
        ranked = [Ranked(merged([by_scale[scale][number] for scale in chosen])) for number in range(len(images))]
        choices = [
            lowest.settings.model_copy(
                update={"scales": chosen, "pred_iou_thresh": score, "mask_nms_iou": iou, "mask_nms_cover": cover}
            )
            for score, iou, cover in product(PRED_IOU_THRESHS, NMS_IOUS, NMS_COVERS)
        ]
        rated += rate(ranked, references, choices)
    best, settings = middle_of_best(rated)
    return segmenter.with_settings(**settings.model_dump()), best
