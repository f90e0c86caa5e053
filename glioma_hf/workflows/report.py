"""The one-page report of a quickstart run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

MEASURES = ("ap50", "ap75", "ap90", "precision", "recall", "f1")
COUNTS = ("tp", "fp", "fn", "images", "objects", "predicted_objects")


def write_report(path: Path, scores: dict[str, Any], recipe: dict[str, Any], images: list[str]) -> None:
    """Write `report.html` beside `overlays/`, from what `scores.json` holds and the recipe."""
    environment = Environment(loader=PackageLoader("glioma_hf.workflows"), autoescape=select_autoescape())
    page = environment.get_template("report.html").render(
        scores=scores,
        recipe=recipe,
        tuned=list(scores["models"])[-1],
        measures=MEASURES,
        counts=COUNTS,
        images=[(name, Path(name).stem) for name in images],
    )
    path.write_text(page, encoding="utf-8")
