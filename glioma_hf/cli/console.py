"""How commands speak to people: progress and errors to stderr, tables to stdout."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

    from glioma_hf.metrics.agreement import Agreement
    from glioma_hf.metrics.scores import OverlapScores

JOBS_HELP = "Processes of this machine that share the work."
SCHEDULER_HELP = "Address of a Dask scheduler whose workers share the work, such as tcp://10.0.0.5:8786."

# What files are called and hold is never read as rich's own markup.
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def plain(text: str) -> str:
    """A text for a terminal: control characters, and what no encoding has, are shown escaped; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def say(line: str) -> None:
    """One line of progress."""
    err.print(plain(line))


def tell(line: str) -> None:
    """One line of what came out."""
    typer.echo(plain(line))


def print_scores(scores: OverlapScores, title: str) -> None:
    """Two tables: what there is at each threshold, a column each, and the rest."""
    from rich.table import Table

    from glioma_hf.metrics.scores import ROWS, shown

    columns = [scores.at(threshold) for threshold in scores.options.thresholds]
    table = Table("IoU", *(f"{column.threshold:g}" for column in columns), title=plain(title))
    for name in ROWS:
        table.add_row(name, *(shown(getattr(column, name)) for column in columns))
    rest = Table("score", "value")
    totals = {"images": scores.images, "predictions": scores.predictions, "references": scores.references}
    for name, value in (totals | scores.extra_values()).items():
        rest.add_row(name, shown(value))
    _print(table, rest)


def print_agreement(agreement: Agreement, threshold: float = 0.5) -> None:
    """The AP of every source against every other, at one IoU."""
    from rich.table import Table

    table = Table(f"ap{100 * threshold:.4g}", *map(plain, agreement.sources))
    for name, row in zip(agreement.sources, agreement.values(threshold), strict=True):
        table.add_row(plain(name), *(f"{ap:.4f}" for ap in row))
    _print(table)


def _print(*tables: Table) -> None:
    Console(markup=False, emoji=False).print(*tables)


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
