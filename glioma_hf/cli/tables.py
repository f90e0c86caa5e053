"""`benchmark`: a table of models, tasks and modes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import JOBS_HELP, SCHEDULER_HELP, quiet_libraries, say, tell
from glioma_hf.cli.failures import BAD_INPUT
from glioma_hf.errors import InputError
from glioma_hf.progress import to_lines

SOME_FAILED = 1


def benchmark(
    table: Annotated[str, typer.Argument(help="table2, table3, table4, t98g, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder for the table; run again, it goes on there.")],
    data: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER of a data set, in place of the table's.")] = None,
    from_: Annotated[
        list[str] | None, typer.Option("--from", help="NAME=PATH of predictions of any tool: COCO, or label maps.")
    ] = None,
    annotator: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH of annotations whose majority vote is the reference.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1024, help=JOBS_HELP)] = 1,
    scheduler: Annotated[str | None, typer.Option(help=SCHEDULER_HELP)] = None,
) -> None:
    """A table: trains, predicts and scores what it asks for; ends with 1 where cells failed, with 2 where all did."""
    from glioma_hf.executor import Workers
    from glioma_hf.workflows.tables.run import benchmark as run

    quiet_libraries()
    places = [named(given, option) for given, option in ((data, "data"), (from_, "from"), (annotator, "annotator"))]
    made = run(table, out, places[0], places[1], places[2], Workers(jobs, scheduler), to_lines(say))
    failed = made.failed
    before = f", {made.done_before} of them done before" if made.done_before else ""
    tell(f"{len(made.cells) - len(failed)} of {len(made.cells)} cells scored{before}; open {out / 'index.html'}")
    if failed:
        raise typer.Exit(BAD_INPUT if len(failed) == len(made.cells) else SOME_FAILED)


def named(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Places by name. Raises `InputError` for what isn't NAME=PLACE, and for a name that comes twice."""
    given = given or []
    places = dict(item.split("=", 1) for item in given if "=" in item)
    if len(places) != len(given) or not all(name and place for name, place in places.items()):
        raise InputError(f"--{option} is NAME=PATH, a name each; it was given {', '.join(given)}")
    return places
