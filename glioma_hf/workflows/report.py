"""The one-page report of a quickstart run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

if TYPE_CHECKING:
    from glioma_hf.workflows.quickstart import ModelRun

MEASURES = ("ap50", "ap75", "ap90", "precision", "recall", "f1")
COUNTS = ("tp", "fp", "fn", "images", "objects", "predicted_objects")


def write_report(path: Path, scores: dict[str, Any], runs: Sequence[ModelRun], images: list[str]) -> None:
    """Write `report.html` beside `overlays/`, from what `scores.json` holds and the runs, each family's in a row."""
    environment = Environment(loader=PackageLoader("glioma_hf.workflows"), autoescape=select_autoescape())
    page = environment.get_template("report.html").render(
        scores=scores,
        runs=runs,
        trained=[run for run in runs if run.recipe is not None],
        measures=MEASURES,
        counts=COUNTS,
        images=[(name, Path(name).stem) for name in images],
    )
    path.write_text(page, encoding="utf-8")
