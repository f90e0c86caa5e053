"""The tab Teach: outlines of one image in, an adapter out, judged on a part of the image that it didn't see."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import batch as batches
import gradio as gr
import modelling
import pandas as pd
import reading
from going import Going
from offices import forget, modellers, new_folder, read, run
from outlines import check_drawn, checked
from samples import SAMPLES
from telling import bad, bind, good, hidden, shown, status
from turns import TURNS
from viewer import viewer
from work import default, gpu

from glioma_hf import InputError

EMPTY = (
    "Choose a sample or drop in an image of yours; then give the outlines of its cells, or draw them here.<br>"
    "The model learns from them, and the tab <b>Segment</b> then finds cells of this kind."
)
UNKNOWN = "Now give the outlines of its cells, or draw around some of them with the pencil."
MOST_STEPS = 400
RUNS = Going()


def forget_kept(kept: dict | None) -> None:
    """Delete a visitor's lesson or adapter."""
    forget(kept and kept["folder"])


def nothing(ui: Any) -> dict:
    """The tab without a lesson."""
    return {
        ui.lesson: None,
        ui.viewer: None,
        ui.status: "",
        ui.plot: hidden(),
        ui.before_after: "",
        ui.outlines: None,  # they were of the image before
    }


def open_upload(ui: Any, upload: str | None, lesson: dict | None) -> Iterator[dict]:
    """Open an image in place of the lesson before."""
    forget_kept(lesson)
    yield {**nothing(ui), ui.sample: gr.update(value=None)}
    if upload:
        yield opened(ui, upload, "")


def open_sample(ui: Any, name: str | None, lesson: dict | None) -> Iterator[dict]:
    """Open a sample with its outlines, once the list of them is left; the same one stays as it is."""
    if not name or (lesson and lesson["sample"] == name):
        yield {ui.status: gr.skip()}
        return
    forget_kept(lesson)
    yield {**nothing(ui), ui.upload: None}
    yield opened(ui, None, name)


def opened(ui: Any, upload: str | None, sample_name: str) -> dict:
    """The tab with a new lesson."""
    folder = str(new_folder())
    try:
        seen, known = read(reading.open_lesson, upload, sample_name, folder)
    except BaseException:
        forget(folder)
        raise
    told = "Its outlines are known. Now press **Teach**." if known else UNKNOWN
    name = Path(upload).name if upload else sample_name
    return {
        ui.lesson: {"folder": folder, "given": known, "drawn": [], "name": name, "sample": sample_name},
        ui.viewer: seen,
        ui.status: good(told),
    }


def open_from_segment(ui: Any, batch: str | None, lesson: dict | None) -> dict:
    """Open the image that Segment shows, with its cells as they were corrected."""
    entry = batches.looked_at(batch) if batch else None
    if entry is None or not entry.facts.found:
        raise InputError("Find the cells of an image and correct them first; then teach from them.")
    folder = str(new_folder())
    try:
        seen, number = read(reading.lesson_from, str(entry.folder), entry.facts.threshold, folder)
    except BaseException:
        forget(folder)
        raise
    forget_kept(lesson)
    name = entry.facts.sample or entry.facts.name
    told = f"{number} cells of {name}, as they are in Segment, with {entry.facts.corrections} corrections of yours. "
    return {
        **nothing(ui),
        ui.lesson: {"folder": folder, "given": True, "drawn": [], "name": name, "sample": ""},
        ui.sample: gr.update(value=None),
        ui.upload: None,
        ui.viewer: seen,
        ui.status: good(told + "Now press **Teach**."),
        ui.tabs: gr.Tabs(selected="teach"),
    }


def add_outlines(ui: Any, lesson: dict | None, path: str | None) -> dict:
    """Take the outlines of an uploaded file in place of those given before."""
    if lesson is None or not path:
        raise InputError("Open the image first, then give its outlines.")
    seen, number = read(reading.add_outlines, path, lesson["folder"], lesson["name"])
    return {
        ui.lesson: {**lesson, "given": True, "drawn": []},
        ui.viewer: seen,
        ui.status: good(f"{number} outlines read. Now press **Teach**."),
    }


