"""The demo page: drop an image in, get outlines, count, shapes and files out."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image

from glioma_hf import InputError, Instances
from glioma_hf.data.images import SUFFIXES, read_image, to_uint8
from glioma_hf.data.synthetic import SceneConfig, generate_scene
from glioma_hf.draw import overlay
from glioma_hf.models.sam.generate import SamSegmenter, best_device, keep_best
from glioma_hf.models.sam.lora import load_base
from glioma_hf.shape import shape_table

SAMPLES = {"Sparse cells": 11, "Crowded cells": 12, "Flat cells": 13}
MAX_UPLOAD = "200mb"
EMPTY = "Choose a sample or drop in an image, then press **Find cells**."
KEY = "Outlines in orange; purple where cells overlap."
CSS = """
.gradio-container { max-width: 1200px !important; margin: auto; }
footer { display: none !important; }
"""


@functools.cache
def segmenter() -> SamSegmenter:
    """The embedded model, loaded at the first request."""
    return SamSegmenter(load_base().to(best_device()))


@functools.cache
def sample(name: str) -> np.ndarray:
    """A generated image: nothing of anyone's data is shipped with the page."""
    share = {"Sparse cells": (40, 50), "Crowded cells": (170, 190), "Flat cells": (80, 100)}[name]
    flat = {"spheroids": 0.05, "spindles": 0.1} if name == "Flat cells" else {}
    config = SceneConfig(width=640, height=480, cells_per_megapixel=share, **flat)
    return generate_scene(SAMPLES[name], config).image


def find_cells(upload: str | None, sample_name: str | None, threshold: float, progress=gr.Progress()):  # noqa: B008
    """Segment an uploaded file, or else the chosen sample; returns what the page shows and remembers."""
    if upload:
        pixels, name = read_upload(upload), Path(upload).stem
    elif sample_name:
        pixels, name = sample(sample_name), sample_name.lower().replace(" ", "_")
    else:
        raise gr.Error(EMPTY.replace("**", ""), print_exception=False)
    model = segmenter()
    floor = SamSegmenter(model.model, model.settings.model_copy(update={"score_threshold": 0.1}))
    found = floor.candidates(pixels, lambda done: progress(done, desc="Looking at the image"))
    state = {"image": to_uint8(pixels), "found": found, "name": name}
    return (state, *show(state, threshold))


def read_upload(path: str) -> np.ndarray:
    """Pixels of an uploaded file; what is wrong with it is said in a sentence that names the visitor's file only."""
    try:
        return read_image(path)
    except InputError as error:
        raise gr.Error(str(error).replace(path, Path(path).name), print_exception=False) from None


def show(state: dict | None, threshold: float):
    """Picture, count, table and files of the candidates at a score threshold; no model runs."""
    if state is None:
        return None, EMPTY, None, None
    settings = segmenter().settings.model_copy(update={"score_threshold": threshold})
    cells = keep_best(state["found"], settings)
    picture = overlay(state["image"], cells)
    table = shape_table(cells).drop(columns=["category", "perimeter"]).round(3)
    covered = float((cells.to_label_map() > 0).mean()) if len(cells) else 0.0
    summary = f"### {len(cells)} cells\n{covered:.1%} of the image covered. {KEY}"
    return picture, summary, table, files(state["name"], cells, picture, table)


def files(name: str, cells: Instances, picture: Image.Image, table: pd.DataFrame) -> list[str]:
    """The downloads: COCO results, shapes, overlay."""
    folder = Path(tempfile.mkdtemp(prefix="glioma-demo-"))
    coco, csv, png = (folder / f"{name}{end}" for end in ("_coco.json", "_shapes.csv", "_overlay.png"))
    coco.write_text(json.dumps(cells.to_coco(1, [1])))
    table.to_csv(csv, index=False)
    picture.save(png)
    return [str(coco), str(csv), str(png)]


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="Cells that overlap", delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# Cells that overlap\nOutlines, count and shapes of cells in phase-contrast images, by the small SAM "
            "that `glioma_hf` carries. It was trained on generated images alone: fine-tune it on one image of yours "
            "for results to rely on."
        )
        state = gr.State()
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                chosen = gr.Dropdown(list(SAMPLES), value="Crowded cells", label="Sample")
                upload = gr.File(
                    label="Or your own image (TIFF, PNG, JPEG; 8 or 16 bit)", file_types=list(SUFFIXES), type="filepath"
                )
                threshold = gr.Slider(0.1, 0.9, value=0.5, step=0.05, label="Score from which a cell is shown")
                button = gr.Button("Find cells", variant="primary", elem_id="find")
                summary = gr.Markdown(EMPTY, elem_id="summary")
                downloads = gr.File(label="Downloads", file_count="multiple", interactive=False, elem_id="downloads")
            with gr.Column(scale=3, min_width=320):
                picture = gr.Image(label="Outlines", format="png", interactive=False, elem_id="picture", height=560)
                table = gr.Dataframe(label="Shapes (pixels)", interactive=False, elem_id="shapes", max_height=320)
        shown = [picture, summary, table, downloads]
        button.click(find_cells, [upload, chosen, threshold], [state, *shown], api_name="segment", concurrency_limit=1)
        threshold.release(show, [state, threshold], shown, api_name=False, show_progress="hidden")
    return page


def launch(**options) -> None:
    """Serve the page."""
    build().queue(max_size=16).launch(
        theme=gr.themes.Soft(primary_hue="blue"), css=CSS, max_file_size=MAX_UPLOAD, **options
    )


if __name__ == "__main__":
    launch()
