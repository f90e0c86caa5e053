"""What a visitor is told: sentences that stay in the status until the next action, errors among them."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from offices import place
from viewer import ADDRESS, START
from worker import Broken

from glioma_hf import InputError

LOG = logging.getLogger("glioma_hf.demo")
# Advice for those who work at a command line, in sentences that are shown on the page too.
COMMANDS = re.compile(
    r"\s*\([^()]*(?:(?<!\w)--[a-z]|glioma-hf )[^()]*\)"
    r"|[;,]?\s*(?:`?glioma-hf [^;.,`]*`?|(?<!\w)--[a-z][\w-]*(?: [^;.,]*)?)"
)


def status(elem_id: str, value: str = "") -> gr.HTML:
    """A place for sentences, which screen readers read out as they change."""
    return gr.HTML(
        value,
        html_template='<div class="told" role="status" aria-live="polite">${value}</div>',
        js_on_load=START.format(address=ADDRESS, script="toasts.js"),
        elem_id=elem_id,
        apply_default_css=False,
    )


def shown(value: Any) -> dict:
    """A component that is there once it has something to show."""
    return gr.update(value=value, visible=True)


def hidden() -> dict:
    """A component that isn't there, since it has nothing to show."""
    return gr.update(value=None, visible=False)


def good(text: str) -> str:
    """A sentence for a status; `**words**` are strong."""
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text, quote=False))


def bad(errors: BaseException | str | Iterable[BaseException | str], *paths: str | None) -> str:
    """Errors for a status, a sentence each: one doesn't take another's place."""
    several = [errors] if isinstance(errors, str | BaseException) else errors
    return "".join(f'<p class="bad">{html.escape(sentence(e, *paths), quote=False)}</p>' for e in several)


def sentence(error: BaseException | str, *paths: str | None) -> str:
    """What a visitor is told of an error: their file's name stands for its path on the server, no commands."""
    if isinstance(error, BaseException) and not isinstance(error, InputError | gr.Error):
        return unforeseen(error)
    text = error.message if isinstance(error, gr.Error) else str(error)
    for path in paths:
        if path:
            text = text.replace(path, Path(path).name)
    text = re.sub(r"(?<![\w.~-])/\S*/", "", text)
    text = COMMANDS.sub("", text).strip()
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text


def unforeseen(error: BaseException) -> str:
    """A sentence about an error that is ours; its trace goes to the log under the same number."""
    number = secrets.token_hex(4)
    trace = f"\n{error}" if isinstance(error, Broken) else ""
    LOG.error("unforeseen error %s%s", number, trace, exc_info=None if trace else error)
    return f"Something went wrong that is our fault, not yours; please report it with the number {number}"


def complain(error: BaseException | str, *paths: str | None) -> gr.Error:
    """The same for an event that has no status: those of programs, and what no visitor's click sends."""
    text = html.escape(sentence(error, *paths), quote=False)
    return gr.Error(text, print_exception=False, title="That didn't work")


def bind(function: Callable, ui: Any, otherwise: Callable[[], dict] = dict, asked: bool = True) -> Callable:
    """An event's function, which is given `ui` first and returns what changes, by component.

    Errors become sentences in `ui.status`; `otherwise` says what else is set then. Of what its visitor closed meanwhile
    none is told that is ours, and where nobody `asked` for the event none at all.
    """

    def failed(error: BaseException, arguments: tuple) -> dict:
        meant = asked and isinstance(error, InputError)
        return {**otherwise(), ui.status: bad(error) if meant or not any(map(closed, arguments)) else gr.skip()}

    def generator(*arguments: Any) -> Any:
        try:
            yield from function(ui, *arguments)
        except Exception as error:
            yield failed(error, arguments)

    def plain(*arguments: Any) -> Any:
        try:
            return function(ui, *arguments)
        except Exception as error:
            return failed(error, arguments)

    bound = generator if inspect.isgeneratorfunction(function) else plain
    functools.update_wrapper(bound, function)
    signature = inspect.signature(function)
    bound.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return bound


def closed(argument: Any) -> bool:
    """Whether that is a visitor's folder which is gone: the event of one who opened something else meanwhile."""
    return isinstance(argument, str) and Path(argument).parent == place().visitors and not Path(argument).exists()
