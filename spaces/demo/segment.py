"""The tab Segment: an image in, cells out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from viewer import payload, viewer
from work import (
    EMBEDDED,
    OTHER,
    SAMPLES,
    choose_model,
    forget,
    gpu,
    models,
    new_folder,
    numbered,
    read_upload,
    run_stoppable,
    sample,
)

from glioma_hf import Instances
from glioma_hf.data.images import SUFFIXES
from glioma_hf.models.base import Segmenter
from glioma_hf.workflows.outputs import results, write_instances

EMPTY = "Choose a sample or drop in an image, then press <b>Find cells</b>."
LOWEST = 0.1  # score from which cells are kept for the slider


def segment_image(segmenter: Segmenter, pixels: np.ndarray, tell: Any = lambda share: None) -> Instances:
    """Cells of any score from `LOWEST` on, best first; those above a score are what that threshold gives."""
    cells = segmenter.with_score_threshold(LOWEST).segment(pixels, lambda progress: tell(progress.share))
    return numbered(cells)


@gpu
def find_cells(
    upload: str | None,
    sample_name: str,
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
    pixels, name = (read_upload(upload), Path(upload).stem) if upload else (sample(sample_name)[0], sample_name)
    forget(state and state.get("folder"))
    yield None, gr.skip(), "Loading the model …", None
    segmenter = choose_model(model, hub_name, adapter_file, adapter_name, taught and taught["adapter"])
    cells = Instances.empty(pixels.shape[:2])
    for what, news in run_stoppable(lambda tell: segment_image(segmenter, pixels, tell)):
        if what == "told":
            yield None, gr.skip(), f"Looking at the image: {news:.0%}", None
        else:
            cells = news
    threshold = max(segmenter.score_threshold, LOWEST)
    state = {"image": pixels, "cells": cells, "name": name.lower().replace(" ", "_"), "pixel": pixel_size or 0.0}
    state["folder"] = str(new_folder())
    shown = payload(pixels, cells, pixel_size=pixel_size or 0.0, threshold=threshold)
    done = f"Done in {time.perf_counter() - started:.1f} s. Outlines where cells overlap cross; **fill** shows it best."
    yield state, shown, done, write_files(state, threshold)


def write_files(state: dict | None, threshold: float) -> list[str] | None:
    """The downloads at a score threshold: COCO results, shapes, ImageJ regions, label map, overlay."""
    if state is None:
        return None
    cells = state["cells"]
    cells = cells.select(cells.scores >= threshold)
    folder, name = Path(state["folder"]), state["name"]
    folder.mkdir(exist_ok=True)
    targets = [
        folder / f"{name}{end}" for end in ("_coco.json", "_shapes.csv", "_rois.zip", "_labels.tif", "_overlay.png")
    ]
    files = dict(zip(("results", "shapes", "rois", "labels", "overlay"), targets, strict=True))
    write_instances(files, state["image"], cells, pixel_size=state["pixel"] or 1.0)
    return [str(target) for target in targets]


def files_at(state: dict | None, event: gr.EventData) -> list[str] | None:
    """`write_files` at the threshold that the viewer's slider was left at."""
    return write_files(state, float(event.threshold))


def api(image: str, score_threshold: float = 0.0) -> dict[str, Any]:
    """Segment one image with the embedded model.

    Args:
        image: TIFF, PNG, JPEG or BMP, 8 or 16 bit.
        score_threshold: cells of lower scores are left out; 0 for the model's own threshold.

    Returns a dict of `width`, `height` and `results`, a list of COCO results.
    """
    pixels = read_upload(image)
    segmenter = choose_model(EMBEDDED, "", None, "", None)
    cells = segment_image(segmenter, pixels)
    cells = cells.select(cells.scores >= (score_threshold or segmenter.score_threshold))
    return {"width": cells.size[1], "height": cells.size[0], "results": results(cells, 1)}


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
                kind = gr.Radio([*models(), OTHER], value=EMBEDDED, label="Base")
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
        show_progress="hidden",  # the status says how far it is
    )
    cancel.click(lambda: "Cancelled.", None, status, cancels=[run], api_visibility="private", queue=False)
    shown.release(files_at, state, downloads, api_visibility="private", show_progress="hidden")
    with gr.Row(visible=False):  # the interface for programs
        image, threshold, answer = gr.File(type="filepath"), gr.Number(0.0), gr.JSON()
        gr.Button().click(api, [image, threshold], answer, api_name="segment", concurrency_id="model")
