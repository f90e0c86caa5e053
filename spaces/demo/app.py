"""The demo page: segment an image, teach the model on one, score predictions, explore a data set."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gradio as gr

sys.path.insert(0, str(Path(__file__).parent))  # the tabs beside this file, however it is started

import explore
import score
import segment
import teach

MAX_UPLOAD = "200mb"
CSS = """
.gradio-container { max-width: 1280px !important; margin: auto; }
footer { display: none !important; }
h1 { margin-bottom: 0 !important; }
"""
THEME = gr.themes.Soft(primary_hue="blue", neutral_hue="slate")


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="Cells that overlap", delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# Cells that overlap\nOutlines, counts and shapes of cells in phase-contrast images. The small model that "
            "comes with the page saw synthetic images alone: teach it on one image of yours before you rely on it."
        )
        taught = gr.State(time_to_live=3600, delete_callback=teach.forget_taught)
        with gr.Tab("Segment", id="segment"):
            segment.tab(taught)
        with gr.Tab("Teach", id="teach"):
            teach.tab(taught)
        with gr.Tab("Score", id="score"):
            score.tab()
        with gr.Tab("Explore", id="explore"):
            for function, inputs, outputs in explore.tab(os.environ.get("GLIOMA_HF_DATA", "")):
                page.load(function, inputs, outputs, api_visibility="private", show_progress="hidden")
    return page


def launch(**options) -> None:
    """Serve the page. One run of a model at a time; others wait in a queue of bounded length."""
    build().queue(max_size=16, default_concurrency_limit=4).launch(
        theme=THEME, css=CSS, max_file_size=MAX_UPLOAD, **options
    )


if __name__ == "__main__":
    launch()
