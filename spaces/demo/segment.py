"""The tab Segment: an image in, cells out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import modelling
import reading
from modelling import LOWEST
from offices import forget, modellers, new_folder, read, readers, run
from samples import SAMPLES
from viewer import viewer
from work import EMBEDDED, OTHER, WAIT, cancelled, choices, choose_adapter, choose_base, gpu, patiently, silence

from glioma_hf import InputError
from glioma_hf.data.images import SUFFIXES

EMPTY = "Choose a sample or drop in an image, then press <b>Find cells</b>."
LONGEST_NAME = 80  # characters of a download's name


@gpu
def find_cells(
    upload: str | None,
    sample_name: str | None,
    model: str,
    hub_name: str,
    adapter_file: str | None,
    adapter_name: str,
    pixel_size: float | None,
    taught: dict | None,
    state: dict | None,
) -> Iterator[tuple]:
    """Segment the upload, or else the sample; yields (state, viewer, status, downloads) as it goes."""
    started = time.perf_counter()
    if not upload and not sample_name:
        raise InputError("Choose a sample or give an image.")
    pixel = checked(pixel_size, 0, 1e6, "the pixel size")
    forget(state and state.get("folder"))
    folder, whole = new_folder(), False
    name = Path(upload).stem[:LONGEST_NAME] if upload else sample_name.lower().replace(" ", "_")
    state = {"folder": str(folder), "name": name, "pixel": pixel}
    try:
        yield None, gr.skip(), "Reading the image …", None
        yield from patiently(run(readers, reading.open_image, upload, sample_name, str(folder)))
        yield None, gr.skip(), "Loading the model …", None
        base = choose_base(model, hub_name)
        adapter = yield from choose_adapter(adapter_file, adapter_name, taught and taught["adapter"], folder)
        for kind, news in run(modellers, modelling.segment, str(folder), base, adapter, silent=silence(base, adapter)):
            if kind == "told":
                yield None, gr.skip(), f"Looking at the image: {news.share:.0%}", None
            elif kind == "done":
                threshold = max(news, LOWEST)
            else:
                yield WAIT
        shown, files = yield from patiently(run(readers, reading.show_cells, str(folder), name, pixel, threshold))
        whole = True
        took = f"Done in {time.perf_counter() - started:.1f} s."
        yield state, shown, f"{took} Outlines where cells overlap cross; **fill** shows it best.", files
    finally:
        if not whole:
            forget(folder)


def checked(value: Any, least: float, most: float, what: str) -> float:
    """A number that a visitor gave, 0 for none. Raises `InputError` where it isn't one within bounds."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} is no number")
    if not least <= value <= most:
        raise InputError(f"{what} is a number from {least:g} to {most:g}")
    return float(value)


def files_at(state: dict | None, event: gr.EventData) -> list[str] | None:
    """The downloads at the threshold that the viewer's slider was left at."""
    if state is None:
        return None
    threshold = checked(getattr(event, "threshold", None), 0, 1, "the threshold")
    return read(reading.write_files, state["folder"], state["name"], state["pixel"], threshold)


def api(image: str, score_threshold: float = 0.0) -> dict[str, Any]:
    """Segment one image with the embedded model.

    Args:
        image: TIFF, PNG, JPEG or BMP, 8 or 16 bit.
        score_threshold: cells of lower scores are left out; 0 for the model's own threshold.

    Returns a dict of `width`, `height` and `results`, a list of COCO results.
    """
    if not image:
        raise InputError("give an image")
    threshold = checked(score_threshold, 0, 1, "the score threshold")
    folder = str(new_folder())
    try:
        read(reading.open_image, image, "", folder)
        found = run(modellers, modelling.segment, folder, choose_base(EMBEDDED, None), None)
        own = next(what for kind, what in found if kind == "done")
        return read(reading.as_results, folder, threshold or own)
    finally:
        forget(folder)


def tab(taught: gr.State) -> None:
    """Lay the tab out; `taught` holds the adapter of the tab Teach."""
    state = gr.State(time_to_live=3600, delete_callback=lambda kept: forget(kept and kept.get("folder")))
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            chosen = gr.Dropdown(list(SAMPLES), value="Crowded cells", label="Sample (synthetic)")
            upload = gr.File(
                label="Or your image (8 or 16 bit)",
                file_types=list(SUFFIXES),
                type="filepath",
                height=150,
                elem_id="segment-upload",
            )
            with gr.Row():
                button = gr.Button("Find cells", variant="primary", elem_id="find", min_width=110)
                cancel = gr.Button("Cancel", elem_id="cancel", min_width=90)
            status = gr.Markdown("Ready.", elem_id="status")
            with gr.Accordion("Model", open=False, elem_id="model"):
                kind = gr.Radio([*choices(), OTHER], value=EMBEDDED, label="Base")
                hub_name = gr.Textbox("facebook/sam-vit-base", label="SAM on the Hub", visible=False)
                adapter_name = gr.Textbox("", label="Adapter on the Hub (USER/NAME)")
                adapter_file = gr.File(label="Or an adapter (zip)", file_types=[".zip"], type="filepath", height=140)
                gr.Markdown("An adapter taught in the tab Teach is used unless another one is chosen here.")
            pixel_size = gr.Number(label="Pixel size in µm (0 where unknown)", value=0, minimum=0)
            downloads = gr.File(label="Downloads", file_count="multiple", interactive=False, elem_id="downloads")
        with gr.Column(scale=3, min_width=320):
            shown = viewer("viewer", EMPTY)
    kind.change(lambda value: gr.update(visible=value == OTHER), kind, hub_name, api_visibility="private")
    inputs = [upload, chosen, kind, hub_name, adapter_file, adapter_name, pixel_size, taught, state]
    run = button.click(
        find_cells,
        inputs,
        [state, shown, status, downloads],
        api_visibility="private",
        concurrency_id="model",
        concurrency_limit=1,
        show_progress_on=downloads,  # the place in the queue; then the status says how far it is
    )
    at_once = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
    stop = cancel.click(lambda: "Cancelled.", None, status, cancels=[run], **at_once)
    stop.then(cancelled, None, status, **at_once)
    shown.release(files_at, state, downloads, api_visibility="private", show_progress="hidden")
    with gr.Row(visible=False):  # the interface for programs
        image, threshold, answer = gr.File(type="filepath"), gr.Number(0.0), gr.JSON()
        gr.Button().click(
            api, [image, threshold], answer, api_name="segment", concurrency_id="model", concurrency_limit=1
        )
