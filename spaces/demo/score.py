"""The tab Score: predictions against references, by the paper's metric."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pandas as pd
import reading
from offices import forget, new_folder, read
from viewer import viewer

from glioma_hf import InputError
from glioma_hf.data.images import SUFFIXES

EMPTY = "Upload references and predictions, then press <b>Score</b>."


def score(references: str | None, predictions: str | None, flattened: bool, image: str | None, before: dict | None):
    """(state, table, AP curve, choice of images, viewer, status) of a pair of files, in place of the one before."""
    if not references or not predictions:
        raise InputError("Give a COCO file of references and a file of COCO results.")
    forget_scored(before)
    folder = str(new_folder())
    try:
        scored = read(reading.score, references, predictions, bool(flattened), folder, silent=60)
        state = {"folder": folder, "names": scored["names"]}
        shown = view(state, state["names"][0], image)
    except BaseException:
        forget(folder)
        raise
    points = pd.DataFrame({"IoU threshold": list(scored["curve"]), "AP": list(scored["curve"].values())})
    choice = gr.update(choices=state["names"], value=state["names"][0], visible=len(state["names"]) > 1)
    return state, pd.DataFrame(scored["table"]), points, choice, shown, scored["told"]


def forget_scored(state: dict | None) -> None:
    """Delete what is kept of a pair of files."""
    forget(state and state["folder"])


def view(state: dict | None, choice: str | None, image: str | None) -> Any:
    """What the viewer shows of one image, once there is a score: true positives, false positives, missed."""
    if state is None or choice not in state["names"]:
        return gr.skip()
    return read(reading.show_outcomes, state["folder"], state["names"].index(choice), image)


def tab() -> None:
    """Lay the tab out."""
    state = gr.State(time_to_live=3600, delete_callback=forget_scored)
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            kinds = [".json"]
            references = gr.File(
                label="References: COCO JSON", file_types=kinds, type="filepath", height=140, elem_id="score-references"
            )
            predictions = gr.File(
                label="Predictions: COCO results",
                file_types=kinds,
                type="filepath",
                height=140,
                elem_id="score-predictions",
            )
            image = gr.File(
                label="The image, if you like",
                file_types=list(SUFFIXES),
                type="filepath",
                height=140,
                elem_id="score-image",
            )
            flattened = gr.Checkbox(label="Without overlaps (Table 4 of the paper)")
            button = gr.Button("Score", variant="primary", elem_id="score-run")
            status = gr.Markdown("", elem_id="score-status")
            choice = gr.Dropdown([], label="Image", visible=False, elem_id="score-choice")
        with gr.Column(scale=3, min_width=320):
            scores = gr.Dataframe(label="Scores", interactive=False, elem_id="score-table")
            shown = viewer("score-viewer", EMPTY)
            plot = gr.LinePlot(
                x="IoU threshold", y="AP", y_lim=[0, 1], title="AP by IoU threshold", height=220, elem_id="score-curve"
            )
    private = {"api_visibility": "private"}
    outputs = [state, scores, plot, choice, shown, status]
    button.click(score, [references, predictions, flattened, image, state], outputs, **private)
    choice.input(view, [state, choice, image], shown, **private)
    image.upload(view, [state, choice, image], shown, **private)
