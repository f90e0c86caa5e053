"""The command line: thin, every command loads what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from glioma_hf.errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The Glioma C6 cell segmentation benchmark.")
data_app = typer.Typer(no_args_is_help=True, help="Make and prepare data sets.")
app.add_typer(data_app, name="data")
MODEL_HELP = "embedded, a folder, or a Hub name such as facebook/sam-vit-base."
SOURCE_HELP = "glioma_c6, neurips22, livecell, tissuenet or dynamicnuclearnet."
err = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("quickstart"),
    archive: Annotated[
        Path | None, typer.Option(help="Zip or folder in the Glioma C6 layout; generated if left out.")
    ] = None,
    image: Annotated[int, typer.Option(help="Number of the training image, from 1.")] = 1,
) -> None:
    """The main job, offline: archive, data set, LoRA from one image, predictions, scores, report."""
    from glioma_hf.benchmark.quickstart import quickstart as run

    quiet_libraries()
    scores = run(out, archive, image, say=err.print)
    for name, row in scores["models"].items():
        typer.echo(f"{name}: AP50 {row['ap50']:.3f}, precision {row['precision']:.3f}, recall {row['recall']:.3f}")
    typer.echo(f"open {out / 'report.html'}")


@data_app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="The zip to write.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    train: Annotated[int, typer.Option(min=0)] = 4,
    valid: Annotated[int, typer.Option(min=0)] = 2,
    test: Annotated[int, typer.Option(min=0)] = 2,
    gen: Annotated[int, typer.Option(min=0)] = 2,
    width: Annotated[int, typer.Option(min=64, max=8192)] = 512,
    height: Annotated[int, typer.Option(min=64, max=8192)] = 384,
) -> None:
    """An archive in the Glioma C6 layout, of generated images."""
    from glioma_hf.data.synthetic import SceneConfig
    from glioma_hf.data.synthetic_archive import SyntheticArchiveConfig, write_synthetic_archive

    scene = SceneConfig(width=width, height=height)
    config = SyntheticArchiveConfig(train=train, valid=valid, test=test, gen=gen, scene=scene)
    write_synthetic_archive(out, seed, config, progress=err.print)
    typer.echo(f"wrote {out}")


@data_app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="Folder that load_dataset will open.")],
    archive: Annotated[Path | None, typer.Option(help="Zip or folder in the Glioma C6 layout.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it from Zenodo (947 MB), resumed if broken.")
    ] = False,
    keep: Annotated[Path, typer.Option(help="Where --download puts the archive.")] = Path("dataset.zip"),
    source: Annotated[str, typer.Option(help=SOURCE_HELP)] = "glioma_c6",
    strict: Annotated[bool, typer.Option("--strict", help="What would be repaired becomes an error.")] = False,
) -> None:
    """An archive -> a folder that load_dataset opens. Run again, it goes on where it was broken off."""
    from glioma_hf.data.publishing import prepare as run
    from glioma_hf.data.sources import get_source

    if (archive is None) != download:
        raise InputError("give either --archive PATH or --download")
    if archive is None:
        if source != "glioma_c6":
            raise InputError(f"--download fetches Glioma C6 alone; get {source} yourself and give --archive PATH")
        archive = fetch(keep)
    prepared = run(archive, out, say, source, strict)
    for split in prepared.splits:
        counts = ", ".join(f"{count} {name}" for name, count in split.objects.items() if count)
        typer.echo(f"{split.subset}/{split.split}: {split.images} images, {counts or 'no objects'}")
    if differences := get_source(source).differences(prepared.splits):
        typer.echo(f"against {get_source(source).title} as published: {'; '.join(differences)}")
    typer.echo("repaired: " + (", ".join(f"{n} {kind}" for kind, n in prepared.repairs.items()) or "nothing"))


@data_app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder made by data prepare.")],
    repo: Annotated[str, typer.Option(help="USER/NAME on the Hub.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write to --out what would be pushed; no network.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for that tree; with --dry-run.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
) -> None:
    """A prepared data set to the Hub: Parquet, card and figures. What arrives is compared with what was sent."""
    import tempfile

    from glioma_hf.data import hub
    from glioma_hf.files import new_folder

    hub.check_repo(repo)
    if dry_run != (out is not None):
        raise InputError("give --dry-run and --out FOLDER together, or neither to push")
    if out is not None:
        with new_folder(out) as tree:
            names = hub.build_tree(folder, tree, repo, say)
        typer.echo(f"wrote {len(names)} files to {out}; nothing was pushed")
        return
    with tempfile.TemporaryDirectory() as work:
        names = hub.build_tree(folder, Path(work), repo, say)
        say(f"pushing {len(names)} files to {repo}")
        typer.echo(f"pushed and checked {len(names)} files: {hub.push(Path(work), names, repo, private)}")


@data_app.command()
def stats(
    folders: Annotated[list[Path], typer.Argument(help="Folders made by data prepare; several are compared.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and figures.")],
) -> None:
    """Table 1 and the shape figures of the paper: overview.json, objects.csv and plots."""
    import json

    from glioma_hf.data import statistics
    from glioma_hf.files import new_folder

    if len({folder.name for folder in folders}) < len(folders):
        raise InputError("data sets are told apart by their folders' names: give folders of different names")
    sets = {folder.name: statistics.measure_objects(folder, err.print) for folder in folders}
    tables = {folder.name: statistics.overview(folder) for folder in folders}
    with new_folder(out) as work:
        (work / "overview.json").write_text(json.dumps(tables, indent=2))
        for name, objects in sets.items():
            (work / name).mkdir()
            objects.to_csv(work / name / "objects.csv", index=False, float_format="%.6g")
            statistics.plot_figures(objects, work / name, name)
        if len(sets) > 1:
            statistics.plot_comparison(sets, work)
    for name, parts in tables.items():
        for part in parts:
            typer.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in part.items() if value))


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder made by data prepare.")],
    out: Annotated[Path, typer.Option(help="Folder for the adapter.")],
    image: Annotated[list[int], typer.Option(help="Number of a training image, from 1; may be repeated.")] = [1],  # noqa: B006
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "embedded",
    recipe: Annotated[str, typer.Option(help="quick (minutes on a CPU) or paper (CellSeg1's numbers).")] = "quick",
    task: Annotated[str, typer.Option(help="cells (both types), soma, cell_a or cell_b.")] = "cells",
) -> None:
    """LoRA fine-tuning of SAM on one image or a few; thresholds are chosen on the validation split."""
    if recipe not in ("quick", "paper"):
        raise InputError(f"the recipe {recipe!r} isn't known; it is quick or paper")
    from glioma_hf.benchmark.jobs import train_adapter
    from glioma_hf.models.sam.train import QUICK, TrainSettings

    quiet_libraries()
    settings = QUICK if recipe == "quick" else TrainSettings()
    ap = train_adapter(data, image, out, model, settings, say, task)
    typer.echo(f"wrote {out}; AP50 {ap:.3f} on the validation images its thresholds were chosen on")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="TIFF, PNG, JPEG or BMP, 8 or 16 bit.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; images done already are skipped.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = "embedded",
    adapter: Annotated[Path | None, typer.Option(help="Folder written by train or quickstart.")] = None,
    pixel_size: Annotated[float, typer.Option(min=1e-6, help="Say micrometres per pixel, for the shapes.")] = 1.0,
) -> None:
    """Instances of images: COCO results, a table of shapes and an overlay for each."""
    from glioma_hf.benchmark.jobs import open_segmenter, predict_images

    quiet_libraries()
    total = predict_images(images, open_segmenter(model, adapter), out, pixel_size, say=err.print)
    typer.echo(f"{total} cells in {len(images)} images; see {out}")


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

    from glioma_hf.benchmark import evaluation
    from glioma_hf.data.scoring_files import read_predictions, read_references
    from glioma_hf.files import new_folder
    from glioma_hf.metrics.image_score import Options

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
    chosen = Options(**options)  # type: ignore[arg-type]
    wanted = read_references(references, split)
    found = read_predictions(predictions, wanted)
    extras = [*extra, *(["curve"] if plot and "curve" not in extra else [])]
    scores = evaluation.score_files(wanted, found, task, extras=extras, **options)
    if out is not None:
        with new_folder(out) as folder:
            evaluation.write_scores(folder, scores)
            evaluation.write_matches(folder, wanted, found, task, chosen)
            if plot:
                evaluation.plot_curve(folder / "ap_curve.png", {task: scores}, predictions.name)
                evaluation.draw_outcomes(folder, wanted, found, task, chosen, images)
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

    from glioma_hf.benchmark import evaluation
    from glioma_hf.data.scoring_files import read_predictions, read_references
    from glioma_hf.files import new_folder

    check_task(task)
    named = dict(item.split("=", 1) for item in source if "=" in item)
    if len(named) < 2 or len(named) != len(source):
        raise InputError("give at least two different --source NAME=PATH, the first with images and sizes (COCO)")
    paths = {name: Path(path) for name, path in named.items()}
    first = next(iter(paths))
    base = read_references(paths[first])
    sources = {name: base if name == first else read_predictions(path, base) for name, path in paths.items()}
    result = evaluation.agree(sources, task, consensus)
    if out is not None:
        with new_folder(out) as folder:
            (folder / "agreement.json").write_text(json.dumps(result, indent=2))
            for score in ("ap50", "ap75", "ap90"):
                evaluation.plot_agreement(folder / f"agreement_{score}.png", result["pooled"], score, task)
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


def say(line: str) -> None:
    """One line of progress."""
    err.print(line, markup=False)


def fetch(target: Path) -> Path:
    """The archive from Zenodo, with a progress bar."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from glioma_hf.data.download import download, find_remote

    remote = find_remote()
    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task(target.name, total=remote.size)
        return download(remote, target, lambda done, total: bar.update(task, completed=done))


