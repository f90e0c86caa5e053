"""A leaderboard's scores as the Hub has them: `.eval_results` of a model's repository, `eval.yaml` of a data set's.

One task of the Hub is one number: there is one for each split, kind of objects, mode and score.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, parse_eval_result_entries

from glioma_hf.hub import is_repo
from glioma_hf.leaderboard.metrics import COLUMNS
from glioma_hf.leaderboard.tables import DataSet, Task
from glioma_hf.leaderboard.words import MODES

SCORES = tuple(c for c in COLUMNS if c.unit == "")  # what says how well, not how fast or how large


def task_id(task: Task, mode: str, score: str) -> str:
    """What the Hub calls a score of a task in a mode.

    >>> task_id(Task(split="spec/test", objects="cells"), "overlapping", "ap50")
    'spec_test_cells_overlapping_ap50'
    """
    return f"{task.split}_{task.objects}_{mode}_{score}".replace("/", "_")


def eval_results(scores: Iterable[tuple[Task, str, str, float]], date: datetime.date, url: str | None = None) -> str:
    """The YAML of `.eval_results/leaderboard.yaml` in a model's repository, checked by the Hub's own reader.

    Args:
        scores: task, mode, name and value; those of data sets that aren't on the Hub are left out.
        date: of the scoring.
        url: of the leaderboard's page of the model.
    """
    known = {column.name for column in SCORES}
    entries = [
        EvalResultEntry(
            dataset_id=str(task.data_set.place),
            task_id=task_id(task, mode, name),
            value=round(value, 6),
            date=date.isoformat(),
            source_url=url,
            source_name="Leaderboard of overlapping cells" if url else None,
        )
        for task, mode, name, value in scores
        if name in known and is_repo(task.data_set.place or "")
    ]
    facts = eval_result_entries_to_yaml(entries)
    assert len(parse_eval_result_entries(facts)) == len(entries)
    return yaml.safe_dump(facts, sort_keys=False)


def eval_yaml(data_set: DataSet, tasks: Iterable[Task]) -> str:
    """The YAML of `eval.yaml` in a data set's repository: its tasks, as `eval_results` calls them."""
    listed: list[dict[str, Any]] = [
        {
            "id": task_id(task, mode, score.name),
            "name": f"{task.name}, {mode}: {score.title}",
            "split": task.split,
            "description": score.description,
        }
        for task in tasks
        for mode in MODES
        for score in SCORES
    ]
    facts = {"name": data_set.title, "evaluation_framework": "glioma_hf", "tasks": listed}
    return yaml.safe_dump(facts, sort_keys=False)
