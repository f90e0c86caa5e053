"""The tab Score: predictions against references, by the paper's metric."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pandas as pd
import scoring
from offices import forget, new_folder, read
from telling import bind, good, hidden, shown, status
from viewer import viewer

from glioma_hf import InputError

EMPTY = (
    "Give the outlines that are right (references) and those to be judged (predictions), then press <b>Score</b>.<br>"
    "The COCO file that Segment gives for download can be judged here as it is, COCO results too: images are matched "
    "by their names."
)


def look_over(ui: Any, references: str | None, predictions: str | None) -> dict:
    """Say how a pair of files fits, before it is scored; what an earlier pair gave is cleared."""
    nothing = {
        ui.state: None,
        ui.scores: hidden(),
        ui.plot: hidden(),
        ui.viewer: None,
        ui.choice: gr.update(visible=False),
    }
    if not references or not predictions:
        missing = "references" if predictions else "predictions" if references else ""
        return {**nothing, ui.status: f"Now give the {missing}." if missing else ""}
    return {**nothing, ui.status: paragraphs(read(scoring.look_over, references, predictions, silent=60))}


def paragraphs(told: list[str]) -> str:
    """Sentences for the status, one below the other."""
    return "".join(f"<p>{good(sentence)}</p>" for sentence in told)


def score(
    ui: Any, references: str | None, predictions: str | None, flattened: bool, image: str | None, before: dict | None
) -> dict:
    """Scores of a pair of files, in place of the one before."""
    if not references or not predictions:
        raise InputError("Give a COCO file of references and a file of predictions first.")
    forget_scored(before)
    folder = str(new_folder())
    try:
        scored = read(scoring.score, references, predictions, bool(flattened), folder, silent=60)
        state = {"folder": folder, **{name: scored[name] for name in ("names", "files", "told")}}
        number = named_like(state, image) or 0
        seen = outcomes(ui, state, number, image)
    except BaseException:
        forget(folder)
        raise
    points = pd.DataFrame({"IoU threshold": list(scored["curve"]), "AP": list(scored["curve"].values())})
    choice = gr.update(choices=state["names"], value=state["names"][number], visible=len(state["names"]) > 1)
    return {
        ui.state: state,
        ui.scores: shown(pd.DataFrame(scored["table"])),
        ui.plot: shown(points),
        ui.choice: choice,
        **seen,
    }


def forget_scored(state: dict | None) -> None:
    """Delete what is kept of a pair of files."""
    forget(state and state["folder"])


def named_like(state: dict, image: str | None) -> int | None:
    """Which of the scored images has the name of an uploaded one."""
    stems = [Path(name).stem for name in state["files"]]
    return stems.index(Path(image).stem) if image and Path(image).stem in stems else None


def fitting(state: dict, number: int, image: str | None) -> tuple[str | None, list[str]]:
    """The uploaded image where it may be that of a number, and what is to be said of it."""
    if not image or (known := named_like(state, image)) == number:
        return image, []
    name, scored = Path(image).name, state["files"][number]
    if known is not None:
        return None, [f"{name} is another of the images: give {scored} to see these outcomes over it."]
    return image, [f"None of the images is called {name}; it is shown with the outcomes of {scored}."]


def outcomes(ui: Any, state: dict, number: int, image: str | None) -> dict:
    """What the viewer and the status say of one of the scored images."""
    of_it, asked = fitting(state, number, image)
    return {
        ui.viewer: read(scoring.show_outcomes, state["folder"], number, of_it),
        ui.status: paragraphs([*state["told"], *asked]),
    }


def view(ui: Any, state: dict | None, choice: str | None, image: str | None) -> dict:
    """Show one image, once there is a score: true positives, false positives, missed."""
    if state is None or choice not in state["names"]:
        return {ui.viewer: gr.skip()}
    return outcomes(ui, state, state["names"].index(choice), image)


def take_image(ui: Any, state: dict | None, choice: str | None, image: str | None) -> dict:
    """The same with an image that was uploaded: the one of its name."""
    number = named_like(state, image) if state else None
    if state is None or number is None:
        return view(ui, state, choice, image)
    return {**view(ui, state, state["names"][number], image), ui.choice: gr.update(value=state["names"][number])}


def tab() -> None:
    """Lay the tab out."""
    ui = SimpleNamespace(state=gr.State(time_to_live=3600, delete_callback=forget_scored))
    with gr.Row(elem_classes="tab"):
        with gr.Column(scale=1, min_width=290):
            ui.references = gr.File(label="References: COCO", type="filepath", height=140, elem_id="score-references")
            ui.predictions = gr.File(
                label="Predictions: COCO", type="filepath", height=140, elem_id="score-predictions"
            )
            ui.image = gr.File(label="The image, if you like", type="filepath", height=140, elem_id="score-image")
            ui.flattened = gr.Checkbox(label="Without overlaps (Table 4 of the paper)")
            button = gr.Button("Score", variant="primary", elem_id="score-run")
            ui.status = status("score-status")
            ui.choice = gr.Dropdown([], label="Image", visible=False, elem_id="score-choice")
        with gr.Column(scale=3, min_width=320):
            ui.scores = gr.Dataframe(label="Scores", interactive=False, visible=False, elem_id="score-table")
            ui.viewer = viewer("score-viewer", EMPTY)
            ui.plot = gr.LinePlot(
                x="IoU threshold",
                y="AP",
                y_lim=[0, 1],
                title="AP by IoU threshold",
                height=220,
                visible=False,
                elem_id="score-curve",
            )
    private = {"api_visibility": "private", "show_progress": "hidden"}
    outputs = [ui.state, ui.scores, ui.plot, ui.choice, ui.viewer, ui.status]
    pair = [ui.references, ui.predictions]
    given = [event for part in pair for event in (part.upload, part.clear)]
    gr.on(given, bind(look_over, ui), pair, outputs, trigger_mode="always_last", **private)
    button.click(bind(score, ui), [*pair, ui.flattened, ui.image, ui.state], outputs, **private)
    viewed = [ui.viewer, ui.status]
    ui.choice.input(bind(view, ui), [ui.state, ui.choice, ui.image], viewed, trigger_mode="always_last", **private)
    shown_image = [ui.state, ui.choice, ui.image]
    last = {"trigger_mode": "always_last", **private}
    gr.on([ui.image.upload, ui.image.clear], bind(take_image, ui), shown_image, [*viewed, ui.choice], **last)
