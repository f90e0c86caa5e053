"""The leaderboard for `gradio_client`, and a form of Gradio's for those who like it: the table, and submitting."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from guards import place_of

from glioma_hf.errors import InputError
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.submissions import ModelFacts, submit
from glioma_hf.leaderboard.tables import Submission
from glioma_hf.leaderboard.words import KINDS, MODES

ADDRESS = "/gradio"


def mounted(app: FastAPI, site: Any) -> FastAPI:
    """The site with Gradio at `ADDRESS`."""
    return gr.mount_gradio_app(
        app, build(site), path=ADDRESS, max_file_size=site.board.limits.bytes, show_error=True, footer_links=["api"]
    )


def build(site: Any) -> gr.Blocks:
    """A tab for the table and one for submitting; their names for programs are `leaderboard` and `submit`."""

    def table(task: str, mode: str, sort: str) -> list[list[Any]]:
        try:
            with site.board.database.reading() as session:
                rows = standings(session, Asked(task, mode, sort)).rows
                return [
                    [r.rank, r.model.name, r.model.developer.name, r.model.source, r.scores.get(sort)] for r in rows
                ]
        except InputError as error:
            raise _told(error) from None

    def send(file: str, task: str, kind: str, model: str, name: str, password: str, request: gr.Request) -> str:
        try:
            if not file:
                raise InputError("give a file")
            visitor = site.doors.visitor(site.doors.log_in(name, password, place_of(request)))
            facts = ModelFacts(model.strip())
            sent = submit(site.board, visitor.id, task, kind, file, facts, Path(file).name)
            with site.board.database.reading() as session:
                return f"{sent} {session.get_one(Submission, sent).state}"
        except InputError as error:
            raise _told(error) from None

    with gr.Blocks(title="Leaderboard of overlapping cells", analytics_enabled=False) as page:
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


def _told(error: InputError) -> gr.Error:
    return gr.Error(html.escape(str(error), quote=False), print_exception=False)
