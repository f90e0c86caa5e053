"""`transfer`: the study of transfer learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import JOBS_HELP, SCHEDULER_HELP, quiet_libraries, say, tell
from glioma_hf.cli.failures import BAD_INPUT
from glioma_hf.cli.tables import SOME_FAILED, named
from glioma_hf.progress import to_lines


def transfer(
    study: Annotated[str, typer.Argument(help="table1 to table5, t98g, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder for the study; run again, it goes on there.")],
    data: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER of a data set, in place of the study's.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, max=1000, help="In place of the study's own number.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1024, help=JOBS_HELP)] = 1,
    scheduler: Annotated[str | None, typer.Option(help=SCHEDULER_HELP)] = None,
) -> None:
    """A study of start weights over random splits; ends with 1 where rows failed, with 2 where all did."""
    from glioma_hf.executor import Workers
    from glioma_hf.workflows.transfer.run import transfer as run

    quiet_libraries()
    made = run(study, out, named(data, "data"), repeats, Workers(jobs, scheduler), to_lines(say))
    done = sum(len(results) for results in made.results.values())
    before = f", {made.done_before} of them done before" if made.done_before else ""
    tell(f"{done} repeats of {len(made.results)} rows scored{before}; open {out / 'index.html'}")
    if made.failed:
        raise typer.Exit(BAD_INPUT if not done else SOME_FAILED)
