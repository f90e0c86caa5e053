"""The page: its four tabs."""

from __future__ import annotations

import os
from typing import Any

import explore
import gradio as gr
import score
import segment
import teach
from limits import MAX_UPLOAD, MOST_VISITORS, Doorman, Page
from offices import place
from smaller import Smaller
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from viewer import ADDRESS, WEB

CSS = """
.gradio-container { width: 100%; max-width: 1280px !important; margin: auto; overflow: clip !important; }
footer { display: none !important; }
h1 { margin: 0 !important; }
"""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # the visitor's own: none is sent
THEME = gr.themes.Soft(
    primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=["ui-monospace", "monospace"]
).set(
    # Contrast of 4.5 to 1 and more, in both themes.
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
    block_title_text_color="*neutral_800",
    block_title_text_color_dark="*neutral_100",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    input_placeholder_color="*neutral_600",
    input_placeholder_color_dark="*neutral_300",
    block_border_width="1px",
    block_border_color="*neutral_200",
    input_border_width="1px",
    input_border_color="*neutral_500",
    input_border_color_dark="*neutral_400",
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    block_label_background_fill_dark="#1e3a8a",
    block_title_background_fill_dark="#1e3a8a",
    link_text_color="#1d4ed8",
    link_text_color_hover="#1e40af",
    link_text_color_visited="#1d4ed8",
    link_text_color_active="#1d4ed8",
    link_text_color_dark="#a5b4fc",
    link_text_color_hover_dark="#c7d2fe",
    link_text_color_visited_dark="#a5b4fc",
    link_text_color_active_dark="#a5b4fc",
    checkbox_label_background_fill_selected="#1d4ed8",
    checkbox_label_background_fill_selected_dark="#1d4ed8",
    button_primary_background_fill="#1d4ed8",
    button_primary_background_fill_hover="#1e40af",
    button_primary_background_fill_dark="#1d4ed8",
    button_primary_background_fill_hover_dark="#2563eb",
    button_primary_text_color="#ffffff",
    button_primary_text_color_dark="#ffffff",
)


def build() -> gr.Blocks:
    """The page."""
    with Page(title="Cells that overlap", delete_cache=(3600, 3600)) as page:
        gr.HTML(
            "<h1>Cells that overlap</h1>Outlines, counts and shapes of cells in phase-contrast images. A model knows "
            "the cells that it was taught on: look at its outlines, correct them, teach it yours.",
            elem_id="title",
        )
        taught = gr.State(time_to_live=3600, delete_callback=teach.forget_kept)
        with gr.Tabs() as tabs:
            with gr.Tab("Segment", id="segment"):
                segmenting = segment.tab(taught)
            with gr.Tab("Teach", id="teach"):
                teach.tab(taught, tabs, segmenting)
            with gr.Tab("Score", id="score"):
                score.tab()
            with gr.Tab("Explore", id="explore") as exploring:
                for function, inputs, outputs in explore.tab(os.environ.get("GLIOMA_HF_DATA", "")):
                    exploring.select(function, inputs, outputs, api_visibility="private", show_progress="hidden")
    return page


def serve(**options: Any) -> Any:
    """Serve the page. One run of a model at a time; others wait in a line of bounded length (turns.py)."""
    return (
        build()
        .queue(max_size=64, default_concurrency_limit=4)
        .launch(
            theme=THEME,
            css=CSS + (WEB / "viewer.css").read_text(encoding="utf-8"),
            max_file_size=MAX_UPLOAD,
            state_session_capacity=MOST_VISITORS,
            app_kwargs={
                "middleware": [
                    Middleware(Smaller),
                    Middleware(GZipMiddleware, minimum_size=2048),
                    Middleware(Doorman, place=place()),
                ],
                "routes": [Mount(f"/{ADDRESS}", StaticFiles(directory=WEB))],
            },
            **options,
        )
    )
