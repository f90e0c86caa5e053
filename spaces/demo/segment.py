"""The tab Segment: images in, cells out, corrected where they are wrong."""

from __future__ import annotations

from types import SimpleNamespace

import comparing
import editing
import finding
import gradio as gr
import opening
from batch import MOST_IMAGES
from offices import forget
from samples import SAMPLES
from telling import bind, status
from viewer import GIVEN, ONCE_OPENED, strip, viewer
from work import OTHER, choices, default, in_words

EMPTY = (
    "Drop in an image of your cells (or up to twenty), or choose a sample.<br>It appears here at once; "
    "<b>Find cells</b> then outlines every cell in it."
)


def tab(taught: gr.State) -> SimpleNamespace:
    """Lay the tab out; `taught` holds the adapter of the tab Teach. Returns its components."""
    ui = SimpleNamespace(taught=taught, batch=gr.State(time_to_live=3600, delete_callback=forget))
    with gr.Row(elem_classes="tab"):
        with gr.Column(scale=1, min_width=290):
            controls(ui)
        with gr.Column(scale=3, min_width=320):
            ui.strip = strip("strip")
            ui.viewer = viewer("viewer", EMPTY)
            ui.compared = gr.HTML("", elem_id="compared")
            with gr.Row():
                ui.to_teach = gr.Button("Teach from these cells", elem_id="to-teach", size="sm", visible=False)
                ui.zip_all = gr.Button("Zip of all images", elem_id="zip-all", size="sm", visible=False)
            ui.zipped = gr.File(label="All images", interactive=False, visible=False, elem_id="zipped")
            ui.note = status("note")
            ui.downloads = gr.File(
                label="Downloads", file_count="multiple", interactive=False, visible=False, elem_id="downloads"
            )
    wire(ui)
    with gr.Row(visible=False):  # the interface for programs
        image, threshold, answer = gr.File(type="filepath"), gr.Number(0.0), gr.JSON()
        gr.Button().click(finding.api, [image, threshold], answer, api_name="segment", concurrency_limit=16)
    return ui


def controls(ui: SimpleNamespace) -> None:
    """What visitors choose."""
    ui.upload = gr.File(
        label=f"Your images (up to {MOST_IMAGES})",
        file_count="multiple",
        type="filepath",
        height=150,
        elem_id="segment-upload",
    )
    ui.sample = gr.Dropdown(list(SAMPLES), value=None, label="Or a sample (synthetic)", elem_id="sample")
    with gr.Row():
        ui.button = gr.Button("Find cells", variant="primary", elem_id="find", min_width=110)
        ui.cancel = gr.Button("Cancel", elem_id="cancel", min_width=90, interactive=False)
    ui.status = status("status")
    ui.page = gr.Slider(1, 2, value=1, step=1, label="Page", visible=False, elem_id="page")
    ui.pixel = gr.Number(label="Pixel size in µm (0 where unknown)", value=0, elem_id="pixel")
    first, _ = default()
    ui.in_use = gr.HTML(used(first, "", None, "", None, False), elem_id="in-use", apply_default_css=False)
    ui.use_taught = gr.Checkbox(False, label="Use what I taught", visible=False, elem_id="use-taught")
    with gr.Accordion("Model", open=False, elem_id="model"):
        ui.kind = gr.Radio([*choices(), OTHER], value=first, label="Model", elem_id="kind")
        ui.hub_name = gr.Textbox("facebook/sam-vit-base", label="Model on the Hub (USER/NAME)", visible=False)
        ui.adapter_name = gr.Textbox("", label="Adapter on the Hub (USER/NAME)")
        ui.adapter_file = gr.File(label="Or a model that you saved (zip)", type="filepath", height=140)
    with gr.Accordion("Compare models", open=False, elem_id="compare"):
        known = list(choices())
        ui.names = gr.CheckboxGroup(known, value=known, label="On the image that is shown", elem_id="compare-names")
        with gr.Row():
            ui.compare = gr.Button("Compare", elem_id="compare-run", min_width=110)
            ui.compare_cancel = gr.Button("Cancel", elem_id="compare-cancel", min_width=90, interactive=False)


