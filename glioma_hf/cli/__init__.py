"""The command line: thin, every command loads what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from glioma_hf import __version__
from glioma_hf.cli.console import say
from glioma_hf.cli.data import data_app
from glioma_hf.cli.demo import demo
from glioma_hf.cli.failures import DEBUG, explain
from glioma_hf.cli.leaderboard import leaderboard_app
from glioma_hf.cli.models import predict, push, quickstart, train, tune
from glioma_hf.cli.scores import agreement, evaluate
from glioma_hf.cli.tables import benchmark
from glioma_hf.cli.transfer import transfer
from glioma_hf.extras import missing_libraries_named

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(data_app, name="data")
app.add_typer(leaderboard_app, name="leaderboard")
for command in (quickstart, train, tune, predict, evaluate, agreement, benchmark, transfer, push, demo):
    app.command()(command)


def print_version(given: bool) -> None:
    """Say which glioma_hf this is, and end."""
    if given:
        typer.echo(f"glioma-hf {__version__}")
        raise typer.Exit


def show_traces(given: bool) -> None:
    """Show where errors come from."""
    if given:
        os.environ[DEBUG] = "1"


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Say which, and end.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", callback=show_traces, help="Show where an error comes from, line by line.")
    ] = False,
) -> None:
    """The Glioma C6 cell segmentation benchmark."""


def main() -> None:
    """Entry point: bad input becomes one line and exit code 2; what nobody foresaw one line and exit code 70."""
    os.environ.pop(DEBUG, None)
    try:
        with missing_libraries_named():
            code = app(standalone_mode=False)
    except typer.Abort:
        sys.exit(1)
    except KeyboardInterrupt:
        say("glioma-hf: stopped")
        sys.exit(130)
    except Exception as error:
        code = explain(error)
    if isinstance(code, int):
        sys.exit(code)
