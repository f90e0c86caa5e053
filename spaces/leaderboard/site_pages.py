"""The site: an address for each page, forms, a JSON API, and Gradio beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import api
import browsing
import comparing
import model_pages
import taking_part
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from guards import COOKIE, Guard
from starlette.middleware.gzip import GZipMiddleware
from starlette.templating import Jinja2Templates
from telling import BAD_INPUT, told

from glioma_hf.leaderboard.accounts import Doors
from glioma_hf.leaderboard.board import Board

HERE = Path(__file__).parent
NAVIGATION = (
    ("/", "Leaderboard"),
    ("/tasks", "Tasks"),
    ("/cells", "Cells"),
    ("/compare", "Compare"),
    ("/take-part", "Take part"),
)


class Site:
    """What the pages share: the board, its doors, and how a page is written."""

    def __init__(self, board: Board, doors: Doors):
        self.board, self.doors = board, doors
        self.templates = Jinja2Templates(HERE / "pages")
        self.templates.env.filters |= {"ap": comparing.ap_of, "score": shown, "query": queried}
        self.templates.env.filters["merged"] = lambda one, other: {**one, **other}

    def page(self, request: Request, name: str, status: int = 200, /, **facts: Any) -> Response:
        """A page for whoever asks."""
        common = {"visitor": self.visitor(request), "navigation": NAVIGATION, "path": request.url.path}
        return self.templates.TemplateResponse(request, f"{name}.html", common | facts, status_code=status)

    def visitor(self, request: Request) -> Any:
        """Who asks, None for strangers."""
        return self.doors.visitor(request.cookies.get(COOKIE))


def make_site(board: Board, doors: Doors | None = None, gradio: bool = False) -> FastAPI:
    """The site of a board; with `gradio` its API for gradio_client too, at /gradio, which takes seconds to load."""
    app = FastAPI(
        title="Leaderboard of cell segmentation", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    app.state.site = Site(board, doors or Doors(board))
    app.include_router(browsing.router)
    app.include_router(comparing.router)
    app.include_router(model_pages.router)
    app.include_router(taking_part.router)
    app.include_router(api.router)
    app.mount("/web", StaticFiles(directory=HERE / "web"))
    app.add_middleware(GZipMiddleware, minimum_size=2048)
    app.add_middleware(Guard, most=board.limits.bytes)
    for kind in (*BAD_INPUT, Exception):
        app.add_exception_handler(kind, _answer)
    if taking_part.HUB:
        from huggingface_hub import attach_huggingface_oauth

        attach_huggingface_oauth(app)
    if gradio:
        import by_gradio

        return by_gradio.mounted(app, app.state.site)
    return app


def queried(given: Any) -> str:
    """The end of an address; a list is its key once for each."""
    return urlencode(given, doseq=True)


def shown(value: float | None, name: str = "") -> str:
    """A score as the table shows it."""
    if value is None:
        return "-"
    if name == "parameters":
        fitting = ((size, unit) for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= size)
        size, unit = next(fitting, (1, ""))
        return f"{value / size:.3g} {unit}".strip()
    return f"{value:.2f}" if name in ("mhd", "seconds_per_image") else f"{value:.3f}"


def _answer(request: Request, error: Exception) -> Response:
    """What went wrong, as a page or as JSON."""
    status, text = told(error)
    sentence = text[:1].upper() + text[1:]
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": sentence}, status)
    site: Site = request.app.state.site
    return site.page(request, "told", status, title="That didn't work", sentence=sentence)
