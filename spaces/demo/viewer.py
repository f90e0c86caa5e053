"""The viewer and the strip of thumbnails on the page; what they show is made by shown.py and finding.py.

Their scripts are served once, from the folder `web`, whatever number of viewers the page has.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

WEB = Path(__file__).parent / "web"
ADDRESS = "web"  # under which the folder is served
START = 'import(new URL("{address}/{script}", document.baseURI)).then((m) => m.start(element, props, trigger, watch))'
# Files have arrived; nothing is said of them yet.
GIVEN = """(...given) => {
  const told = document.querySelector("#status .told")?.textContent ?? "";
  Object.assign(document.body.dataset, { given: Date.now(), told });
  return given;
}"""
ONCE_OPENED = f"""async (...given) => {{
  const {{ opened }} = await import(new URL("{ADDRESS}/waiting.js", document.baseURI));
  await opened();
  return given;
}}"""


def viewer(elem_id: str, empty: str) -> gr.HTML:
    """A viewer that says `empty` until it is given a `payload`."""
    return gr.HTML(
        value=None,
        html_template='<div class="cells-viewer"><div class="empty">${empty}</div></div>',
        js_on_load=START.format(address=ADDRESS, script="viewer.js"),
        empty=empty,
        elem_id=elem_id,
        apply_default_css=False,
    )


def strip(elem_id: str) -> gr.HTML:
    """Thumbnails of the images of a batch."""
    return gr.HTML(
        value=None,
        html_template='<div class="strip-frame"><div class="strip" role="group" aria-label="Open images"></div></div>',
        js_on_load=START.format(address=ADDRESS, script="strip.js"),
        elem_id=elem_id,
        apply_default_css=False,
    )
