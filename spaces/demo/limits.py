"""What the page takes from a visitor at all, before anything reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from anyio import to_thread
from place import Place
from telling import complain

from glioma_hf import InputError

MAX_UPLOAD = 200 * 2**20  # bytes of one file
MOST_VISITORS = 500  # whose state is kept; of more the one who was silent for longest begins anew
MAX_EVENT = 8 * 2**20  # bytes of what the page or a program sends beside files


class Doorman:
    """ASGI middleware: requests are of bounded size, and none fills the disk."""

    def __init__(self, app: Callable, place: Place):
        self.app, self.place = app, place

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Pass a request on, or answer that it is too large."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
            return
        upload = scope["path"].rstrip("/").endswith("/upload")
        most = MAX_UPLOAD + 2**20 if upload else MAX_EVENT
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if upload and not await to_thread.run_sync(self.place.has_room):
            await answer(send, 507, "The server's disk is full for now; try again in an hour.")
            return
        if not stated.isdigit() or int(stated) > most:
            await answer(send, 413, f"That is more than {most >> 20} MB.")
            return
        taken = 0

        async def bounded() -> dict[str, Any]:
            nonlocal taken
            message: dict[str, Any] = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= most else {"type": "http.disconnect"}

        await self.app(scope, bounded, send)


async def answer(send: Callable, status: int, text: str) -> None:
    """Answer a request in a sentence."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


class Page(gr.Blocks):
    """Blocks that take files by upload alone, and whose visitors are told of every error in a sentence."""

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """One event of a visitor, public or private."""
        try:
            check_files(inputs)
            return await super().process_api(block_fn, inputs, state, *args, **kwargs)
        except gr.Error:
            raise
        except gr.exceptions.InvalidPathError:
            raise complain("A file that wasn't uploaded to this page isn't read: upload it") from None
        except Exception as error:
            raise complain(error) from None
        finally:
            if state is not None:
                forget_shown(state)


def forget_shown(state: Any) -> None:
    """Let go of what was shown, pictures and all.

    Gradio keeps the settings and the last value of every component, of each visitor and as long as it runs: some
    megabytes, for links into a visitor's state, which this page doesn't have.
    """
    state.config_values.clear()


def check_files(value: Any, depth: int = 0) -> None:
    """Raise `InputError` for a file that is named by an address, anywhere in what an event brings."""
    if depth > 100:
        raise InputError("what was sent is nested too deep")
    if isinstance(value, dict):
        path = value.get("path")
        if "path" in value and not (path is None or (isinstance(path, str) and "://" not in path)):
            raise InputError("a file is uploaded, not named by an address")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            check_files(item, depth + 1)
