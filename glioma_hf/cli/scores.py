"""`evaluate` and `agreement`: the metric on files, without Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import JOBS_HELP, SCHEDULER_HELP, print_agreement, print_scores, say
from glioma_hf.errors import InputError
from glioma_hf.executor import Workers
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.progress import to_lines

_DEFAULTS = ScoringOptions()
TASK_HELP = "cells (all but somata), soma, cell_a, cell_b, nucleus, a category by its own name, or all."


def evaluate(
    references: Annotated[Path, typer.Option(help="COCO file, folder of label maps, or a prepared data set.")],
    predictions: Annotated[Path, typer.Option(help="COCO results, a COCO file, or a folder of label maps.")],
    task: Annotated[str, typer.Option(help=TASK_HELP)] = "cells",
    split: Annotated[str, typer.Option(help="Of a prepared data set: subset/split, or a split's name.")] = "test",
    threshold: Annotated[list[float], typer.Option(help="IoU; give it again for more.")] = [*_DEFAULTS.thresholds],  # noqa: B006
    flattened: Annotated[bool, typer.Option("--flattened", help="Score without overlaps (Table 4).")] = False,
    priority: Annotated[str, typer.Option(help="With --flattened: which of two references wins, first or last.")] = (
        _DEFAULTS.priority
    ),
    border: Annotated[int, typer.Option(min=0, help="Pixels of frame whose objects are left out.")] = _DEFAULTS.border,
    ignore_border: Annotated[bool, typer.Option(help="What matches a left-out object isn't counted either.")] = False,
    min_area: Annotated[int, typer.Option(min=0, help="Objects of fewer pixels are left out.")] = _DEFAULTS.min_area,
    extra: Annotated[
        list[str], typer.Option(help="curve, panoptic, image_means, interval, best_match, overlapped ...")
    ] = [],  # noqa: B006
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for scores.json, scores.csv, matches.csv and result.json.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="AP curve and overlays of TP, FP, FN into --out.")] = False,
    images: Annotated[Path | None, typer.Option(help="Folder of the images, for the overlays.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="What data prepare would repair becomes an error.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=1024, help=JOBS_HELP)] = 1,
    scheduler: Annotated[str | None, typer.Option(help=SCHEDULER_HELP)] = None,
) -> None:
    """The benchmark's metric on files: AP, F1, precision and recall of instances that may overlap."""
    if plot and out is None:
        raise InputError("--plot writes files: say where with --out")
    options = ScoringOptions(
        tuple(threshold),
        "flattened" if flattened else "overlapping",
        border,
        "ignore" if ignore_border else "exclude",
        min_area,
        priority,  # type: ignore[arg-type]  # checked there
    )
    from glioma_hf.benchmark.scoring import SCORES, evaluate_files
    from glioma_hf.places import check_folder

    if out is not None:  # before any work is done
        check_folder(out, SCORES, [references, predictions, images])

    extras = [*extra, "curve"] if plot else extra
    workers = Workers(jobs, scheduler)
    evaluation = evaluate_files(
        references, predictions, task, split, options, extras, out is not None, strict, to_lines(say), workers
    )
    if out is not None:
        evaluation.write(out, plot, images)
    if json_:
        typer.echo(json.dumps(evaluation.scores.to_dict(), indent=2))
    else:
        print_scores(evaluation.scores, f"{task}, {options.told()}")


def agreement(
    source: Annotated[list[str], typer.Option(help="NAME=PATH of an annotation of the same images; give several.")],
    consensus: Annotated[list[str], typer.Option(help="Names whose majority vote joins as a further source.")] = [],  # noqa: B006
    task: Annotated[str, typer.Option(help=TASK_HELP)] = "cells",
    out: Annotated[Path | None, typer.Option(help="Folder for agreement.json and the plots.")] = None,
) -> None:
    """How far annotations agree: AP of each source against each other, per image and pooled (Table 3)."""
    from glioma_hf.benchmark.scoring import AGREEMENT, agree_files
    from glioma_hf.places import check_folder

    named = dict(item.split("=", 1) for item in source if "=" in item)
    if len(named) < 2 or len(named) != len(source):
        raise InputError("give at least two different --source NAME=PATH, the first with images and sizes (COCO)")
    if out is not None:
        check_folder(out, AGREEMENT, [Path(path) for path in named.values()])
    result = agree_files(named, task, consensus, on_progress=to_lines(say))
    if out is not None:
        result.write(out)
    print_agreement(result.pooled)
