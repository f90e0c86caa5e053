"""The tab Teach: outlines of one image in, an adapter out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import modelling
import pandas as pd
import reading
from offices import forget, modellers, new_folder, read, readers, run
from samples import SAMPLES
from segment import checked
from viewer import viewer
from work import WAIT, cancelled, gpu, patiently

from glioma_hf import InputError
from glioma_hf.data.images import SUFFIXES

EMPTY = "Choose a sample or drop in an image of yours; then give its outlines or draw them here."
MOST_STEPS = 400
MOST_NUMBERS = 400_000  # coordinates of all outlines that are drawn
MOST_OUTLINES = 5000


def forget_kept(kept: dict | None) -> None:
    """Delete a visitor's lesson or adapter."""
    forget(kept and kept["folder"])


def open_image(upload: str | None, sample_name: str | None, lesson: dict | None) -> tuple[dict | None, Any, str]:
    """(lesson, viewer, status) of an image, in place of the lesson before; a sample comes with its outlines."""
    forget_kept(lesson)
    if not upload and not sample_name:
        return None, None, ""
    folder = str(new_folder())
    try:
        shown, known = read(reading.open_lesson, upload, sample_name, folder)
    except BaseException:
        forget(folder)
        raise
    told = "Its outlines are known." if known else "Now upload its outlines, or draw them with the pencil."
    return {"folder": folder, "given": known, "drawn": []}, shown, told


def add_outlines(lesson: dict | None, path: str | None) -> tuple[dict | None, Any, str]:
    """(lesson, viewer, status) with the outlines of an uploaded file in place of those given before."""
    if lesson is None or not path:
        return lesson, gr.skip(), "Open an image first." if path else ""
    shown, number = read(reading.add_outlines, path, lesson["folder"])
    return {**lesson, "given": True, "drawn": []}, shown, f"{number} outlines read."


def keep_drawn(lesson: dict | None, event: gr.EventData) -> dict | None:
    """Remember what the pencil drew. Raises `InputError` for what no pencil draws."""
    return None if lesson is None else {**lesson, "drawn": check_drawn(getattr(event, "outlines", None))}


def check_drawn(outlines: Any) -> list[list[float]]:
    """Outlines that were drawn, as lists x0, y0, x1, y1 ... Raises `InputError` for anything else."""
    if not isinstance(outlines, list) or len(outlines) > MOST_OUTLINES:
        raise InputError(f"what was drawn isn't a list of at most {MOST_OUTLINES} outlines")
    left = MOST_NUMBERS
    for number, outline in enumerate(outlines, start=1):
        left -= len(outline) if isinstance(outline, list) else left + 1
        if left < 0:
            raise InputError(f"outline {number} isn't a list of numbers, or all are of over {MOST_NUMBERS}")
        for value in outline:
            # A pencil may leave the image, but not by far.
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"outline {number} has a coordinate that is no number; draw it again")
            if abs(value) > 2 * reading.MOST_TAUGHT:
                raise InputError(f"outline {number} lies outside the image; draw it again")
    return outlines


@gpu(duration=240)
def teach_model(lesson: dict | None, steps: int, taught: dict | None) -> Iterator[tuple]:
    """Fine-tune on the lesson; yields (status, loss curve, adapter's zip, taught) as it goes."""
    if lesson is None:
        raise InputError("Open an image first.")
    steps = round(checked(steps, 1, MOST_STEPS, "the number of steps"))
    gathered = run(readers, reading.gather, lesson["folder"], lesson["given"], lesson["drawn"])
    number = yield from patiently(gathered)
    started, losses = time.perf_counter(), []
    folder, ap = str(new_folder()), None
    try:
        yield f"Teaching on {number} outlines …", gr.skip(), None, taught
        for kind, news in run(modellers, modelling.teach_adapter, lesson["folder"], steps, folder):
            if kind == "done":
                ap = news
            elif kind == "idle":
                yield WAIT
            elif news.loss is None:
                yield f"{news.message.capitalize()} …", curve(losses), None, taught
            else:
                step, of, loss = round(news.done), round(news.total), news.loss
                losses.append((step, loss))
                left = (time.perf_counter() - started) / step * (of - step)
                if step % 2 == 0 or step == of:
                    told = f"Step {step} of {of}, loss {loss:.3f}, about {left:.0f} s left"
                    yield told, curve(losses), None, taught
    finally:
        if ap is None:
            forget(folder)
    forget_kept(taught)
    done = (
        f"Taught in {time.perf_counter() - started:.0f} s; AP50 {ap:.2f} on the image it was taught on. The tab "
        "Segment uses it from now on, for you alone. Download it to keep it."
    )
    yield done, curve(losses), str(Path(folder) / "adapter.zip"), {"adapter": folder, "folder": folder}


def curve(losses: list[tuple[int, float]]) -> pd.DataFrame:
    """The loss by step, smoothed a little."""
    table = pd.DataFrame(losses, columns=["step", "loss"])
    table["loss"] = table["loss"].rolling(5, min_periods=1).mean()
    return table


def tab(taught: gr.State) -> None:
    """Lay the tab out."""
    lesson = gr.State(time_to_live=3600, delete_callback=forget_kept)
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            chosen = gr.Dropdown(
                list(SAMPLES), value=None, label="Sample with outlines (synthetic)", elem_id="teach-sample"
            )
            upload = gr.File(
                label="Or your image", file_types=list(SUFFIXES), type="filepath", height=140, elem_id="teach-upload"
            )
            outlines = gr.File(
                label="Outlines: COCO or ROI zip",
                file_types=[".json", ".zip"],
                type="filepath",
                height=140,
                elem_id="teach-outlines",
            )
            steps = gr.Slider(
                10, MOST_STEPS, value=80, step=10, label="Steps (80 take some 4 minutes on two CPU cores)"
            )
            with gr.Row():
                button = gr.Button("Teach", variant="primary", elem_id="teach-run", min_width=110)
                cancel = gr.Button("Cancel", elem_id="teach-cancel", min_width=90)
            status = gr.Markdown("Ready.", elem_id="teach-status")
            adapter = gr.File(label="Adapter", interactive=False, elem_id="teach-adapter")
        with gr.Column(scale=3, min_width=320):
            shown = viewer("teach-viewer", EMPTY)
            plot = gr.LinePlot(x="step", y="loss", title="Loss", height=200, elem_id="teach-loss")
    opened = [lesson, shown, status]
    private = {"api_visibility": "private"}
    chosen.input(lambda name, before: open_image(None, name, before), [chosen, lesson], opened, **private)
    upload.upload(lambda path, before: open_image(path, None, before), [upload, lesson], opened, **private)
    outlines.upload(add_outlines, [lesson, outlines], opened, **private)
    shown.edit(keep_drawn, lesson, lesson, show_progress="hidden", **private)
    run = button.click(
        teach_model,
        [lesson, steps, taught],
        [status, plot, adapter, taught],
        concurrency_id="model",
        concurrency_limit=1,
        show_progress_on=adapter,
        **private,
    )
    at_once = {"queue": False, "show_progress": "hidden", **private}
    stop = cancel.click(lambda: "Cancelled.", None, status, cancels=[run], **at_once)
    stop.then(cancelled, None, status, **at_once)
