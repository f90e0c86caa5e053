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
from glioma_hf.benchmark.scoring import score_files
from glioma_hf.benchmark.scoring_files import InstanceSet, read_predictions, read_references
from glioma_hf.data.images import SUFFIXES
from glioma_hf.metrics.error_analysis import match_objects
from glioma_hf.metrics.image_score import ScoringOptions, scored_objects
from glioma_hf.metrics.overlap_ap import CURVE, percent

EMPTY = "Upload references and predictions, then press <b>Score</b>."
# Okabe and Ito: bluish green, vermillion, sky blue; what was missed is dashed as well.
COLOURS = {"tp": "#009E73", "fp": "#D55E00", "fn": "#56B4E9"}
WORDS = {"tp": "true positives", "fp": "false positives", "fn": "missed"}
ROWS = ("ap", "f1", "precision", "recall", "tp", "fp", "fn")


def score(references: str | None, predictions: str | None, flattened: bool, image: str | None):
    """(state, table, AP curve, choice of images, viewer, status) of a pair of files."""
    if not references or not predictions:
        raise complain("Give a COCO file of references and a file of COCO results.")
    try:
        wanted = read_references(references)
        found = read_predictions(predictions, wanted)
        options = {"mode": "flattened" if flattened else "overlapping"}
        scores = score_files(wanted, found, "all", extras=["curve"], **options)
    except InputError as error:
        raise complain(error, references, predictions) from None
    state = {"wanted": wanted, "found": found, "options": options}
    names = [f"{key}: {name}" for key, name in wanted.names.items()]
    points = pd.DataFrame({"IoU threshold": CURVE, "AP": [scores[f"ap{percent(t)}"] for t in CURVE]})
    told = f"{len(names)} images, {scores['references']} references and {scores['predictions']} predictions counted."
    choice = gr.update(choices=names, value=names[0], visible=len(names) > 1)
    return state, table(scores), points, choice, outcomes(state, names[0], image), told


def table(scores: dict[str, Any]) -> pd.DataFrame:
    """AP, F1, precision, recall and counts, a column for each IoU threshold."""
    columns: dict[str, list[Any]] = {"score": [name.upper() if len(name) == 2 else name for name in ROWS]}
    for percents in ("50", "75", "90"):
        suffix = "" if percents == "50" else f"_{percents}"
        values = [scores[f"ap{percents}"], *(scores[name + suffix] for name in ROWS[1:])]
        columns[f"IoU 0.{percents}"] = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in values]
    return pd.DataFrame(columns)


def outcomes(state: dict | None, choice: str | None, image: str | None) -> dict[str, Any]:
    """The viewer's view of one image, once there is a score: what was found, wrong or missed at an IoU of 0.5."""
    if state is None or choice is None:
        return gr.skip()
    wanted: InstanceSet = state["wanted"]
    key = next(k for k, name in wanted.names.items() if f"{k}: {name}" == choice)
    options = ScoringOptions(**state["options"])
    predicted, reference = (
        scored_objects(state["found"].instances[key], options),
        scored_objects(wanted.instances[key], options),
    )
    pairs = match_objects(predicted, reference, 0.5).pairs
    hit, met = set(pairs[:, 0].tolist()), set(pairs[:, 1].tolist())
    missed = reference.select([j for j in range(len(reference)) if j not in met])
    both = Instances.from_rles(
        [*predicted.rles, *missed.rles], predicted.size, ids=np.arange(1, len(predicted) + len(missed) + 1)
    )
    kinds = ["tp" if i in hit else "fp" for i in range(len(predicted))] + ["fn"] * len(missed)
    pixels = np.full(predicted.size, 60, np.uint8)
    if image:
        pixels = read_upload(image)
        if pixels.shape[:2] != predicted.size:
            raise complain(
                f"{Path(image).name} is {pixels.shape[1]} x {pixels.shape[0]}, its references are of "
                f"{predicted.size[1]} x {predicted.size[0]}"
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
    choice.input(outcomes, [state, choice, image], shown, **private)
    image.upload(outcomes, [state, choice, image], shown, **private)
