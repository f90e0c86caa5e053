"""Submissions as developers see them: sent, checked at once, withdrawn, published."""

from __future__ import annotations

import datetime
import re
import shutil
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from glioma_hf.errors import InputError
from glioma_hf.files import checksum
from glioma_hf.leaderboard import bounded
from glioma_hf.leaderboard.board import Board, folder_of
from glioma_hf.leaderboard.tables import (
    Developer,
    Lease,
    Model,
    Performance,
    Prediction,
    Scoring,
    Submission,
    Task,
    new_id,
    now,
)
from glioma_hf.leaderboard.words import KINDS, LABEL_MAPS, MAINTAINER, MODEL, RESULTS, STANDING, WITHDRAWN

ENDINGS = {RESULTS: (".json",), LABEL_MAPS: (".zip",), MODEL: (".zip",)}
MAX_TEXT = 20_000  # signs of a card
_PILED = re.compile("M{6}")  # categories of marks on one letter: they would reach over the lines beside them
_BLANK = "\u2800\u3164\u115f\u1160\uffa0"  # letters and symbols that show nothing: a link of them can't be seen


@dataclass(frozen=True)
class ModelFacts:
    """What a developer says of a model. Raises `InputError` for what doesn't fit."""

    name: str
    backbone: str = ""
    learning_method: str = ""
    zero_shot: bool = False
    num_params: int | None = None
    licence: str = ""
    paper_url: str = ""
    code_url: str = ""
    card: str = ""

    def __post_init__(self) -> None:
        longest = {"name": 120, "backbone": 120, "learning_method": 200, "licence": 80, "card": MAX_TEXT}
        for field, most in longest.items():
            text = getattr(self, field)
            if len(text) > most or not all(c.isprintable() or (field == "card" and c in "\n\r\t") for c in text):
                raise InputError(f"the model's {field.replace('_', ' ')} is plain text of up to {most} signs")
            if _PILED.search("".join(unicodedata.category(sign)[0] for sign in text)):
                raise InputError(f"the model's {field.replace('_', ' ')} has too many marks on one letter; drop some")
        if not any(unicodedata.category(sign)[0] in "LNPS" and sign not in _BLANK for sign in self.name):
            raise InputError("a model has a name; give one")
        for field in ("paper_url", "code_url"):
            if (address := getattr(self, field)) and not _is_address(address):
                raise InputError(
                    f"the model's {field.replace('_url', ' address')} begins with https:// and names a site"
                )
        if self.num_params is not None and not 0 <= self.num_params < 2**62:
            raise InputError("the number of a model's parameters is 0 or more")


def submit(
    board: Board, developer: str, task: str, kind: str, file: str | Path | None, model: ModelFacts, name: str = ""
) -> str:
    """Take a submission, checked as `glioma-hf evaluate` would; once its id is returned it is in the record.

    Args:
        developer, task: ids, or the task's name.
        kind: "results" (COCO results, a COCO file), "label_maps" (a zip of them), "model" (a zip of a saved model).
        file: what is sent, called `name` in all that is said; None for a model that is called `name` on the Hub, or
            that comes with the package.
        model: the developer's own of this name is made or brought up to date.

    Raises `InputError` for what can't be scored and where a limit is passed; nothing is kept then.
    """
    if kind not in KINDS:
        raise InputError(f"a submission is one of {', '.join(KINDS)}, not {kind[:40]!r}")
    if file is None:
        name = _name_of_model(kind, name)
    else:
        name = _plain_name(name or Path(file).name)
        if not name.lower().endswith(ENDINGS[kind]):
            raise InputError(f"{name}: {kind.replace('_', ' ')} are sent as {ENDINGS[kind][0]}")
        if (size := Path(file).stat().st_size) > board.limits.bytes:
            raise InputError(f"{name}: {size >> 20} MB, more than the {board.limits.bytes >> 20} MB that are taken")
    with board.database.reading() as session:
        scored = _task(session, task)
        _check_room(session, board, developer, scored, model)
        data, facts = folder_of(scored.data_set), {"split": scored.split, "objects": scored.objects}
    submission = new_id()
    with board.checking(), board.work_folder() as folder:
        if file is None:
            found = bounded.run(bounded.FETCH, folder, {"name": name}, board.limits.check)
        else:
            shutil.copyfile(file, folder / name)
            asked = {"kind": kind, "file": name, "data": str(data), **facts}
            found = bounded.run("check", folder, asked, board.limits.check)
        kept = folder / found["kept"]
        payload = f"{'models' if kind == MODEL else 'predictions'}/{submission}{kept.suffix}"
        board.database.record.keep(payload, kept)
        digest = checksum(kept)
    row = Submission(
        id=submission,
        developer_id=developer,
        kind=kind,
        file_name=found["called"],
        payload=payload,
        sha256=digest,
        told="; ".join(found["notes"]),
    )
    try:
        with board.database.writing() as session:
            scored = _task(session, task)
            session.get(Developer, developer, with_for_update={"of": Developer})  # two at once are counted one by one
            _check_room(session, board, developer, scored, model)
            row.model_id, row.task_id = find_model(session, developer, model).id, scored.id
            session.add(row)
    except BaseException as error:
        board.database.record.drop(payload)
        if isinstance(error, IntegrityError):  # the same at the same moment
            raise _stands_already(model.name) from None
        raise
    board.queue.put(submission)
    return submission


