"""The command line: thin, every command loads what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import err, print_matrix, print_scores, quiet_libraries
from glioma_hf.cli.data import data_app
from glioma_hf.cli.models import add_model_commands
from glioma_hf.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The Glioma C6 cell segmentation benchmark.")
app.add_typer(data_app, name="data")
add_model_commands(app)


@app.command()
def evaluate(
    references: Annotated[Path, typer.Option(help="COCO file, folder of label maps, or a prepared data set.")],
    predictions: Annotated[Path, typer.Option(help="COCO results, a COCO file, or a folder of label maps.")],
    task: Annotated[str, typer.Option(help="cells (both types), soma, cell_a, cell_b or all.")] = "cells",
    split: Annotated[str, typer.Option(help="Of a prepared data set.")] = "spec/test",
    threshold: Annotated[list[float], typer.Option(help="IoU; give it again for more.")] = [0.5, 0.75, 0.9],  # noqa: B006
    flattened: Annotated[bool, typer.Option("--flattened", help="Score without overlaps (Table 4).")] = False,
    border: Annotated[int, typer.Option(min=0, help="Pixels of frame whose objects are left out.")] = 2,
    ignore_border: Annotated[bool, typer.Option(help="What matches a left-out object isn't counted either.")] = False,
    min_area: Annotated[int, typer.Option(min=0, help="Objects of fewer pixels are left out.")] = 0,
    extra: Annotated[list[str], typer.Option(help="curve, panoptic, image_means, interval, best_match ...")] = [],  # noqa: B006
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json, scores.csv and matches.csv.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="AP curve and overlays of TP, FP, FN into --out.")] = False,
    images: Annotated[Path | None, typer.Option(help="Folder of the images, for the overlays.")] = None,
) -> None:
    """The benchmark's metric on files: AP, F1, precision and recall of instances that may overlap."""
    import json

    from glioma_hf.benchmark import scoring
    from glioma_hf.benchmark.scoring_files import read_predictions, read_references
    from glioma_hf.files import new_folder
    from glioma_hf.metrics.image_score import ScoringOptions

    check_task(task)
    if plot and out is None:
        raise InputError("--plot writes files: say where with --out")
    options = {
        "thresholds": tuple(threshold),
        "mode": "flattened" if flattened else "overlapping",
        "border": border,
        "border_rule": "ignore" if ignore_border else "exclude",
        "min_area": min_area,
    }
    chosen = ScoringOptions(**options)  # type: ignore[arg-type]
    wanted = read_references(references, split)
    found = read_predictions(predictions, wanted)
    extras = [*extra, *(["curve"] if plot and "curve" not in extra else [])]
    scores = scoring.score_files(wanted, found, task, extras=extras, **options)
    if out is not None:
        with new_folder(out) as folder:
            scoring.write_scores(folder, scores)
            scoring.write_matches(folder, wanted, found, task, chosen)
            if plot:
                scoring.plot_curve(folder / "ap_curve.png", {task: scores}, predictions.name)
                scoring.draw_outcomes(folder, wanted, found, task, chosen, images)
    if json_:
        typer.echo(json.dumps(scores, indent=2))
    else:
        print_scores(scores, f"{task}, {options['mode']}")


@app.command()
def agreement(
    source: Annotated[list[str], typer.Option(help="NAME=PATH of an annotation of the same images; give several.")],
    consensus: Annotated[list[str], typer.Option(help="Names whose majority vote joins as a further source.")] = [],  # noqa: B006
    task: Annotated[str, typer.Option(help="cells (both types), soma, cell_a, cell_b or all.")] = "cells",
    out: Annotated[Path | None, typer.Option(help="Folder for agreement.json and the plots.")] = None,
) -> None:
    """How far annotations agree: AP of each source against each other, per image and pooled (Table 3)."""
    import json

    from glioma_hf.benchmark import scoring
    from glioma_hf.benchmark.scoring_files import read_predictions, read_references
    from glioma_hf.files import new_folder

    check_task(task)
    named = dict(item.split("=", 1) for item in source if "=" in item)
    if len(named) < 2 or len(named) != len(source):
        raise InputError("give at least two different --source NAME=PATH, the first with images and sizes (COCO)")
    paths = {name: Path(path) for name, path in named.items()}
    first = next(iter(paths))
    base = read_references(paths[first])
    sources = {name: base if name == first else read_predictions(path, base) for name, path in paths.items()}
    result = scoring.agree(sources, task, consensus)
    if out is not None:
        with new_folder(out) as folder:
            (folder / "agreement.json").write_text(json.dumps(result, indent=2))
            for score in ("ap50", "ap75", "ap90"):
                scoring.plot_agreement(folder / f"agreement_{score}.png", result["pooled"], score, task)
    print_matrix(result["pooled"], "ap50")


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(help="Port on localhost; a free one if left out.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder made by data prepare, for the tab Explore.")] = None,
) -> None:
    """The Gradio page on localhost."""
    from glioma_hf.resources import load_script

    quiet_libraries()
    if data is not None:
        from glioma_hf.data.prepared import read_prepared

        read_prepared(data)
        os.environ["GLIOMA_HF_DATA"] = str(data.resolve())
    load_script("spaces/demo/app.py").launch(server_name="127.0.0.1", server_port=port)


def check_task(task: str) -> None:
    """Raise `InputError` for a task that isn't the paper's."""
    from glioma_hf.data.features import TASKS

    known = (*TASKS, "all")
    if task not in known:
        raise InputError(f"the task {task!r} isn't known; it is one of {', '.join(known)}")


def main() -> None:
    """Entry point: bad input becomes one line and exit code 2."""
    try:
        app()
    except InputError as error:
        err.print(f"glioma-hf: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("glioma-hf: stopped")
        sys.exit(130)
