"""Corrections by hand: what a visitor does in the viewer, kept and in every download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import batch as batches
import cells
import corrections
import gradio as gr
import modelling
from batch import Entry
from finding import downloads, nothing_to_take, strip_of, viewed
from offices import modellers, read, run
from outlines import checked
from turns import TURNS
from work import Model, choose_model

from glioma_hf import InputError

ACTIONS = ("op", "ids", "id", "outline", "x", "y")
WORDS = {
    "delete": "Deleted.",
    "draw": "Drawn.",
    "redraw": "Redrawn.",
    "split": "Split.",
    "merge": "Made one.",
    "add": "Added.",
    "undo": "Taken back.",
}


def correct(
    ui: Any,
    batch: str | None,
    model_name: str,
    hub_name: str,
    adapter_file: str | None,
    adapter_name: str,
    taught: dict | None,
    use: bool,
    event: gr.EventData,
) -> Iterator[dict]:
    """Do one correction that the viewer asks for; the model is asked where a cell is added by a click on it."""
    entry = batches.entry(batch or "", getattr(event, "key", None))
    if not entry.facts.found:
        raise InputError("Find the cells first; then they can be corrected.")
    action = {name: getattr(event, name, None) for name in ACTIONS}
    number = read(corrections.correct, str(entry.folder), action, entry.facts.threshold)
    if number is None:
        yield {ui.status: "Asking the model what lies there …"}
        model: Model | None = None
        chosen = choose_model(model_name, hub_name, adapter_file, adapter_name, taught, use, batch or "")
        for kind, what in chosen:
            model = what if kind == "done" else None
            yield {ui.status: gr.skip()}
        assert model is not None
        place = str(entry.folder), model.base, model.adapter, action["x"], action["y"]
        with TURNS.ticket("ask", 0.3) as ticket:
            for told in ticket.waiting():
                yield {ui.status: told}
            for kind, what in ticket.follow(run(modellers, modelling.ask, *place, silent=model.silence)):
                number = what if kind == "done" else number
                yield {ui.status: gr.skip()}
    entry = recount(batch or "", entry, corrections=number)
    told = WORDS.get(str(action["op"]), "Done.")
    yield {ui.viewer: viewed(entry, picture=False), ui.strip: strip_of(batch), ui.status: told}


def recount(batch: str, entry: Entry, **changes: Any) -> Entry:
    """Keep other facts of an image, and how many cells it has now."""
    threshold = changes.get("threshold", entry.facts.threshold)
    number = read(cells.count, str(entry.folder), threshold)
    return batches.change(batch, entry.key, count=number, **changes)


def settle(ui: Any, batch: str | None, event: gr.EventData) -> dict:
    """The downloads as the viewer was left: at the threshold of its slider, with all corrections."""
    threshold = checked(getattr(event, "threshold", None), 0, 1, "the threshold")
    if not batch:
        return nothing_to_take(ui)
    entry = batches.entry(batch, getattr(event, "key", None))
    if not entry.facts.found:
        return nothing_to_take(ui)
    entry = recount(batch, entry, threshold=threshold)
    return {**downloads(ui, batch, entry), ui.strip: strip_of(batch)}
