"""COCO's mean AP, by pycocotools, for predictions that carry scores."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

MOST_DETECTIONS = 100_000  # COCO's own limit, 100 an image, would cut off crowded images


def coco_map(pairs: Sequence[tuple[Instances, Instances]]) -> float:
    """Mean AP over IoU 0.5:0.05:0.95, all categories as one, all detections counted.

    Raises `InputError` where predictions have no scores. 0 where there is nothing to score.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images: list[dict[str, int]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (predictions, references) in enumerate(pairs, start=1):
        if predictions.scores is None and len(predictions):
            raise InputError(f"image {number - 1}: COCO's mAP needs predictions with scores")
        images.append({"id": number, "height": references.size[0], "width": references.size[1]})
        for row in references.to_coco(number):
            annotations.append(row | {"id": len(annotations) + 1, "category_id": 1})
        results += [row | {"category_id": 1} for row in predictions.to_coco(number)]
    if not annotations or not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "segm")
        judge.params.maxDets = [MOST_DETECTIONS]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"]
    return float(np.mean(precision[precision > -1])) if (precision > -1).any() else 0.0
