"""The tab Teach: outlines of one image in, an adapter out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from viewer import payload, viewer
from work import (
    SAMPLES,
    complain,
    forget,
    gpu,
    new_folder,
    read_outlines,
    read_upload,
    run_stoppable,
    sample,
)

from glioma_hf import InputError, Instances
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import SUFFIXES
from glioma_hf.models.saved import ModelFolder
from glioma_hf.workflows.training import teach

EMPTY = "Choose a sample or drop in an image of yours; then give its outlines or draw them here."
MOST_SIDE = 2**12  # pixels of an image taught on from the page


def forget_taught(taught: dict | None) -> None:
    """Delete a visitor's adapter."""
    forget(taught and taught["folder"])


def open_image(upload: str | None, sample_name: str | None) -> tuple[dict, dict[str, Any], str]:
    """(lesson, viewer, status) of an image; a sample comes with its outlines."""
    if upload:
        pixels, cells = read_upload(upload), None
        if max(pixels.shape[:2]) > MOST_SIDE:
            raise complain(f"{Path(upload).name} is larger than {MOST_SIDE} pixels; crop it for teaching")
    elif sample_name:
        pixels, everything = sample(sample_name)
        cells = everything.select(everything.categories != CATEGORIES.index("soma"))
    else:
        return None, None, ""
    lesson = {"image": pixels, "given": cells, "drawn": []}
    told = "Its outlines are known." if cells is not None else "Now upload its outlines, or draw them with the pencil."
    return lesson, payload(pixels, cells, draw=True), told


def add_outlines(lesson: dict | None, path: str | None) -> tuple[dict | None, Any, str]:
    """(lesson, viewer, status) with the outlines of an uploaded file in place of those given before."""
    if lesson is None or not path:
        return lesson, gr.skip(), "Open an image first." if path else ""
    cells = read_outlines(path, lesson["image"].shape[:2])
    lesson = {**lesson, "given": cells, "drawn": []}
    return lesson, payload(lesson["image"], cells, draw=True), f"{len(cells)} outlines read."


def keep_drawn(lesson: dict | None, event: gr.EventData) -> dict | None:
    """Remember what the pencil drew."""
    return None if lesson is None else {**lesson, "drawn": list(event.outlines)}


def outlines_of(lesson: dict | None) -> Instances:
    """All outlines of a lesson, read and drawn. Raises a `gr.Error` where there are none."""
    if lesson is None:
        raise complain("Open an image first.")
    size = lesson["image"].shape[:2]
    given = lesson["given"] if lesson["given"] is not None else Instances.empty(size)
    try:
        drawn = Instances.from_polygons([[outline] for outline in lesson["drawn"]], size)
    except InputError as error:
        raise complain(error) from None
    cells = Instances.from_rles([*given.rles, *drawn.rles], size)
    cells = cells.select(cells.areas > 0)
    if not len(cells):
        raise complain("There is no outline yet: upload some, or draw around cells with the pencil.")
    return cells


@gpu(duration=240)
def teach_model(lesson: dict | None, steps: int, taught: dict | None) -> Iterator[tuple]:
    """Fine-tune on the lesson; yields (status, loss curve, adapter's zip, taught) as it goes."""
    cells = outlines_of(lesson)
    pixels = lesson["image"]
    started, losses = time.perf_counter(), []
    folder = new_folder()

    def job(tell: Any) -> float:
        return teach(pixels, cells, folder, steps=steps, on_progress=tell)

    ap = None
    try:
        yield f"Teaching on {len(cells)} outlines …", gr.skip(), None, taught
        for what, news in run_stoppable(job):
            if what == "done":
                ap = news
            elif news.loss is None:
                yield f"{news.message.capitalize()} …", curve(losses), None, taught
            else:
                step, of, loss = round(news.done), round(news.total), news.loss
                losses.append((step, loss))
                left = (time.perf_counter() - started) / step * (of - step)
                if step % 2 == 0 or step == of:
                    told = f"Step {step} of {of}, loss {loss:.3f}, about {left:.0f} s left"
                    yield told, curve(losses), None, taught
    except (InputError, FloatingPointError) as error:
        raise complain(error) from None
    finally:
        if ap is None:
            shutil.rmtree(folder, ignore_errors=True)
    forget_taught(taught)
    archive = str(ModelFolder(folder).pack(folder / "adapter.zip"))
    done = (
        f"Taught in {time.perf_counter() - started:.0f} s; AP50 {ap:.2f} on the image it was taught on. The tab "
        "Segment uses it from now on, for you alone. Download it to keep it."
    )
    yield done, curve(losses), archive, {"adapter": str(folder), "folder": str(folder)}


def curve(losses: list[tuple[int, float]]) -> pd.DataFrame:
    """The loss by step, smoothed a little."""
    table = pd.DataFrame(losses, columns=["step", "loss"])
    table["loss"] = table["loss"].rolling(5, min_periods=1).mean()
    return table


def tab(taught: gr.State) -> None:
    """Lay the tab out."""
    lesson = gr.State(time_to_live=3600)
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
            steps = gr.Slider(10, 400, value=80, step=10, label="Steps (80 take some 4 minutes on two CPU cores)")
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
    chosen.input(lambda name: open_image(None, name), chosen, opened, **private)
    upload.upload(lambda path: open_image(path, None), upload, opened, **private)
    outlines.upload(add_outlines, [lesson, outlines], opened, **private)
    shown.edit(keep_drawn, lesson, lesson, show_progress="hidden", **private)
    run = button.click(
        teach_model,
        [lesson, steps, taught],
        [status, plot, adapter, taught],
        concurrency_id="model",
        show_progress="hidden",
        **private,
    )
    cancel.click(lambda: "Cancelled.", None, status, cancels=[run], queue=False, **private)
