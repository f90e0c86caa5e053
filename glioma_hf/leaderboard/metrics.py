"""The scores that a leaderboard shows, and what they are in a row of results."""

from __future__ import annotations

from dataclasses import dataclass

from glioma_hf.benchmark.results import ResultRow

EXTRAS = ("curve", "panoptic", "best_match", "hausdorff", "overlapped")  # of every scoring here


@dataclass(frozen=True)
class Column:
    """A score: its name in rows of results, and how people read it. `unit` is "" for ratios of 0 ... 1."""

    name: str
    title: str
    description: str
    higher_is_better: bool = True
    unit: str = ""


COLUMNS = (
    Column("ap50", "AP50", "TP / (TP + FP + FN) at IoU 0.5, counts pooled over the images"),
    Column("ap75", "AP75", "the same at IoU 0.75"),
    Column("ap90", "AP90", "the same at IoU 0.9"),
    Column("ap50_95", "AP50:95", "mean of the pooled AP at IoU 0.5, 0.55 ... 0.95"),
    Column("f1", "F1", "2 TP / (2 TP + FP + FN) at IoU 0.5"),
    Column("precision", "Precision", "TP / (TP + FP) at IoU 0.5"),
    Column("recall", "Recall", "TP / (TP + FN) at IoU 0.5"),
    Column("pq", "PQ", "panoptic quality: F1 times the mean IoU of the matches"),
    Column("mdice", "mDice", "mean over references of the best Dice with any prediction"),
    Column("miou", "mIoU", "mean over references of the best IoU with any prediction"),
    Column("mhd", "mHD", "mean over references of the least Hausdorff distance to any prediction", False, "px"),
    Column("recall_contested", "Overlap recall", "recall of references that share over 1 % of their pixels"),
    Column("ap_contested", "Overlap AP", "AP at IoU 0.5 of objects that overlap alone"),
    Column("seconds_per_image", "Seconds", "of prediction, an image", False, "s"),
    Column("parameters", "Parameters", "numbers that the model holds", False, "n"),
)
BY_NAME = {column.name: column for column in COLUMNS}


def scores_of(row: ResultRow) -> dict[str, float]:
    """The scores of a row that a leaderboard shows, by name; those that it doesn't have are missing.

    >>> from glioma_hf.metrics.scoring_options import ScoringOptions
    >>> row = ResultRow.of_failure("no images", ScoringOptions(), data_set="cells", task="cells", parameters=7)
    >>> scores_of(row)
    {'parameters': 7.0}
    """
    values: dict[str, float | None] = dict(row.scores)
    if references := row.scores.get("references_contested"):
        values["recall_contested"] = row.scores["tp_contested"] / references
    else:
        values.pop("ap_contested", None)  # of nothing
    values |= {"seconds_per_image": row.seconds_per_image, "parameters": row.parameters}
    return {c.name: float(value) for c in COLUMNS if (value := values.get(c.name)) is not None}
