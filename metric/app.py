"""The widget of the metric's Space: two COCO files in, the scores out."""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
MOST_BYTES = 100 * 2**20  # of one file
MOST_LISTS = 2**21  # lists and objects in it: parsed they take many times their bytes


def read(path: str):
    """The content of a JSON file. Raises ValueError for what is none and for more than this page has memory for."""
    with Path(path).open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES or data.count(b"[") + data.count(b"{") > MOST_LISTS:
        most = f"{MOST_BYTES // 2**20} MB or {MOST_LISTS} lists and objects"
        raise ValueError(f"{Path(path).name} holds more than {most}; score it on your own machine")
    return json.loads(data)


def score(references: str | None, predictions: str | None, mode: str):
    """Score COCO results against a COCO file; wrong files are answered by a sentence."""
    try:
        truth, results = (read(path or "") for path in (references, predictions))
        images = {image["id"]: {"width": image["width"], "height": image["height"]} for image in truth["images"]}
        sides = []
        for objects in (results if isinstance(results, list) else results["annotations"], truth["annotations"]):
            grouped = {key: [] for key in images}
            for item in objects:
                grouped[item["image_id"]].append(item)
            sides.append([{**images[key], "objects": items} for key, items in grouped.items()])
        metric = evaluate.load(str(HERE / "overlap_ap.py"))
        scores = metric.compute(predictions=sides[0], references=sides[1], mode=mode)
    except OSError:
        raise gr.Error("Give both files: a COCO file and COCO results.", print_exception=False) from None
    except KeyError as error:
        raise gr.Error(f"The files aren't COCO or don't belong together: {error} is missing.") from None
    except RecursionError:
        raise gr.Error("The files are nested too deeply to be COCO.", print_exception=False) from None
    except (AttributeError, TypeError, ValueError) as error:
        raise gr.Error(f"The files can't be scored: {error}") from None
    return [[name, round(value, 4)] for name, value in scores.items()]


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="Overlap AP") as page:
        gr.Markdown("# Overlap AP\nAP and F1 of instances that may overlap, as the Glioma C6 benchmark counts them.")
        with gr.Row():
            references = gr.File(label="References (COCO file)", file_types=[".json"])
            predictions = gr.File(label="Predictions (COCO results)", file_types=[".json"])
        mode = gr.Radio(["overlapping", "flattened"], value="overlapping", label="Masks")
        button = gr.Button("Score", variant="primary")
        table = gr.Dataframe(headers=["score", "value"], label="Scores")
        button.click(score, [references, predictions, mode], table, api_name="score")
    return page


if __name__ == "__main__":
    build().launch()