def used(*choice: object) -> str:
    """Which model is in use, in words."""
    import html

    return f"Model in use: <b>{html.escape(in_words(*choice))}</b>"  # type: ignore[arg-type]


def wire(ui: SimpleNamespace) -> None:
    """What happens when."""
    private = {"api_visibility": "private"}
    quiet = {**private, "show_progress": "hidden"}
    page = [
        *(ui.batch, ui.viewer, ui.strip, ui.status, ui.downloads, ui.note, ui.pixel, ui.page, ui.zip_all),
        *(ui.compared, ui.sample, ui.upload, ui.to_teach, ui.zipped),
    ]
    given = [ui.upload.upload, ui.upload.clear, ui.upload.delete]
    last = {**quiet, "trigger_mode": "always_last"}  # what is chosen while something is opened counts as well
    gr.on(given, bind(opening.open_files, ui), [ui.upload, ui.batch], page, js=GIVEN, **last)
    # A list tells of a choice twice as `input`, and not as `select` where keys made it; it is left after either.
    ui.sample.blur(bind(opening.open_sample, ui), [ui.sample, ui.batch], page, **last)
    ui.strip.select(bind(opening.select, ui), ui.batch, page, **last)
    ui.page.release(bind(opening.turn_page, ui), [ui.batch, ui.page], page, **last)
    ui.pixel.change(bind(opening.set_pixel, ui, asked=False), [ui.batch, ui.pixel, ui.status], page, **last)

    model = [ui.kind, ui.hub_name, ui.adapter_file, ui.adapter_name, ui.taught, ui.use_taught]
    ui.kind.change(lambda value: gr.update(visible=value == OTHER), ui.kind, ui.hub_name, **quiet)
    gr.on([part.change for part in model], used, model, ui.in_use, **last)
    ui.taught.change(
        lambda taught: gr.update(visible=taught is not None, value=taught is not None),
        ui.taught,
        ui.use_taught,
        **quiet,
    )
    ui.taught.change(offer_taught, ui.taught, ui.names, **quiet)

    running = {**quiet, "concurrency_limit": 16, "trigger_mode": "multiple"}
    buttons = [ui.button, ui.cancel]
    ended = lambda: {ui.button: gr.update(interactive=True), ui.cancel: gr.update(interactive=False)}  # noqa: E731
    find = bind(finding.find_cells, ui, ended)
    ui.button.click(find, [ui.batch, *model], [*page, *buttons], js=ONCE_OPENED, **running)
    at_once = {"queue": False, **quiet}
    ui.cancel.click(bind(finding.stop, ui), ui.batch, [*page, *buttons], **at_once)
    ui.viewer.edit(
        bind(editing.correct, ui),
        [ui.batch, *model],
        [ui.viewer, ui.strip, ui.status],
        **running,
    )
    settled = [ui.downloads, ui.note, ui.strip, ui.status, ui.to_teach, ui.zipped]
    ui.viewer.release(bind(editing.settle, ui, asked=False), ui.batch, settled, **last)
    ui.zip_all.click(bind(finding.zip_all, ui), ui.batch, [ui.status, ui.zipped], **quiet)

    compared = [ui.compared, ui.status, ui.compare_cancel]
    ui.compare.click(bind(comparing.compare, ui), [ui.batch, ui.names, ui.taught], compared, **running)
    ended_there = [ui.status, ui.compare_cancel]
    ui.compare_cancel.click(bind(comparing.stop, ui), ui.batch, ended_there, **at_once)


def offer_taught(taught: dict | None) -> dict:
    """The models to compare, with what was taught among them."""
    known = [*choices(), *[comparing.TAUGHT] * (taught is not None)]
    return gr.update(choices=known, value=known)
