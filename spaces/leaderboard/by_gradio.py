"""The leaderboard for `gradio_client`, and a form of Gradio's for those who like it: the table, and submitting."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from guards import place_of
from telling import told

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.submissions import ModelFacts, submit
from glioma_hf.leaderboard.tables import Submission
from glioma_hf.leaderboard.words import KINDS, MODES

ADDRESS = "/gradio"
TIDIED, KEPT = 600, 3600  # seconds: how often what was uploaded is looked at, and how long it stays


class Page(gr.Blocks):
    """Blocks that take files by upload alone, keep nothing of what was typed, and tell of every error in a sentence."""

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """One event of a visitor."""
        try:
            if any("://" in path for path in _paths(inputs)):
                raise InputError("a file is uploaded, not named by an address")
            return await super().process_api(block_fn, inputs, state, *args, **kwargs)
        except gr.Error:
            raise
        except gr.exceptions.InvalidPathError:
            raise _told(InputError("a file that wasn't uploaded to this page isn't read; upload it")) from None
        except Exception as error:
            raise _told(error) from None
        finally:
            if state is not None:
                state.config_values.clear()  # the last value of every field, the password too


def mounted(app: FastAPI, site: Any) -> FastAPI:
    """The site with Gradio at `ADDRESS`."""
    page = build(site)
    # Gradio asks whether a file was uploaded only where it believes that it was launched, which mounting doesn't tell
    # it: without this a program could name any file of the server and have it read.
    page.has_launched = True
    bounds = {"max_file_size": site.board.limits.bytes, "show_error": True, "run_history": False}
    return gr.mount_gradio_app(app, page, path=ADDRESS, footer_links=["api"], **bounds)


def build(site: Any) -> gr.Blocks:
    """A tab for the table and one for submitting; their names for programs are `leaderboard` and `submit`."""

    def table(task: str, mode: str, sort: str) -> list[list[Any]]:
        asked = Asked(task or "", mode or MODES[0], sort or "ap50")
        with site.board.database.reading() as session:
            rows = standings(session, asked).rows
            return [
                [r.rank, r.model.name, r.model.developer.name, r.model.source, r.scores.get(asked.sort)] for r in rows
            ]

    def send(file: str, task: str, kind: str, model: str, name: str, password: str, request: gr.Request) -> str:
        if not file:
            raise InputError("give a file")
        cookie = site.doors.log_in(name or "", password or "", place_of(request))
        try:
            visitor, facts = site.doors.visitor(cookie), ModelFacts((model or "").strip())
            sent = submit(site.board, visitor.id, task or "", kind or "", file, facts, Path(file).name)
        finally:
            site.doors.log_out(cookie)  # each call logs in anew
        with site.board.database.reading() as session:
            return f"{sent} {session.get_one(Submission, sent).state}"

    with Page(title="Leaderboard of overlapping cells", analytics_enabled=False, delete_cache=(TIDIED, KEPT)) as page:
        gr.HTML("<h1>For programs</h1>The table and submitting for gradio_client. <a href='/'>To the leaderboard</a>")
        task = gr.Textbox(label="Task", info="its name, as the page Tasks has it")
        with gr.Tab("Table"):
            mode = gr.Dropdown(list(MODES), value=MODES[0], label="Masks")
            sort = gr.Textbox("ap50", label="Score")
            shown = gr.Dataframe(headers=["rank", "model", "developer", "from", "score"], interactive=False)
            gr.Button("Show").click(table, [task, mode, sort], shown, api_name="leaderboard")
        with gr.Tab("Submit"):
            file = gr.File(label="File", type="filepath")
            kind = gr.Dropdown(list(KINDS), value=KINDS[0], label="What it is")
            model = gr.Textbox(label="Name of the model")
            name, password = gr.Textbox(label="Your name"), gr.Textbox(label="Password", type="password")
            became = gr.Textbox(label="What became of it", interactive=False)
            inputs = [file, task, kind, model, name, password]
            gr.Button("Send").click(send, inputs, became, api_name="submit")
    return page


def _paths(value: Any, depth: int = 0) -> Iterator[str]:
    """Every path of a file that an event brings. Raises `InputError` for what is nested too deep to be an event."""
    if depth > 100:
        raise InputError("what was sent is nested too deep")
    if isinstance(value, dict):
        if "path" in value:
            yield str(value["path"])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _paths(item, depth + 1)


def _told(error: Exception) -> gr.Error:
    return gr.Error(html.escape(told(error)[1], quote=False), print_exception=False)