def take_away(ui: Any, lesson: dict | None) -> dict:
    """Forget the outlines of a file that is taken away again."""
    if lesson is None:
        return {ui.status: ""}
    return {
        ui.lesson: {**lesson, "given": False, "drawn": []},
        ui.viewer: read(reading.without_outlines, lesson["folder"]),
        ui.status: good(UNKNOWN),
    }


def keep_drawn(ui: Any, lesson: dict | None, event: gr.EventData) -> dict:
    """Remember what the pencil drew. Raises `InputError` for what no pencil draws."""
    drawn = check_drawn(getattr(event, "outlines", None))
    return {ui.lesson: None if lesson is None else {**lesson, "drawn": drawn}}


@gpu(duration=240)
def teach_model(ui: Any, lesson: dict | None, steps: int, taught: dict | None) -> Iterator[dict]:
    """Fine-tune on the lesson; yields what changes as it goes."""
    if lesson is None:
        raise InputError("Open an image first.")
    steps = round(checked(steps, 1, MOST_STEPS, "the number of steps"))
    yield from RUNS.follow(lesson["folder"], _teach_model(ui, lesson, steps, taught), lambda: cancelled(ui))


def _teach_model(ui: Any, lesson: dict, steps: int, taught: dict | None) -> Generator[dict, None, None]:
    yield {ui.cancel: gr.update(interactive=True), ui.button: gr.update(interactive=False), ui.before_after: ""}
    read(reading.gather, lesson["folder"], lesson["given"], lesson["drawn"])
    losses: list[tuple[int, float]] = []
    folder, told = str(new_folder()), None
    words, base = default()
    try:
        with TURNS.ticket("teach", steps / 80) as ticket:
            for waiting in ticket.waiting():
                yield {ui.status: waiting}
            started = time.perf_counter()
            job = run(modellers, modelling.teach_adapter, lesson["folder"], base, steps, folder)
            for kind, news in ticket.follow(job):
                if kind == "done":
                    told = news
                elif kind == "idle":
                    yield {ui.status: gr.skip()}
                elif news.loss is None:
                    yield {ui.status: good(f"{news.message.capitalize()} …"), ui.plot: shown(curve(losses))}
                else:
                    step, of, loss = round(news.done), round(news.total), news.loss
                    losses.append((step, loss))
                    left = (time.perf_counter() - started) / step * (of - step)
                    if step % 2 == 0 or step == of:
                        said = f"Step {step} of {of}, loss {loss:.3f}, about {left:.0f} s left"
                        yield {ui.status: said, ui.plot: shown(curve(losses))}
    finally:
        if told is None:
            forget(folder)
    forget_kept(taught)
    packed = Path(folder) / "adapter.zip"
    named = packed.rename(packed.with_name(f"{batches.stem_of(lesson['name'])}_adapter.zip"))
    yield {
        ui.status: good(said_of(told, time.perf_counter() - started)),
        ui.plot: shown(curve(losses)),
        ui.before_after: beside(told),
        ui.adapter: shown(str(named)),
        ui.taught: {"adapter": folder, "folder": folder, "base": base, "words": words, "name": lesson["name"]},
        ui.cancel: gr.update(interactive=False),
        ui.button: gr.update(interactive=True),
    }


def said_of(told: dict[str, Any], seconds: float) -> str:
    """What was learned, in sentences."""
    text = f"Taught in {seconds:.0f} s on {told['taught']} cells. "
    if told["held"]:
        text += (
            f"On {told['held']} cells of a part that was held out, AP50 was {told['before']:.2f} before and is "
            f"{told['after']:.2f} now. "
        )
        if told["after"] <= told["before"]:
            text += "That is no gain: give more outlines, or more steps. "
    else:
        text += (
            "There were too few to hold some out, so nobody knows yet what it gained: look at another image of yours. "
        )
    return text + "Segment uses it from now on, for you alone, and can be told not to. Download it to keep it."


def beside(told: dict[str, Any]) -> str:
    """Pictures of the part held out, before and after."""
    if not told["held"]:
        return ""
    figures = ""
    for name, picture in zip(("before", "after"), told["pictures"], strict=True):
        words = f"The part held out, {name}: AP50 {told[name]:.2f} (your outlines blue, found ones orange)"
        figures += f'<figure><img src="{picture}" alt="{words}"><figcaption>{words}</figcaption></figure>'
    return f'<div class="beside">{figures}</div>'


