"""The command line's commands that train models and use them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glioma_hf.cli.console import JOBS_HELP, SCHEDULER_HELP, quiet_libraries, say, tell
from glioma_hf.errors import InputError
from glioma_hf.progress import to_lines

MODEL_HELP = (
    "embedded, a folder, or the Hub name of a SAM or SAM 2, such as facebook/sam-vit-base; or FAMILY:BASE, such as "
    "centres:FOLDER."
)
RECIPE_HELP = (
    "A recipe of the model's family, such as quick (minutes on a CPU), SAM's paper or centres' full, or a JSON file "
    "of one."
)
TASK_HELP = "cells (both types), soma, cell_a, cell_b, nucleus or all, as far as the data set has them."
ADAPTER_HELP = "Folder written by train or quickstart."
PROMPTS_HELP = "Of SAM: centres (found by the model), grid (CellSeg1's way) or model (what --finder finds)."
UNLABELLED_HELP = (
    "An image, or a folder of them, to learn from too, by what a model surely finds there; may be repeated."
)
TEACHER_HELP = "The model that labels those; without it one is trained on the labelled images first."
COMPARED_HELP = "A base model, one of a family; may be repeated. The embedded SAM and centres:general if left out."
DIAMETER_HELP = "Pixels across a cell, about; looked up in each image if left out, 0 for as large as in training."
VIEWS_HELP = "In how many mirrored views an image is seen: slower and a little better; the model decides if left out."
PIXEL_SIZE_HELP = "Micrometres per pixel, for the shapes; as the image's file says if left out, 0 for shapes in pixels."
FINDER_HELP = "Another model, such as a folder of the family centres: SAM is asked for the cells that it finds."
BOXES_HELP = "Ask with the boxes of what the finder finds too, which published SAMs know how to read."


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("quickstart"),
    archive: Annotated[
        Path | None, typer.Option(help="Zip or folder in the Glioma C6 layout; synthetic images if left out.")
    ] = None,
    image: Annotated[int, typer.Option(help="Number of the training image, from 1.")] = 1,
    recipe: Annotated[str | None, typer.Option(help=RECIPE_HELP)] = None,
    model: Annotated[list[str] | None, typer.Option(help=COMPARED_HELP)] = None,
) -> None:
    """The main job, offline: archive, data set, training on one image, predictions, scores, report."""
    from glioma_hf.workflows.quickstart import COMPARED
    from glioma_hf.workflows.quickstart import quickstart as run

    quiet_libraries()
    scores = run(out, archive, image, recipe, model or COMPARED, to_lines(say))
    for name, row in scores["models"].items():
        tell(f"{name}: AP50 {row['ap50']:.3f}, precision {row['precision']:.3f}, recall {row['recall']:.3f}")
    tell(f"open {out / 'report.html'}")


def train(
    data: Annotated[Path, typer.Option(help="Folder made by data prepare.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    image: Annotated[list[int], typer.Option(help="Number of a training image, from 1; may be repeated.")] = [1],  # noqa: B006
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "embedded",
    recipe: Annotated[str | None, typer.Option(help=RECIPE_HELP)] = None,
    task: Annotated[str, typer.Option(help=TASK_HELP)] = "cells",
    resume: Annotated[bool, typer.Option("--resume/--restart", help="Go on with a run that was broken off.")] = True,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Keep a log for TensorBoard as well.")] = False,
    unlabelled: Annotated[list[Path] | None, typer.Option(help=UNLABELLED_HELP)] = None,
    teacher: Annotated[str | None, typer.Option(help=TEACHER_HELP)] = None,
) -> None:
    """Fine-tuning on one image or a few; thresholds are chosen on the validation split."""
    from glioma_hf.workflows.training import train as run

    quiet_libraries()
    scores = run(data, image, out, model, recipe, task, to_lines(say), resume, tensorboard, unlabelled or (), teacher)
    if scores is None:  # another process tells
        return
    if scores.validation_ap50 is None:
        tell(f"wrote {out}; there are no validation images to choose thresholds on")
    else:
        tell(f"wrote {out}; AP50 {scores.validation_ap50:.3f} on the validation images of its thresholds")


def tune(
    data: Annotated[Path, typer.Option(help="Folder made by data prepare.")],
    adapter: Annotated[Path | None, typer.Option(help=f"{ADAPTER_HELP} The thresholds go there.")] = None,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the thresholds instead.")] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    prompts: Annotated[str | None, typer.Option(help=PROMPTS_HELP)] = None,
    finder: Annotated[str | None, typer.Option(help=FINDER_HELP)] = None,
    boxes: Annotated[bool | None, typer.Option("--boxes", help=BOXES_HELP)] = None,
    task: Annotated[str, typer.Option(help=TASK_HELP)] = "cells",
) -> None:
    """Choose the thresholds of prediction on the validation split, for a saved model or a base as it is."""
    from glioma_hf.workflows.training import tune as run

    quiet_libraries()
    segmenter, ap = run(
        data, model, adapter, out, task, to_lines(say), **_given(prompts=prompts, finder=finder, prompt_boxes=boxes)
    )
    tell(f"AP50 {ap:.3f} on the validation images with {segmenter.settings.model_dump_json()}")


def push(
    adapter: Annotated[Path, typer.Argument(help=ADAPTER_HELP)],
    repo: Annotated[str, typer.Option(help="USER/NAME on the Hub.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be pushed; no network.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
) -> None:
    """A saved model to the Hub: weights, recipe, thresholds, and a card with its scores."""
    from glioma_hf.workflows.pushing import push_model

    quiet_libraries()
    names, url = push_model(adapter, repo, private, dry_run)
    tell(f"{'would push' if dry_run else 'pushed and checked'} {', '.join(names)}: {url}")


def predict(
    images: Annotated[list[Path], typer.Argument(help="Images (TIFF, PNG, JPEG or BMP) and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; images done already are skipped.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    adapter: Annotated[Path | None, typer.Option(help=ADAPTER_HELP)] = None,
    thresholds: Annotated[Path | None, typer.Option(help="File written by tune, instead of the adapter's.")] = None,
    prompts: Annotated[str | None, typer.Option(help=PROMPTS_HELP)] = None,
    finder: Annotated[str | None, typer.Option(help=FINDER_HELP)] = None,
    boxes: Annotated[bool | None, typer.Option("--boxes", help=BOXES_HELP)] = None,
    diameter: Annotated[float | None, typer.Option(help=DIAMETER_HELP)] = None,
    views: Annotated[int | None, typer.Option(min=1, max=8, help=VIEWS_HELP)] = None,
    pixel_size: Annotated[float | None, typer.Option(help=PIXEL_SIZE_HELP)] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1024, help=JOBS_HELP)] = 1,
    scheduler: Annotated[str | None, typer.Option(help=SCHEDULER_HELP)] = None,
) -> None:
    """Instances of images: COCO results, shapes, overlay, label map, ImageJ and QuPath regions; one table of all."""
    from glioma_hf.executor import Workers
    from glioma_hf.models import load_segmenter
    from glioma_hf.workflows.prediction import find_images
    from glioma_hf.workflows.prediction import predict as run

    quiet_libraries()
    if diameter is not None and not (diameter == 0 or 2 <= diameter <= 10**5):
        raise InputError(f"--diameter {diameter:g}: a cell is 2 pixels across or more; 0 for as large as in training")
    if pixel_size is not None and not (pixel_size == 0 or 1e-6 <= pixel_size <= 10**6):
        raise InputError(f"--pixel-size {pixel_size:g}: give micrometres per pixel; 0 for shapes in pixels")
    paths = find_images(images)
    settings = _given(prompts=prompts, finder=finder, prompt_boxes=boxes, views=views)
    segmenter = load_segmenter(model, adapter, thresholds, diameter or None, **settings)
    predicted = run(
        paths,
        out,
        segmenter,
        pixel_size,
        to_lines(say),
        workers=Workers(jobs, scheduler),
        estimate=diameter is None,
    )
    if predicted is not None:  # one process of several tells
        tell(f"{predicted.cells} cells in {predicted.images} images; see {out}")


def _given(**settings: Any) -> dict[str, Any]:
    """The settings that were given at all."""
    return {name: value for name, value in settings.items() if value is not None}
