"""The page: its four tabs."""

from __future__ import annotations

import os

import explore
import gradio as gr
import score
import segment
import teach
from limits import MAX_UPLOAD, Doorman, Page
from offices import place
from starlette.middleware import Middleware

CSS = """
.gradio-container { max-width: 1280px !important; margin: auto; }
footer { display: none !important; }
h1 { margin-bottom: 0 !important; }
"""
THEME = gr.themes.Soft(primary_hue="blue", neutral_hue="slate")


def build() -> gr.Blocks:
    """The page."""
    with Page(title="Cells that overlap", delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# Cells that overlap\nOutlines, counts and shapes of cells in phase-contrast images. The small model that "
            "comes with the page saw synthetic images alone: teach it on one image of yours before you rely on it."
        )
        taught = gr.State(time_to_live=3600, delete_callback=teach.forget_kept)
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


def serve(**options) -> None:
    """Serve the page. One run of a model at a time; others wait in a queue of bounded length."""
    build().queue(max_size=16, default_concurrency_limit=4).launch(
        theme=THEME,
        css=CSS,
        max_file_size=MAX_UPLOAD,
        app_kwargs={"middleware": [Middleware(Doorman, place=place())]},
        **options,
    )
