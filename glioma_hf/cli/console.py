"""How commands speak to people: progress and errors to stderr, tables to stdout."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from rich.console import Console

err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line of progress."""
    err.print(line, markup=False)


def print_scores(scores: dict[str, Any], title: str) -> None:
    """Two tables: what there is at each threshold, a column each, and the rest."""
    from rich.table import Table

    def shown(value: float | int) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    suffixes = [name.removeprefix("tp") for name in scores if name == "tp" or name.startswith("tp_")]
    first = next(name for name in scores if name.startswith("ap")).removeprefix("ap")
    percents = [suffix.removeprefix("_") or first for suffix in suffixes]
    rows = {name: [name + s for s in suffixes] for name in ("precision", "recall", "f1", "tp", "fp", "fn")}
    rows = {"ap": [f"ap{p}" for p in percents]} | rows
    table = Table("IoU", *(f"{float(p) / 100:g}" for p in percents), title=title)
    for name, keys in rows.items():
        table.add_row(name, *(shown(scores[key]) for key in keys))
    rest = Table("score", "value")
    told = {key for keys in rows.values() for key in keys}
    for name in scores:
        if name not in told:
            rest.add_row(name, shown(scores[name]))
    console = Console()
    console.print(table, rest)


def print_matrix(matrix: dict[str, dict[str, dict[str, float]]], score: str) -> None:
    """One score of every source against every other."""
    from rich.table import Table

    table = Table(score, *matrix)
    for name, row in matrix.items():
        table.add_row(name, *(f"{cell[score]:.4f}" for cell in row.values()))
    Console().print(table)


def quiet_libraries() -> None:
    """No chatter and no look-ups on the network from the libraries below."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import warnings

    with contextlib.suppress(ModuleNotFoundError):  # installed with the models alone
        from transformers.utils import logging

        logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")