def withdraw(board: Board, developer: str, submission: str) -> None:
    """Take back a submission: its scores go, its files too; a model that has no other is its developer's alone again.

    Raises `InputError` for one of somebody else's.
    """
    with board.database.writing() as session:
        row = _own(session, developer, submission)
        if row.state == WITHDRAWN:
            return
        for table in (Performance, Scoring, Prediction):
            for item in session.scalars(select(table).filter_by(model_id=row.model_id, task_id=row.task_id)).unique():
                if row.state in STANDING:
                    session.delete(item)
        session.execute(delete(Lease).where(Lease.submission_id == row.id))
        row.state, row.finished, row.told = WITHDRAWN, now(), ""
        payloads = [row.payload, *([f"predictions/{row.id}.parquet"] if row.kind == MODEL else [])]
        session.flush()
        left = select(Submission.id).where(Submission.model_id == row.model_id, Submission.state.in_(STANDING))
        if session.scalars(left.limit(1)).first() is None and not _has_scores(session, row.model_id):
            row.model.published = False  # with nothing to show; what is sent under its name next is seen by nobody else
    for payload in payloads:
        board.database.record.drop(payload)


def publish(board: Board, developer: str, model: str, published: bool = True) -> None:
    """Show a model and its scores to everybody, or to its developer alone again."""
    with board.database.writing() as session:
        row = session.get(Model, model, with_for_update={"of": Model})
        if row is None or not (row.developer_id == developer or _is_maintainer(session, developer)):
            raise InputError("there is no such model of yours")
        row.published = published


def own_submissions(session: Session, developer: str) -> list[Submission]:
    """A developer's submissions, the newest first."""
    chosen = select(Submission).filter_by(developer_id=developer).order_by(Submission.created.desc(), Submission.id)
    return list(session.scalars(chosen.limit(200)).unique())


def _task(session: Session, task: str) -> Task:
    found = session.get(Task, task) or session.scalars(select(Task).filter_by(name=task)).first()
    if found is None:
        raise InputError(f"there is no task {task[:80]!r}; the page Tasks lists them")
    return found


def _check_room(session: Session, board: Board, developer: str, task: Task, model: ModelFacts) -> None:
    """Raise `InputError` where a limit is passed, or where the model has a submission for the task."""
    if session.get(Developer, developer) is None:
        raise InputError("log in to take part")
    since = now() - datetime.timedelta(days=1)
    sent = session.scalar(
        select(func.count())
        .select_from(Submission)
        .where(Submission.developer_id == developer, Submission.created > since)
    )
    if (sent or 0) >= board.limits.per_day:
        raise InputError(f"{board.limits.per_day} submissions a day are taken of everyone; send this one tomorrow")
    stands = (
        select(Submission.id)
        .join(Model)
        .where(Model.developer_id == developer, Model.name == model.name)
        .where(Submission.task_id == task.id, Submission.state.in_(STANDING))
    )
    if session.scalars(stands).first() is not None:
        raise _stands_already(model.name)


def _stands_already(name: str) -> InputError:
    return InputError(f"{name} has a submission for this task already; withdraw it first, or give another name")


def find_model(session: Session, developer: str, facts: ModelFacts) -> Model:
    """The developer's model of that name, made if need be, with what is said of it now."""
    found = session.scalars(select(Model).filter_by(developer_id=developer, name=facts.name)).unique().first()
    model = found or Model(developer_id=developer, name=facts.name)
    for field, value in vars(facts).items():
        if value or found is None:
            setattr(model, field, value)
    session.add(model)
    session.flush()
    return model


def _has_scores(session: Session, model: str) -> bool:
    """Whether a model has scores, of rows that were imported, say."""
    return session.scalars(select(Performance.model_id).filter_by(model_id=model).limit(1)).first() is not None


def _own(session: Session, developer: str, submission: str) -> Submission:
    row = session.get(Submission, submission, with_for_update={"of": Submission})
    if row is None or not (row.developer_id == developer or _is_maintainer(session, developer)):
        raise InputError("there is no such submission of yours")
    return row


def _is_maintainer(session: Session, developer: str) -> bool:
    found = session.get(Developer, developer)
    return found is not None and found.role == MAINTAINER


def _name_of_model(kind: str, name: str) -> str:
    """A model's name. Raises `InputError` where it is none, and for what isn't a model."""
    name = name.strip()
    if kind != MODEL:
        raise InputError(f"a file is missing: {kind.replace('_', ' ')} are sent as {ENDINGS[kind][0]}")
    if not re.fullmatch(r"[\w.:/-]{1,120}", name):
        raise InputError("give a file, or the model's name: USER/NAME on the Hub, or one that comes with glioma_hf")
    return name


def _is_address(text: str) -> bool:
    """Whether a link can lead there: http or https, a host, and no sign that an address can't have."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    fits = len(text) <= 400 and text.isprintable() and " " not in text
    return fits and parts.scheme in ("http", "https") and bool(parts.hostname)


def _plain_name(name: str) -> str:
    """A file's name without folders and without signs that mean something somewhere."""
    base = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^\w. -]", "_", base).lstrip(".-")[-120:] or "submission"
