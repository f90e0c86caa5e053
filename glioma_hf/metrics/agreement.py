"""How far annotations of the same images agree (paper, section 5 and Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.matching import match
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.rle import BoxMask


def agreement(annotations: Mapping[str, Sequence[Instances]], **options: Any) -> dict[str, dict[str, dict[str, float]]]:
    """AP of every source against every other, pooled over the images: result[source][reference]["ap50"].

    Args:
        annotations: per source (annotator, model, consensus) its instances of each image, in one order.
        options: of `overlap_ap`.

    AP doesn't change when the sides are swapped, so the matrix is symmetric. Raises `InputError` where
    the sources hold different numbers of images.
    """
    counts = {name: len(images) for name, images in annotations.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"the sources hold different numbers of images: {counts}")
    table: dict[str, dict[str, dict[str, float]]] = {name: {} for name in annotations}
    names = list(annotations)
    for i, source in enumerate(names):
        for reference in names[i:]:
            pairs = zip(annotations[source], annotations[reference], strict=True)
            scores = overlap_ap(pairs, **options)
            table[source][reference] = {k: v for k, v in scores.items() if k.startswith("ap")}
            table[reference][source] = table[source][reference]
    return table


def consensus(annotations: Sequence[Instances], threshold: float = 0.5) -> Instances:
    """The majority vote of k annotators on one image, first over objects, then over pixels.

    Objects of different annotators that match each other (optimally, at `threshold`) form a group; of
    two objects of one annotator in a group the one that agrees less with the others is left out. A
    group stays if more than half of the annotators are in it; its mask is the pixels that more than
    half of them drew, its category the commonest one. The order of the annotators doesn't matter but
    for the order of the result and for exact ties.
    """
    if not annotations:
        raise InputError("a consensus needs at least one annotation")
    size = annotations[0].size
    starts = np.cumsum([0, *(len(a) for a in annotations)])
    weight = np.zeros((starts[-1], starts[-1]))
    for i, first in enumerate(annotations):
        for j in range(i + 1, len(annotations)):
            iou = first.iou(annotations[j])
            rows, columns = match(iou, threshold)
            weight[rows + starts[i], columns + starts[j]] = iou[rows, columns]
    weight += weight.T
    owner = np.repeat(np.arange(len(annotations)), np.diff(starts))
    masks = [mask for a in annotations for mask in a.box_masks()]
    categories = np.concatenate([a.categories for a in annotations])
    kept, named = [], []
    for members in _groups(weight, owner):
        if 2 * len(members) <= len(annotations):
            continue
        voted = _vote([masks[m] for m in members], len(annotations))
        if voted[0].any():
            kept.append(voted)
            named.append(int(np.bincount(categories[members]).argmax()))
    return Instances.from_box_masks(kept, size, categories=named)


def _groups(weight: np.ndarray, owner: np.ndarray) -> list[list[int]]:
    """Connected objects, at most one of each annotator."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(owner):
        return []
    count, label = connected_components(csr_matrix(weight > 0), directed=False)
    groups = []
    for number in range(count):
        members = np.flatnonzero(label == number)
        support = weight[np.ix_(members, members)].sum(1)
        best: dict[int, int] = {}
        for member in members[np.argsort(-support, kind="stable")].tolist():
            best.setdefault(int(owner[member]), member)
        groups.append(sorted(best.values()))
    return groups


def _vote(masks: Sequence[BoxMask], voters: int) -> BoxMask:
    """Pixels drawn by more than half of the voters."""
    top, left = (min(corner[axis] for _, corner in masks) for axis in (0, 1))
    bottom, right = (max(corner[axis] + mask.shape[axis] for mask, corner in masks) for axis in (0, 1))
    votes = np.zeros((bottom - top, right - left), np.int32)
    for mask, (y, x) in masks:
        votes[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]] += mask
    return 2 * votes > voters, (top, left)
