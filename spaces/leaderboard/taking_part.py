"""Forms: register, log in, submit, withdraw, publish; and for maintainers data sets."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import RedirectResponse, Response
from guards import COOKIE, IN_SPACE, check_form, place_of
from receiving import receive
from sqlalchemy import select
from telling import told

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.accounts import STAYS
from glioma_hf.leaderboard.catalogue import add_data_set
from glioma_hf.leaderboard.submissions import ModelFacts, own_submissions, publish, withdraw
from glioma_hf.leaderboard.tables import DataSet, Task

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form()]
HUB = "OAUTH_CLIENT_ID" in os.environ  # where the Space offers to log in by the Hub


@router.get("/take-part")
def take_part(request: Request) -> Response:
    """What to do, and what became of what one sent."""
    return _page(request)


@router.get("/take-part/submissions")
def submissions_part(request: Request) -> Response:
    """The list of one's submissions alone, which the page asks for again while something is under way."""
    return _page(request, "submissions")


@router.get("/register")
@router.get("/log-in")
def log_in_page(request: Request) -> Response:
    """The form for name and password."""
    site = request.app.state.site
    return site.page(request, "log_in", new=request.url.path == "/register", hub=HUB, name="", fault="")


@router.post("/register")
def register(request: Request, name: Text, password: Text) -> Response:
    """A new account, logged in."""
    site = request.app.state.site
    try:
        developer = site.doors.register(name, password, place_of(request))
    except InputError as error:
        return site.page(request, "log_in", 400, new=True, hub=HUB, name=name, fault=str(error))
    return _let_in(request, site.doors.let_in(developer))


@router.post("/log-in")
def log_in(request: Request, name: Text, password: Text) -> Response:
    """In, with name and password."""
    site = request.app.state.site
    try:
        cookie = site.doors.log_in(name, password, place_of(request))
    except InputError as error:
        return site.page(request, "log_in", 400, new=False, hub=HUB, name=name, fault=str(error))
    return _let_in(request, cookie)


@router.post("/log-out")
def log_out(request: Request, word: Text) -> Response:
    """Out."""
    site = request.app.state.site
    check_form(site.visitor(request), word)
    site.doors.log_out(request.cookies.get(COOKIE))
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.post("/take-part/password")
def change_password(request: Request, word: Text, old: Text, new: Text) -> Response:
    """Another password; log-ins elsewhere end."""
    site = request.app.state.site
    try:
        cookie = site.doors.change_password(check_form(site.visitor(request), word), old, new)
    except InputError as error:
        return _page(request, status=400, fault=told(error)[1])
    return _let_in(request, cookie)


@router.post("/take-part/submit")
def send(
    request: Request,
    word: Text,
    task: Text,
    kind: Text,
    model: Text,
    file: Annotated[UploadFile | None, File()] = None,
    by_name: Text = "",
    backbone: Text = "",
    learning_method: Text = "",
    zero_shot: Text = "",
    licence: Text = "",
    parameters: Text = "",
    paper_url: Text = "",
    code_url: Text = "",
    card: Text = "",
) -> Response:
    """Send predictions or a model."""
    site = request.app.state.site
    try:
        visitor = check_form(site.visitor(request), word)
        if parameters and not (parameters.isdecimal() and len(parameters) < 16):
            raise InputError("the number of a model's parameters is a whole number")
        number = int(parameters) if parameters else None
        words = (backbone, learning_method, bool(zero_shot), number, licence, paper_url, code_url, card)
        facts = ModelFacts(model.strip(), *words)
        receive(site.board, visitor.id, task, kind, file, by_name, facts)
    except InputError as error:
        return _page(request, status=400, fault=told(error)[1])
    return RedirectResponse("/take-part#submissions", 303)


@router.post("/take-part/withdraw")
def take_back(request: Request, word: Text, submission: Text) -> Response:
    """Withdraw a submission of one's own."""
    site = request.app.state.site
    withdraw(site.board, check_form(site.visitor(request), word).id, submission[:40])
    return RedirectResponse("/take-part#submissions", 303)


@router.post("/take-part/publish")
def show(request: Request, word: Text, model: Text, published: Text = "") -> Response:
    """Show a model of one's own to everybody, or to oneself again."""
    site = request.app.state.site
    publish(site.board, check_form(site.visitor(request), word).id, model[:40], published == "yes")
    return RedirectResponse("/take-part#submissions", 303)


@router.post("/maintain/add")
def add(
    request: Request,
    word: Text,
    place: Text,
    name: Text,
    title: Text = "",
    cell_type: Text = "",
    modality: Text = "phase contrast",
    licence: Text = "",
    splits: Text = "test",
    objects: Text = "cells",
    hidden: Text = "",
) -> Response:
    """A maintainer's data set."""
    site = request.app.state.site
    try:
        if not check_form(site.visitor(request), word).is_maintainer:
            raise InputError("data sets are added by maintainers")
        words = (title[:200], cell_type[:80], modality[:80], licence[:80])
        add_data_set(site.board, place, name, *words, splits.split(), objects.split(), bool(hidden))
    except InputError as error:
        return _page(request, status=400, fault=str(error))
    return RedirectResponse("/tasks", 303)


@router.get("/log-in/hub")
def log_in_by_hub(request: Request) -> Response:
    """In, by what the Hub says; first to the Hub, where it hasn't said it yet."""
    if not HUB:
        raise InputError("there is no log-in by the Hub here")
    from huggingface_hub import parse_huggingface_oauth

    told = parse_huggingface_oauth(request)
    if told is None:
        return RedirectResponse("/oauth/huggingface/login?_target_url=/log-in/hub", 303)
    return _let_in(request, request.app.state.site.doors.log_in_from_hub(told.user_info.preferred_username))


def _page(request: Request, name: str = "take_part", status: int = 200, fault: str = "") -> Response:
    site = request.app.state.site
    visitor = site.visitor(request)
    facts: dict[str, Any] = {"fault": fault, "limits": site.board.limits, "hub": HUB, "submissions": []}
    with site.board.database.reading() as session:
        facts["tasks"] = session.scalars(select(Task).join(DataSet).where(DataSet.place.is_not(None))).unique().all()
        if visitor is not None:
            facts["submissions"] = own_submissions(session, visitor.id)
        return site.page(request, name, status, **facts)


def _let_in(request: Request, cookie: str) -> Response:
    answer = RedirectResponse("/take-part", 303)
    # In a frame of the Hub's page a cookie counts as another site's; forms carry a word against these.
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=int(STAYS.total_seconds()),
        httponly=True,
        secure=IN_SPACE or request.url.scheme == "https",
        samesite="none" if IN_SPACE else "lax",
    )
    return answer
