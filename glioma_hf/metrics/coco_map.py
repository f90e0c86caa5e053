"""COCO's mean AP for predictions that carry scores: what pycocotools' COCOeval says, for crowded images too.

COCOeval looks at every prediction with every reference; here only those that overlap are. The tests compare both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.overlaps import Overlaps, overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Ranked:
    """One image's predictions by falling score, and what became of them at each of `THRESHOLDS`.

    Attributes:
        scores: float (N,).
        matched, ignored: bool (thresholds, N): which met a reference or a crowd region, and which of those a crowd
            region, so that they count neither way.
        references: how many there are, without crowd regions.
    """

    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    references: int


def rank(predictions: Instances, references: Instances, crowds: Instances | None) -> Ranked:
    """One image by COCO's greedy matching; `crowds` are the references' regions, see `Instances.crowd`."""
    scores = np.zeros(0) if predictions.scores is None else predictions.scores
    order = np.argsort(-scores, kind="stable")
    shape = len(THRESHOLDS), len(order)
    matched, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    choices = _choices(overlaps(predictions, references), predictions)
    held = np.zeros(len(predictions))
    if crowds is not None and len(crowds):
        held = overlaps(predictions, crowds, of_first=True).turned.best_of_columns()
    for position, threshold in enumerate(THRESHOLDS):
        least = min(threshold, 1 - 1e-10)
        taken: set[int] = set()
        for rank, prediction in enumerate(order.tolist()):
            best, reference = least, -1
            for candidate, iou in choices[prediction]:
                if iou >= best and candidate not in taken:  # of equals the last
                    best, reference = iou, candidate
            if reference >= 0:
                taken.add(reference)
                matched[position, rank] = True
            elif held[prediction] >= least:
                matched[position, rank] = ignored[position, rank] = True
    return Ranked(scores[order], matched, ignored, len(references))


def coco_map(images: Sequence[tuple[Instances, Instances, Instances | None]]) -> float:
    """Mean AP over IoU 0.5:0.05:0.95, all categories as one, all detections counted.

    Args:
        images: of each image predictions, references, and the references' crowd regions.

    Raises `InputError` where predictions have no scores. 0 where there is nothing to score.
    """
    for number, (predictions, _, _) in enumerate(images):
        if predictions.scores is None and len(predictions):
            raise InputError(f"image {number}: COCO's mAP needs predictions with scores")
    ranked = [rank(*image) for image in images]
    references = sum(image.references for image in ranked)
    if not references or not any(len(image.scores) for image in ranked):
        return 0.0
    order = np.argsort(-np.concatenate([image.scores for image in ranked]), kind="stable")
    matched = np.concatenate([image.matched for image in ranked], 1)[:, order]
    counted = ~np.concatenate([image.ignored for image in ranked], 1)[:, order]
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    for row, hits, misses in zip(precision, matched & counted, ~matched & counted, strict=True):
        tp, fp = np.cumsum(hits, dtype=float), np.cumsum(misses, dtype=float)
        precise = np.maximum.accumulate((tp / (fp + tp + np.spacing(1)))[::-1])[::-1]
        at = np.searchsorted(tp / references, RECALLS, "left")
        row[at < len(precise)] = precise[at[at < len(precise)]]
    return float(np.mean(precision))


def _choices(pairs: Overlaps, predictions: Instances) -> list[list[tuple[int, float]]]:
    """For each prediction the references that it may match, in their order, with IoU."""
    near = pairs.where(pairs.iou >= THRESHOLDS[0])
    cuts = np.searchsorted(near.rows, np.arange(len(predictions) + 1))
    columns, ious = near.columns.tolist(), near.iou.tolist()
    return [list(zip(columns[a:b], ious[a:b], strict=True)) for a, b in pairwise(cuts.tolist())]
