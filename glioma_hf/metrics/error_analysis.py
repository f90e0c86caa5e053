"""What became of each object: matched, missed, invented, split, merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glioma_hf.instances import Instances
from glioma_hf.metrics.matching import match

PART = 0.5  # of a piece's pixels that must lie in the whole


@dataclass(frozen=True)
class ObjectMatches:
    """One image's objects by position.

    Attributes:
        pairs: int (M, 2), matched (prediction, reference); `iou`: float (M,), theirs.
        split: reference -> the two or more predictions that lie in it, each by at least half.
        merged: prediction -> the two or more references that lie in it, each by at least half.
        missed: references that are neither matched nor split nor part of a merger.
        invented: predictions that are neither matched nor merging nor part of a split.
    """

    pairs: np.ndarray
    iou: np.ndarray
    split: dict[int, list[int]] = field(default_factory=dict)
    merged: dict[int, list[int]] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)
    invented: list[int] = field(default_factory=list)

    def rows(self, predictions: Instances, references: Instances, **extra: Any) -> list[dict[str, Any]]:
        """One dict per outcome, with ids, for a table; `extra` is put into each."""
        p, r = predictions.ids.tolist(), references.ids.tolist()
        rows = [
            {"outcome": "matched", "prediction": p[i], "reference": r[j], "iou": float(iou)}
            for (i, j), iou in zip(self.pairs, self.iou, strict=True)
        ]
        rows += [{"outcome": "missed", "prediction": None, "reference": r[j], "iou": None} for j in self.missed]
        rows += [{"outcome": "invented", "prediction": p[i], "reference": None, "iou": None} for i in self.invented]
        for outcome, pieces in (
            ("split", [(i, j) for j, many in self.split.items() for i in many]),
            ("merged", [(i, j) for i, many in self.merged.items() for j in many]),
        ):
            rows += [{"outcome": outcome, "prediction": p[i], "reference": r[j], "iou": None} for i, j in pieces]
        return [extra | row for row in rows]


def match_objects(predictions: Instances, references: Instances, threshold: float = 0.5) -> ObjectMatches:
    """Which prediction met which reference, and how the others failed.

    Give both sides as they are to be scored (`image_score.scored_objects`). Split and merged objects may be
    matched as well: a reference of which one prediction found most and a second a corner is both.
    """
    iou = predictions.iou(references)
    rows, columns = match(iou, threshold)
    shared = iou / (1 + iou) * (predictions.areas[:, None] + references.areas[None])
    in_reference = shared >= PART * np.maximum(predictions.areas, 1)[:, None]
    in_prediction = shared >= PART * np.maximum(references.areas, 1)[None]
    split = {int(j): np.flatnonzero(in_reference[:, j]).tolist() for j in np.flatnonzero(in_reference.sum(0) >= 2)}
    merged = {int(i): np.flatnonzero(in_prediction[i]).tolist() for i in np.flatnonzero(in_prediction.sum(1) >= 2)}
    explained_predictions = {*rows.tolist(), *merged, *(i for many in split.values() for i in many)}
    explained_references = {*columns.tolist(), *split, *(j for many in merged.values() for j in many)}
    return ObjectMatches(
        np.column_stack([rows, columns]),
        iou[rows, columns],
        split,
        merged,
        [j for j in range(len(references)) if j not in explained_references],
        [i for i in range(len(predictions)) if i not in explained_predictions],
    )
