"""What `glioma-hf benchmark` does: all cells of a table, those that are done already left as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glioma_hf import __version__
from glioma_hf.benchmark.table import Table, read_table
from glioma_hf.executor import Workers
from glioma_hf.files import growing_folder, write_text
from glioma_hf.places import MARKER
from glioma_hf.progress import OnProgress, ignore
from glioma_hf.workflows.tables.pieces import MadeCell
from glioma_hf.workflows.tables.plan import merged
from glioma_hf.workflows.tables.stages import MODELS, PREDICTIONS, ROWS, TableRun
from glioma_hf.workflows.tables.written import write_table

KIND = "table"  # of folder


@dataclass(frozen=True)
class MadeTable:
    """A table as it was made.

    Attributes:
        table: with what was given in place of its own.
        cells: in the order of the table.
        done_before: how many rows were there already.
    """

    table: Table
    cells: list[MadeCell]
    done_before: int = 0

    @property
    def failed(self) -> list[MadeCell]:
        """Cells without scores; their rows say why."""
        return [cell for cell in self.cells if cell.row.failed is not None]


def benchmark(
    table: str | Path | Table,
    out: str | Path,
    data: Mapping[str, str] | None = None,
    predictions: Mapping[str, str] | None = None,
    annotators: Mapping[str, str] | None = None,
    workers: Workers | None = None,
    on_progress: OnProgress = ignore,
) -> MadeTable:
    """Make a table: train, choose thresholds, predict and score, and write rows and pages into the folder `out`.

    `out` holds `rows/` (a JSON file a cell, see `ResultRow`), `models/`, `predictions/` (COCO results), and the table
    as `table.md`, `table.tex`, `table.csv` and `index.html` with `panels/`. Run again it goes on: rows, models and
    predictions that are there and made from the same are kept; a cell that failed is tried again.

    Args:
        table: a name (see `table_names`), a YAML file, or a `Table`.
        data: folders of data sets by name, in place of the table's or added to them.
        predictions: files or folders of predictions of any tool by the name of their model, see `predictions_of`.
        annotators: files of annotations by annotator, whose majority vote then is the reference everywhere.
        workers: who does the pieces; this process without them.

    A cell that fails is told, its row says why, and the rest goes on. Raises `InputError` for a table that can't be
    read and a place that can't be written to.

    Example:
        benchmark("t98g", "t98g_table", data={"t98g": "t98g"})
    """
    asked = table if isinstance(table, Table) else read_table(table)
    asked = merged(asked, dict(data or {}), dict(predictions or {}), dict(annotators or {}))
    inputs = [*asked.data.values(), *(m.predictions for m in asked.models), *(m.model for m in asked.models)]
    inputs += [place for scored in asked.score for place in scored.annotators.values()]
    with growing_folder(out, KIND, [*inputs, None if isinstance(table, Table) else table]) as folder:
        write_text(folder / MARKER, json.dumps({"kind": KIND, "glioma_hf": __version__}) + "\n")
        for name in (MODELS, PREDICTIONS, ROWS):
            (folder / name).mkdir(exist_ok=True)
        with workers or Workers() as those:
            cells, kept = TableRun(asked, folder, those, on_progress).run()
        write_table(folder, asked, cells, on_progress)
    return MadeTable(asked, cells, kept)
