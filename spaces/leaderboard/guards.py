"""What stands before every page: bounded requests, forms of this site alone, and what a browser may load."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Request
from receiving import has_room

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.accounts import Visitor

COOKIE = "leaderboard"
MAX_FORM = 2**20  # bytes of a request without a file
IN_SPACE = "SPACE_ID" in os.environ  # behind the Hub's proxy, perhaps in a frame of its page
_OPEN = ("/gradio",)  # brings scripts and events of its own
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self' https://huggingface.co",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class Guard:
    """ASGI middleware: no request is larger than what it is for, and answers say what a browser may do with them."""

    def __init__(self, app: Callable, most: int):
        self.app, self.most = app, most + MAX_FORM

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Pass a request on, or answer that it is too large or from elsewhere."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        sending = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        most = self.most if headers.get("content-type", "").startswith("multipart/") else MAX_FORM
        stated = headers.get("content-length", "0")
        if sending and (not stated.isdecimal() or int(stated) > most):
            await _answer(send, 413, f"That is more than {most >> 20} MB.")
            return
        uploading = sending and scope["path"].startswith(_OPEN) and scope["path"].rstrip("/").endswith("/upload")
        if uploading and not await to_thread.run_sync(has_room, self.most):
            await _answer(send, 507, "The server's disk is full for now; try again in an hour.")
            return
        if sending and not _from_here(headers):
            await _answer(send, 403, "That form isn't one of this site.")
            return
        taken = 0

        async def bounded() -> dict[str, Any]:
            nonlocal taken
            message: dict[str, Any] = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= most else {"type": "http.disconnect"}

        async def marked(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and not scope["path"].startswith(_OPEN):
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self.app(scope, bounded, marked)


def place_of(request: Request) -> str:
    """Where a request is from, for counting tries; behind the Hub's proxy what that says."""
    if IN_SPACE and (forwarded := request.headers.get("x-forwarded-for")):
        return forwarded.rpartition(",")[2].strip()
    return request.client.host if request.client else ""


def check_form(visitor: Visitor | None, word: str) -> Visitor:
    """Whoever sent a form of this site. Raises `InputError` for a stranger and a form of another log-in."""
    if visitor is None:
        raise InputError("log in to do that")
    if not hmac.compare_digest(visitor.form_word.encode(), word.encode()):
        raise InputError("that form is of another log-in; open the page again")
    return visitor


def _from_here(headers: dict[str, str]) -> bool:
    """Whether a browser says that the request is of this site; programs, which have nobody's cookies, say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # an address that is none
        return False


async def _answer(send: Callable, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
