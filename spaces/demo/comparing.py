"""Several models on one image, side by side."""

from __future__ import annotations

import html
import time
from collections.abc import Generator, Iterator
from typing import Any

import batch as batches
import gradio as gr
import modelling
from going import Going
from offices import modellers, run
from telling import bad, sentence
from turns import TURNS
from work import Model, choices

from glioma_hf import InputError

TAUGHT = "what I taught"
RUNS = Going()


def compare(ui: Any, batch: str | None, names: list[str], taught: dict | None) -> Iterator[dict]:
    """Show what each chosen model finds in the image that is shown, at the model's own threshold."""
    if not batch:
        raise InputError("Choose a sample or drop in an image first.")
    known = choices()
    models = [Model(known[name], None, name) for name in names if name in known]
    if TAUGHT in names and taught:
        models.append(Model(taught["base"], taught["adapter"], f"{taught['words']}, taught on {taught['name']}"))
    if not models:
        raise InputError("Choose at least one model to compare.")
    yield from RUNS.follow(batch, _compare(ui, batch, models), lambda: cancelled(ui))


def _compare(ui: Any, batch: str, models: list[Model]) -> Generator[dict, None, None]:
    entry = batches.looked_at(batch)
    yield {ui.compare_cancel: gr.update(interactive=True), ui.compared: ""}
    figures, errors = "", []
    size = entry.facts.width * entry.facts.height / 1e6
    for model in models:
        found, started = None, time.perf_counter()
        try:
            with TURNS.ticket("segment", size) as ticket:
                for told in ticket.waiting():
                    yield {ui.status: told}
                started = time.perf_counter()
                job = run(modellers, modelling.compare, str(entry.folder), model.base, model.adapter)
                for kind, what in ticket.follow(job):
                    found = what if kind == "done" else None
                    word = f"{model.words}: {what.share:.0%}" if kind == "told" else f"{model.words} …"
                    yield {ui.status: html.escape(word)}
        except InputError as error:
            errors.append(f"{model.words}: {sentence(error)}")
            continue
        if found is not None:
            figures += figure(model.words, *found, time.perf_counter() - started)
            yield {ui.compared: f'<div class="beside">{figures}</div>'}
    yield {
        ui.status: f"Compared on {html.escape(entry.facts.name)}." + bad(errors),
        ui.compare_cancel: gr.update(interactive=False),
    }


def figure(name: str, picture: str, number: int, threshold: float, seconds: float) -> str:
    """A picture with its words."""
    words = html.escape(f"{name}: {number} cells, score from {threshold:.2f}, {seconds:.1f} s")
    return f'<figure><img src="{picture}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def stop(ui: Any, batch: str | None) -> dict:
    """Cancel; see `finding.stop`."""
    return {ui.status: gr.skip()} if RUNS.stop(batch) else cancelled(ui)


def cancelled(ui: Any) -> dict:
    """What is said after Cancel."""
    return {ui.status: "Cancelled.", ui.compare_cancel: gr.update(interactive=False)}