def curve(losses: list[tuple[int, float]]) -> pd.DataFrame:
    """The loss by step, smoothed a little."""
    table = pd.DataFrame(losses, columns=["step", "loss"])
    table["loss"] = table["loss"].rolling(5, min_periods=1).mean()
    return table


def stop(ui: Any, lesson: dict | None) -> dict:
    """Cancel; see `finding.stop`."""
    return {ui.status: gr.skip()} if RUNS.stop(lesson and lesson["folder"]) else cancelled(ui)


def cancelled(ui: Any) -> dict:
    """What is said after Cancel."""
    return {ui.status: "Cancelled.", ui.cancel: gr.update(interactive=False), ui.button: gr.update(interactive=True)}


def tab(taught: gr.State, tabs: gr.Tabs, segment: SimpleNamespace) -> None:
    """Lay the tab out; `segment` is the tab that cells may come from."""
    ui = SimpleNamespace(taught=taught, tabs=tabs, lesson=gr.State(time_to_live=3600, delete_callback=forget_kept))
    with gr.Row(elem_classes="tab"):
        with gr.Column(scale=1, min_width=290):
            ui.sample = gr.Dropdown(
                list(SAMPLES), value=None, label="Sample with outlines (synthetic)", elem_id="teach-sample"
            )
            ui.upload = gr.File(label="Or your image", type="filepath", height=140, elem_id="teach-upload")
            ui.outlines = gr.File(
                label="Its outlines: COCO or ImageJ", type="filepath", height=140, elem_id="teach-outlines"
            )
            steps = gr.Slider(10, MOST_STEPS, value=80, step=10, label="Steps of learning")
            with gr.Row():
                ui.button = gr.Button("Teach", variant="primary", elem_id="teach-run", min_width=110)
                ui.cancel = gr.Button("Cancel", elem_id="teach-cancel", min_width=90, interactive=False)
            ui.status = status("teach-status")
            ui.adapter = gr.File(label="What was taught", interactive=False, visible=False, elem_id="teach-adapter")
        with gr.Column(scale=3, min_width=320):
            ui.viewer = viewer("teach-viewer", EMPTY)
            ui.before_after = gr.HTML("", elem_id="teach-before-after", apply_default_css=False)
            ui.plot = gr.LinePlot(x="step", y="loss", title="Loss", height=200, visible=False, elem_id="teach-loss")
    private = {"api_visibility": "private", "show_progress": "hidden"}
    shows = [ui.lesson, ui.viewer, ui.status, ui.plot, ui.before_after, ui.sample, ui.upload, ui.outlines]
    ui.sample.blur(bind(open_sample, ui), [ui.sample, ui.lesson], shows, trigger_mode="always_last", **private)
    gr.on([ui.upload.upload, ui.upload.clear], bind(open_upload, ui), [ui.upload, ui.lesson], shows, **private)
    ui.outlines.upload(bind(add_outlines, ui), [ui.lesson, ui.outlines], shows, **private)
    ui.outlines.clear(bind(take_away, ui), ui.lesson, shows, **private)
    ui.viewer.edit(bind(keep_drawn, ui), ui.lesson, [ui.lesson, ui.status], trigger_mode="always_last", **private)
    # What is in the way is said where the button is.
    segment.to_teach.click(
        bind(
            open_from_segment,
            ui,
            lambda: {segment.status: bad("Find the cells of an image first; then teach from them.")},
        ),
        [segment.batch, ui.lesson],
        [*shows, tabs, segment.status],
        **private,
    )
    buttons = [ui.button, ui.cancel]
    ended = lambda: {ui.button: gr.update(interactive=True), ui.cancel: gr.update(interactive=False)}  # noqa: E731
    ui.button.click(
        bind(teach_model, ui, ended),
        [ui.lesson, steps, taught],
        [ui.status, ui.plot, ui.before_after, ui.adapter, taught, *buttons],
        concurrency_limit=16,
        trigger_mode="multiple",
        **private,
    )
    ui.cancel.click(bind(stop, ui), ui.lesson, [ui.status, *buttons], queue=False, **private)
