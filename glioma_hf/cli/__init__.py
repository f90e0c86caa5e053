"""The command line: thin, every command loads what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from glioma_hf import __version__
from glioma_hf.cli.console import err, print_matrix, print_scores, quiet_libraries, say
from glioma_hf.cli.data import data_app
from glioma_hf.errors import InputError
from glioma_hf.extras import missing_libraries_named

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(data_app, name="data")
MODEL_HELP = "embedded, a folder, or the Hub name of a SAM or SAM 2, such as facebook/sam-vit-base."
RECIPE_HELP = "quick (minutes on a CPU), paper (CellSeg1's numbers) or a JSON file such as an adapter's training.json."


def print_version(asked: bool) -> None:
    """Say which glioma_hf this is, and end."""
    if asked:
        typer.echo(f"glioma-hf {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Say which, and end.")
    ] = False,
) -> None:
    """The Glioma C6 cell segmentation benchmark."""


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("quickstart"),
    archive: Annotated[
        Path | None, typer.Option(help="Zip or folder in the Glioma C6 layout; generated if left out.")
    ] = None,
    image: Annotated[int, typer.Option(help="Number of the training image, from 1.")] = 1,
    recipe: Annotated[str | None, typer.Option(help=RECIPE_HELP)] = None,
) -> None:
    """The main job, offline: archive, data set, LoRA from one image, predictions, scores, report."""
    from glioma_hf.models.sam.train import read_recipe
    from glioma_hf.workflows.quickstart import quickstart as run

    quiet_libraries()
    scores = run(out, archive, image, None if recipe is None else read_recipe(recipe), say=err.print)
    for name, row in scores["models"].items():
        typer.echo(f"{name}: AP50 {row['ap50']:.3f}, precision {row['precision']:.3f}, recall {row['recall']:.3f}")
    typer.echo(f"open {out / 'report.html'}")


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder made by data prepare.")],
    out: Annotated[Path, typer.Option(help="Folder for the adapter.")],
    image: Annotated[list[int], typer.Option(help="Number of a training image, from 1; may be repeated.")] = [1],  # noqa: B006
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "embedded",
    recipe: Annotated[str, typer.Option(help=RECIPE_HELP)] = "quick",
    task: Annotated[str, typer.Option(help="cells (both types), soma, cell_a or cell_b.")] = "cells",
    resume: Annotated[bool, typer.Option("--resume/--restart", help="Go on with a run that was broken off.")] = True,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Keep a log for TensorBoard as well.")] = False,
) -> None:
    """LoRA fine-tuning of SAM on one image or a few; thresholds are chosen on the validation split."""
    from glioma_hf.models.sam.train import read_recipe
    from glioma_hf.workflows.training import train_adapter

    quiet_libraries()
    ap = train_adapter(data, image, out, model, read_recipe(recipe), say, task, resume, tensorboard)
    if ap == ap:  # one process of several knows
        typer.echo(f"wrote {out}; AP50 {ap:.3f} on the validation images its thresholds were chosen on")


@app.command()
def tune(
    data: Annotated[Path, typer.Option(help="Folder made by data prepare.")],
    adapter: Annotated[Path | None, typer.Option(help="Folder written by train; the thresholds go there.")] = None,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the thresholds instead.")] = None,
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "embedded",
    prompts: Annotated[str | None, typer.Option(help="centres or grid, see predict.")] = None,
    task: Annotated[str, typer.Option(help="cells (both types), soma, cell_a or cell_b.")] = "cells",
) -> None:
    """Choose the thresholds of prediction on the validation split, for an adapter or a base as it is."""
    check_prompts(prompts)
    from glioma_hf.workflows.training import tune_thresholds

    quiet_libraries()
    settings, ap = tune_thresholds(data, model, adapter, out, prompts, task, say)
    typer.echo(f"AP50 {ap:.3f} on the validation images with {settings.model_dump_json()}")


@app.command()
def push(
    adapter: Annotated[Path, typer.Argument(help="Folder written by train.")],
    repo: Annotated[str, typer.Option(help="USER/NAME on the Hub.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be pushed; no network.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
) -> None:
    """An adapter to the Hub: weights, recipe, thresholds, and a card with its scores."""
    from glioma_hf.workflows.training import push_adapter

    quiet_libraries()
    names, url = push_adapter(adapter, repo, private, dry_run)
    typer.echo(f"{'would push' if dry_run else 'pushed and checked'} {', '.join(names)}: {url}")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Images (TIFF, PNG, JPEG or BMP) and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; images done already are skipped.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "embedded",
    adapter: Annotated[Path | None, typer.Option(help="Folder written by train or quickstart.")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="File written by tune, instead of the adapter's.")] = None,
    prompts: Annotated[str | None, typer.Option(help="centres (found by the model) or grid (CellSeg1's way).")] = None,
    diameter: Annotated[float | None, typer.Option(min=2, help="Pixels across a cell, about.")] = None,
    pixel_size: Annotated[float, typer.Option(min=1e-6, help="Say micrometres per pixel, for the shapes.")] = 1.0,
) -> None:
    """Instances of images: COCO results, shapes, overlay, label map and ImageJ regions for each."""
    check_prompts(prompts)
    from glioma_hf.workflows.prediction import find_images, predict_images
    from glioma_hf.workflows.training import open_segmenter

    quiet_libraries()
    paths = find_images(images)
    total = predict_images(paths, open_segmenter(model, adapter, thresholds, prompts, diameter), out, pixel_size, say)
    if total is not None:  # one process of several tells
        typer.echo(f"{total} cells in {len(paths)} images; see {out}")


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
    smallest_area: Annotated[int, typer.Option(min=0, help="Objects of fewer pixels are left out.")] = 0,
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
        "smallest_area": smallest_area,
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


def check_prompts(prompts: str | None) -> None:
    """Raise `InputError` for a kind of prompts that there isn't."""
    if prompts not in (None, "centres", "grid"):
        raise InputError(f"the prompts {prompts!r} aren't known; they are centres or grid")


def check_task(task: str) -> None:
    """Raise `InputError` for a task that isn't the paper's."""
    from glioma_hf.data.features import TASKS

    known = (*TASKS, "all")
    if task not in known:
        raise InputError(f"the task {task!r} isn't known; it is one of {', '.join(known)}")


def main() -> None:
    """Entry point: bad input becomes one line and exit code 2."""
    try:
        with missing_libraries_named():
            app()
    except InputError as error:
        err.print(f"glioma-hf: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("glioma-hf: stopped")
        sys.exit(130)
