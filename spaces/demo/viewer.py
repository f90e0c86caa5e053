"""The viewer on the page; what it shows is made by shown.py."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent


def viewer(elem_id: str, empty: str) -> gr.HTML:
    """A viewer that says `empty` until it is given a `payload`."""
    return gr.HTML(
        value=None,
        html_template=(HERE / "viewer.html").read_text(encoding="utf-8"),
        css_template=(HERE / "viewer.css").read_text(encoding="utf-8"),
        js_on_load=(HERE / "viewer.js").read_text(encoding="utf-8"),
        empty=empty,
        elem_id=elem_id,
        apply_default_css=False,
    )
