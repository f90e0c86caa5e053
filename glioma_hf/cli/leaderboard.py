"""The commands of the leaderboard: serve it, work for it, fill it, take part in one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from glioma_hf.cli.console import quiet_libraries, say, tell
from glioma_hf.cli.tables import named
from glioma_hf.errors import InputError

leaderboard_app = typer.Typer(no_args_is_help=True, help="The leaderboard: browse, compare, take part.")
PASSWORD = "GLIOMA_HF_PASSWORD"  # in the environment: a password that isn't asked for
SPLIT_HELP = "Subset/split, or a split's name; give it again for more."

Folder = Annotated[
    Path, typer.Option(help="The leaderboard's own folder; DATABASE_URL and LEADERBOARD_RECORD say other places.")
]
_FOLDER = Path("leaderboard")


@leaderboard_app.command()
def serve(
    folder: Folder = _FOLDER,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 7861,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Submissions scored at once here; 0: elsewhere.")] = 1,
    data: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of a prepared data set on which models are run, such as t98g.")
    ] = None,
    rows: Annotated[list[Path] | None, typer.Option(help="Folder of benchmark whose rows are imported.")] = None,
    examples: Annotated[bool, typer.Option(help="Whether it fills itself with these and with synthetic cells.")] = True,
) -> None:
    """The page on localhost; a new one has the paper's figures, and runs the package's models on synthetic cells."""
    quiet_libraries()
    places = {name: Path(place).absolute() for name, place in named(data, "data").items()}
    for place in (*places.values(), *(rows or ())):
        if not place.is_dir():
            raise InputError(f"{place}: no such folder")
    from glioma_hf.resources import load_script

    say(f"http://127.0.0.1:{port}")
    load_script("spaces/leaderboard/app.py").launch(
        folder, port, workers=workers, data=places, rows=rows or (), examples=examples
    )


@leaderboard_app.command()
def worker(
    folder: Folder = _FOLDER,
    number: Annotated[int, typer.Option(min=1, max=64, help="Submissions scored at once.")] = 1,
) -> None:
    """Score what is submitted, until it is stopped; on any number of machines that see database and record."""
    import signal
    import threading

    from glioma_hf.leaderboard.board import Board
    from glioma_hf.leaderboard.scoring import Worker

    board, stopped = Board.open(folder), threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopped.set())
    working = Worker(board, number)
    working.start()
    say("waiting for submissions")
    stopped.wait()
    say("ending, once what is being scored is done")
    working.stop()
    board.close()


@leaderboard_app.command()
def add(
    data: Annotated[str, typer.Argument(help="Folder made by data prepare, or USER/NAME on the Hub.")],
    name: Annotated[str, typer.Option(help="Of the data set, as rows of results call it.")],
    folder: Folder = _FOLDER,
    title: Annotated[str, typer.Option(help="For people.")] = "",
    cell_type: Annotated[str, typer.Option(help="What the images show.")] = "",
    modality: Annotated[str, typer.Option(help="How they were taken.")] = "phase contrast",
    licence: Annotated[str, typer.Option(help="Of the data set.")] = "",
    split: Annotated[list[str], typer.Option(help=SPLIT_HELP)] = ["test"],  # noqa: B006
    objects: Annotated[list[str], typer.Option(help="cells, soma ...; give it again for more.")] = ["cells"],  # noqa: B006
    hidden: Annotated[bool, typer.Option("--hidden", help="No reference of it is ever shown.")] = False,
) -> None:
    """Add a data set and its tasks."""
    from glioma_hf.leaderboard.board import Board
    from glioma_hf.leaderboard.catalogue import add_data_set, begin

    board = Board.open(folder)
    begin(board)
    for task in add_data_set(board, data, name, title, cell_type, modality, licence, split, objects, hidden):
        tell(task)
    board.close()


@leaderboard_app.command("import")
def import_(
    place: Annotated[Path, typer.Argument(help="Folder that benchmark wrote, or a file of one row.")],
    name: Annotated[str, typer.Option(help="Of the developer whose models they are; made where nobody is called so.")],
    folder: Folder = _FOLDER,
    about: Annotated[
        Path | None, typer.Option(help="YAML: by model its licence, zero_shot, backbone, card and the like.")
    ] = None,
) -> None:
    """Put rows of benchmark on the leaderboard, published; once more, in the place of what was there."""
    from glioma_hf.leaderboard.board import Board
    from glioma_hf.leaderboard.imports import import_rows, read_about

    known, board = read_about(about) if about else None, Board.open(folder)
    made, left_out = import_rows(board, place, name, known)
    for row in made:
        tell(row)
    for row in left_out:
        say(f"left out, as it has no scores: {row}")
    board.close()


@leaderboard_app.command()
def account(
    name: Annotated[str, typer.Argument(help="Of the developer.")],
    folder: Folder = _FOLDER,
    maintainer: Annotated[bool, typer.Option("--maintainer", help="Data sets are theirs to add.")] = False,
    new_password: Annotated[
        bool,
        typer.Option("--new-password", help="Of an account that is there, for who forgot theirs; its role stays."),
    ] = False,
) -> None:
    """Make an account, or a maintainer of one that is there; the password is asked for (or GLIOMA_HF_PASSWORD)."""
    from glioma_hf.leaderboard.accounts import add_account, has_account, set_password, set_role
    from glioma_hf.leaderboard.board import Board
    from glioma_hf.leaderboard.words import DEVELOPER, MAINTAINER

    board, role = Board.open(folder), MAINTAINER if maintainer else DEVELOPER
    if new_password:
        set_password(board, name, _password(new=True))
    elif has_account(board, name):
        set_role(board, name, role)
    else:
        add_account(board, name, _password(new=True), role)
    tell(f"{name} has another password" if new_password else f"{name} is a {role}")
    board.close()


@leaderboard_app.command()
def rebuild(
    database: Annotated[str, typer.Option(help="File of SQLite that isn't there yet, or an empty database.")],
    record: Annotated[str, typer.Option(help="Folder of the record, or hf://USER/NAME.")],
) -> None:
    """Make the database from its durable record alone."""
    from glioma_hf.leaderboard.database import rebuild as from_record
    from glioma_hf.leaderboard.record import written_record

    rows = from_record(database, written_record(record))
    tell(f"{rows} rows")


@leaderboard_app.command()
def submit(
    file: Annotated[
        str,
        typer.Argument(help="COCO results, a zip of label maps or of a saved model; or a model's name, as on the Hub."),
    ],
    task: Annotated[str, typer.Option(help="Its name, as the page Tasks has it.")],
    model: Annotated[str, typer.Option(help="What the model is called.")],
    name: Annotated[str, typer.Option(help="Yours.")],
    url: Annotated[str, typer.Option(help="Of the leaderboard.")] = "http://127.0.0.1:7861",
    kind: Annotated[str, typer.Option(help="results, label_maps or model.")] = "results",
    wait: Annotated[bool, typer.Option("--wait", help="Until it is scored.")] = False,
) -> None:
    """Send predictions or a model to a leaderboard; the password is asked for (or GLIOMA_HF_PASSWORD)."""
    from glioma_hf.leaderboard.client import send

    by_name = file if kind == "model" and not Path(file).exists() else ""
    sent = send(url, name, _password(), None if by_name else file, task, model, kind, wait, by_name)
    tell(f"{sent['id']} {sent['state']}")
    if sent["told"]:
        tell(sent["told"])
    if sent["state"] == "failed":
        raise InputError(f"{file}: it wasn't scored ({sent['told']})")


def _password(new: bool = False) -> str:
    given = os.environ.get(PASSWORD)
    return given if given is not None else str(typer.prompt("Password", hide_input=True, confirmation_prompt=new))