def check_task(task: str) -> None:
    """Raise `InputError` for a task that isn't the paper's."""
    from glioma_hf.data.features import TASKS

    known = (*TASKS, "all")
    if task not in known:
        raise InputError(f"the task {task!r} isn't known; it is one of {', '.join(known)}")


def print_scores(scores: dict[str, Any], title: str) -> None:
    """Two tables: what there is at each threshold, a column each, and the rest."""
    from rich.table import Table

    def shown(value: float | int) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    suffixes = [name.removeprefix("tp") for name in scores if name == "tp" or name.startswith("tp_")]
    first = next(name for name in scores if name.startswith("ap")).removeprefix("ap")
    percents = [suffix.removeprefix("_") or first for suffix in suffixes]
    rows = {name: [name + s for s in suffixes] for name in ("precision", "recall", "f1", "tp", "fp", "fn")}
    rows = {"ap": [f"ap{p}" for p in percents]} | rows
    table = Table("IoU", *(f"{float(p) / 100:g}" for p in percents), title=title)
    for name, keys in rows.items():
        table.add_row(name, *(shown(scores[key]) for key in keys))
    rest = Table("score", "value")
    told = {key for keys in rows.values() for key in keys}
    for name in scores:
        if name not in told:
            rest.add_row(name, shown(scores[name]))
    console = Console()
    console.print(table, rest)


def print_matrix(matrix: dict[str, dict[str, dict[str, float]]], score: str) -> None:
    """One score of every source against every other."""
    from rich.table import Table

    table = Table(score, *matrix)
    for name, row in matrix.items():
        table.add_row(name, *(f"{cell[score]:.4f}" for cell in row.values()))
    Console().print(table)


def quiet_libraries() -> None:
    """No chatter and no look-ups on the network from the libraries below."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")


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


if __name__ == "__main__":
    main()
