"""A table's files: Markdown, LaTeX, CSV, and a page with bars and panels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from glioma_hf.benchmark.comparison import Group, compare
from glioma_hf.benchmark.paper import paper_source
from glioma_hf.benchmark.table import Table
from glioma_hf.benchmark.written import (
    COSTS,
    cell_text,
    costs_of,
    differences_told,
    name_of,
    overlap_table,
    score_names,
    to_csv,
    to_latex,
    to_markdown,
)
from glioma_hf.files import write_text
from glioma_hf.palette import hex_of
from glioma_hf.progress import OnProgress, Progress
from glioma_hf.workflows.tables.panels import PREDICTION, REFERENCE, Panel, draw_panels
from glioma_hf.workflows.tables.pieces import MadeCell


def write_table(folder: Path, table: Table, cells: Sequence[MadeCell], on_progress: OnProgress) -> None:
    """`table.md`, `table.tex`, `table.csv`, `index.html` and `panels/` from the cells of a table."""
    groups = compare([cell.row for cell in cells], table.paper)
    write_text(folder / "table.md", to_markdown(table.title, table.note, groups))
    write_text(folder / "table.tex", to_latex(groups))
    write_text(folder / "table.csv", to_csv(groups))
    panels: dict[tuple[str, str, str], list[list[Panel]]] = {}
    if table.panels:
        on_progress(Progress("drawing panels and writing the page"))
        panels = draw_panels(folder, cells, table.panels)
    environment = Environment(
        loader=PackageLoader("glioma_hf.workflows"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("table.html").render(
        table=table,
        groups=groups,
        panels=[panels.pop((group.data_set, group.split, group.task), []) for group in groups],  # once, not by mode
        score_names=score_names,
        cell_text=cell_text,
        costs=COSTS,
        costs_of=costs_of,
        name_of=name_of,
        differences_told=differences_told,
        overlap_table=overlap_table,
        bars=bars,
        source=paper_source(),
        reference=hex_of(REFERENCE),
        prediction=hex_of(PREDICTION),
    )
    write_text(folder / "index.html", page)


def bars(group: Group, width: int = 640, row: int = 26, left: int = 230) -> dict[str, Any]:
    """Of a group's bars of the first AP: lengths and places in pixels of a drawing."""
    name = score_names(group)[3]
    lines = [line for line in group.lines if line.values]
    span = width - left - 60
    drawn = []
    for number, line in enumerate(lines):
        low, high = line.intervals.get(name, (None, None))
        value = line.values.get(name, 0.0)
        drawn.append(
            {
                "label": name_of(line),
                "y": number * row,
                "length": round(span * value, 1),
                "whisker": None
                if low is None or high is None
                else (round(left + span * low, 1), round(left + span * high, 1)),
                "value": f"{value:.3f}",
                "paper": line.paper,
            }
        )
    return {"name": name, "width": width, "height": row * len(lines), "left": left, "row": row, "bars": drawn}
