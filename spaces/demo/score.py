"""The tab Score: predictions against references, by the paper's metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from viewer import payload, viewer
from work import complain, read_upload

from glioma_hf import InputError, Instances
from glioma_hf.benchmark.scoring import score_sets
from glioma_hf.benchmark.scoring_files import read_predictions, read_references
from glioma_hf.data.images import SUFFIXES
from glioma_hf.metrics.error_analysis import ImageOutcomes
from glioma_hf.metrics.scores import OverlapScores, shown
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.palette import OUTCOME_COLOURS, hex_of

EMPTY = "Upload references and predictions, then press <b>Score</b>."
COLOURS = {kind: hex_of(colour) for kind, colour in OUTCOME_COLOURS.items()}
# The viewer also dashes what was missed.
WORDS = {"tp": "true positives", "fp": "false positives", "fn": "missed"}
ROWS = ("ap", "f1", "precision", "recall", "tp", "fp", "fn")


def score(references: str | None, predictions: str | None, flattened: bool, image: str | None):
    """(outcomes by image, table, AP curve, choice of images, viewer, status) of a pair of files."""
    if not references or not predictions:
        raise complain("Give a COCO file of references and a file of COCO results.")
    options = ScoringOptions(mode="flattened" if flattened else "overlapping")
    try:
        reference_set = read_references(references)
        prediction_set = read_predictions(predictions, reference_set)
        scores = score_sets(reference_set, prediction_set, "all", options, extras=["curve"], keep_outcomes=True)
    except InputError as error:
        raise complain(error, references, predictions) from None
    names = [f"{key}: {reference_set.names[key]}" for key in reference_set.instances]
    state = dict(zip(names, scores.outcomes or (), strict=True))
    curve = scores.curve or {}
    points = pd.DataFrame({"IoU threshold": list(curve), "AP": list(curve.values())})
    told = f"{scores.images} images, {scores.references} references and {scores.predictions} predictions counted."
    choice = gr.update(choices=names, value=names[0], visible=len(names) > 1)
    return state, table(scores), points, choice, view(state, names[0], image), told


def table(scores: OverlapScores) -> pd.DataFrame:
    """AP, F1, precision, recall and counts, a column for each IoU threshold."""
    columns = {"score": [name.upper() if len(name) == 2 else name for name in ROWS]}
    for threshold in scores.options.thresholds:
        columns[f"IoU {threshold:.2f}"] = [shown(getattr(scores.at(threshold), name)) for name in ROWS]
    return pd.DataFrame(columns)


def view(state: dict[str, ImageOutcomes] | None, choice: str | None, image: str | None) -> dict[str, Any]:
    """What the viewer shows of one image, once there is a score: true positives, false positives, missed."""
    if state is None or choice is None:
        return gr.skip()
    outcomes = state[choice]
    predictions, missed = outcomes.predictions, outcomes.false_negatives
    number = len(predictions) + len(missed)
    both = Instances.from_rles([*predictions.rles, *missed.rles], predictions.size, ids=np.arange(1, number + 1))
    kinds = [*outcomes.kinds, *["fn"] * len(missed)]
    pixels = np.full(predictions.size, 60, np.uint8)
    if image:
        pixels = read_upload(image)
        if pixels.shape[:2] != predictions.size:
            raise complain(
                f"{Path(image).name} is {pixels.shape[1]} x {pixels.shape[0]}, its references are of "
                f"{predictions.size[1]} x {predictions.size[0]}"
            )
    legend = [(WORDS[kind], colour) for kind, colour in COLOURS.items()]
    return payload(pixels, both, kinds, COLOURS, legend, counts=list(WORDS.items()))


def tab() -> None:
    """Lay the tab out."""
    state = gr.State(time_to_live=3600)
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
    button.click(score, [references, predictions, flattened, image], outputs, **private)
    choice.input(view, [state, choice, image], shown, **private)
    image.upload(view, [state, choice, image], shown, **private)
