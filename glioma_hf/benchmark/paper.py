"""The paper's own figures, beside which a table puts ours.

>>> row = paper_rows("table2", "spec/test", "cells")[-1]
>>> row.model, row.values["ap50"]
('Cellpose, fine-tuned', 0.7178)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "paper.json"


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper: the model in its words, and its scores, 0 ... 1, by our names."""

    model: str
    values: dict[str, float]


def paper_rows(table: str, split: str, task: str) -> list[PaperRow]:
    """The rows of "table2" or "table4" for a split such as "spec/test" and a task; none where the paper has none."""
    figures = _figures()
    rows = figures[table].get(split, {}).get(task, {})
    names = figures["columns"]
    return [
        PaperRow(model, {name: round(value / 100, 6) for name, value in zip(names, values, strict=True)})
        for model, values in rows.items()
    ]


def paper_source() -> str:
    """Where the figures are from."""
    return str(_figures()["source"])


@cache
def _figures() -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return figures
