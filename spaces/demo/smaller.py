"""The scripts of Gradio as small as they get, so that the page is soon there where the network is slow."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import gradio as gr
from anyio import to_thread

FOLDER = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
SCRIPT = re.compile(r"/assets/([\w.-]+\.(?:js|css))")
KINDS = {".js": b"text/javascript; charset=utf-8", ".css": b"text/css; charset=utf-8"}
KEPT = 500  # files: more than a page ever asks for


class Smaller:
    """ASGI middleware: answers requests for Gradio's scripts by itself, packed once and as well as can be."""

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer, or pass the request on where it isn't for such a file or whoever asks can't unpack it."""
        asked = SCRIPT.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        accepted = dict(scope["headers"]).get(b"accept-encoding", b"") if asked else b""
        body = await to_thread.run_sync(packed, asked[1]) if asked and b"br" in accepted else b""
        if not asked or not body:
            await self.app(scope, receive, send)
            return
        headers = [
            (b"content-type", KINDS[Path(asked[1]).suffix]),
            (b"content-encoding", b"br"),
            (b"content-length", str(len(body)).encode()),
            (b"vary", b"accept-encoding"),
            (b"cache-control", b"public, max-age=31536000, immutable"),  # the name says what is in it
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@functools.lru_cache(maxsize=KEPT)
def packed(name: str) -> bytes:
    """A file of Gradio's, packed; nothing where there is none of that name."""
    path = FOLDER / name
    return brotli.compress(path.read_bytes(), quality=11) if path.is_file() else b""
