"""What became of each object: true positive, false positive or false negative, and how the errors came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import MatchedImage, match_image
from glioma_hf.metrics.overlaps import Overlaps
from glioma_hf.metrics.scoring_options import ScoringOptions

PART = 0.5  # of a piece's pixels that must lie in the whole


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class ImageOutcomes:
    """One image's scored objects, told apart into true positives, false positives and false negatives.

    Attributes:
        predictions, references: what of each side was scored; what lies in a crowd region isn't.
        matches: which of them meet, by position, and how the others failed.

        >>> cell = Instances.from_polygons([[[4, 4, 12, 4, 12, 12, 4, 12]]], (20, 20))
        >>> outcomes = image_outcomes(cell, Instances.empty((20, 20)))
        >>> len(outcomes.true_positives), len(outcomes.false_positives), len(outcomes.false_negatives)
        (0, 1, 0)
    """

    predictions: Instances
    references: Instances
    matches: ObjectMatches

    @classmethod
    def of(cls, matched: MatchedImage) -> ImageOutcomes:
        """The outcomes of a matched image at its first threshold; what a crowd region excuses is left out."""
        predictions, references, near = matched.predictions, matched.references, matched.overlaps
        rows, columns = matched.matches[0]
        if matched.ignored is not None:
            kept = ~matched.ignored[0].predictions, ~matched.ignored[0].references
            predictions, references, near = predictions.select(kept[0]), references.select(kept[1]), near.among(*kept)
            rows, columns = ((np.cumsum(k) - 1)[p] for k, p in zip(kept, (rows, columns), strict=True))
        return cls(predictions, references, _explain(predictions, references, near, rows, columns))

    @property
    def pairs(self) -> np.ndarray:
        """int (M, 2): positions of the matched (prediction, reference)."""
        return self.matches.pairs

    @property
    def true_positives(self) -> Instances:
        """The predictions that met a reference."""
        return self.predictions.select(self._matched(0))

    @property
    def false_positives(self) -> Instances:
        """The predictions that met none."""
        return self.predictions.select(~self._matched(0))

    @property
    def false_negatives(self) -> Instances:
        """The references that met no prediction."""
        return self.references.select(~self._matched(1))

    @property
    def kinds(self) -> list[str]:
        """For each prediction "tp" or "fp"."""
        return ["tp" if hit else "fp" for hit in self._matched(0)]

    def rows(self, **columns: Any) -> list[dict[str, Any]]:
        """One dict per outcome, with the objects' ids, for a table; `columns` come first in each."""
        predicted, reference = self.predictions.ids.tolist(), self.references.ids.tolist()
        matches = self.matches
        rows: list[tuple[str, int | None, int | None, float | None]] = [
            ("matched", predicted[i], reference[j], float(iou))
            for (i, j), iou in zip(matches.pairs, matches.iou, strict=True)
        ]
        rows += [("missed", None, reference[j], None) for j in matches.missed]
        rows += [("invented", predicted[i], None, None) for i in matches.invented]
        rows += [("split", predicted[i], reference[j], None) for j, pieces in matches.split.items() for i in pieces]
        rows += [("merged", predicted[i], reference[j], None) for i, pieces in matches.merged.items() for j in pieces]
        return [columns | dict(zip(("outcome", "prediction", "reference", "iou"), row, strict=True)) for row in rows]

    def _matched(self, side: int) -> np.ndarray:
        """Which objects of a side (0 predictions, 1 references) are matched: bool (N,)."""
        return np.isin(np.arange(len((self.predictions, self.references)[side])), self.pairs[:, side])


def image_outcomes(
    predictions: Instances, references: Instances, options: ScoringOptions | None = None
) -> ImageOutcomes:
    """The outcomes of one image at the first threshold of `options`; sides are prepared as for the scores.

    Raises `InputError` where the sides' sizes differ.
    """
    return ImageOutcomes.of(match_image(predictions, references, options or ScoringOptions()))


def _explain(
    predictions: Instances, references: Instances, near: Overlaps, rows: np.ndarray, columns: np.ndarray
) -> ObjectMatches:
    """How the objects that aren't matched failed; `rows` and `columns` are the matches' positions.

    Split and merged objects may be matched as well: a reference of which one prediction covers most and a second
    a corner is both.
    """
    areas = predictions.areas[near.rows], references.areas[near.columns]
    shared = near.iou / (1 + near.iou) * (areas[0] + areas[1])
    split = _several(near.turned, (shared >= PART * areas[0])[np.lexsort((near.rows, near.columns))])
    merged = _several(near, shared >= PART * areas[1])
    explained_predictions = {*rows.tolist(), *merged, *(i for many in split.values() for i in many)}
    explained_references = {*columns.tolist(), *split, *(j for many in merged.values() for j in many)}
    return ObjectMatches(
        np.column_stack([rows, columns]),
        near.at(rows, columns),
        split,
        merged,
        [j for j in range(len(references)) if j not in explained_references],
        [i for i in range(len(predictions)) if i not in explained_predictions],
    )


def _several(pairs: Overlaps, lies_in: np.ndarray) -> dict[int, list[int]]:
    """For each object of the first side in which two or more of the second lie, which these are."""
    within = pairs.where(lies_in)
    whole, first, many = np.unique(within.rows, return_index=True, return_counts=True)
    return {int(i): within.columns[a : a + n].tolist() for i, a, n in zip(whole, first, many, strict=True) if n >= 2}
