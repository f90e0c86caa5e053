"""A study's files: Markdown, LaTeX, CSV, curves, and a page with panels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, select_autoescape

from glioma_hf.benchmark.study_written import (
    LEGEND,
    SOURCE,
    difference_told,
    interval_text,
    to_csv,
    to_latex,
    to_markdown,
)
from glioma_hf.errors import InputError
from glioma_hf.files import write_text
from glioma_hf.palette import hex_of
from glioma_hf.progress import OnProgress, Progress
from glioma_hf.workflows.transfer.pictures import CURVES, PREDICTION, REFERENCE, Panel, draw_curves, draw_panels
from glioma_hf.workflows.transfer.pieces import pooled

if TYPE_CHECKING:
    from glioma_hf.workflows.transfer.plan import StudyPlan
    from glioma_hf.workflows.transfer.run import MadeStudy


def write_study(folder: Path, made: MadeStudy, plan: StudyPlan, on_progress: OnProgress) -> None:
    """`study.md`, `study.tex`, `study.csv`, `index.html`, `curves.png` and `panels/` of what there is of a study."""
    study, averages, differences = made.study, made.averages(), made.differences()
    write_text(folder / "study.md", to_markdown(study.title, study.note, study.paper, averages, differences))
    write_text(folder / "study.tex", to_latex(averages))
    write_text(folder / "study.csv", to_csv(averages))
    on_progress(Progress("drawing curves and panels"))
    curves = False
    try:
        curves = draw_curves(folder / CURVES, made.results)
    except InputError as error:  # matplotlib isn't installed: the tables stand without curves
        on_progress(Progress(str(error)))
    page = Environment(
        loader=PackageLoader("glioma_hf.workflows"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = page.get_template("study.html").render(
        study=study,
        averages=averages,
        differences=differences,
        with_paper=any(each.paper is not None for each in averages),
        legend=LEGEND,
        source=SOURCE,
        interval_text=interval_text,
        difference_told=difference_told,
        curves=CURVES if curves else None,
        panels=_panels(folder, plan) if study.panels else [],
        reference=hex_of(REFERENCE),
        prediction=hex_of(PREDICTION),
    )
    write_text(folder / "index.html", text)


def _panels(folder: Path, plan: StudyPlan) -> list[list[Panel]]:
    first = [piece for piece in plan.repeats if piece.repeat == 1]
    pool = pooled(plan.data, plan.splits)
    images = [pool[place] for place in first[0].split.test[: plan.study.panels]]
    return draw_panels(folder, images, {piece.variant: piece.key for piece in first})
