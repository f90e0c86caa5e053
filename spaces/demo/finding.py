"""What Find cells does, image by image, and what programs are given."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import batch as batches
import cells
import files
import gradio as gr
import modelling
from batch import Entry
from going import Going
from offices import forget, modellers, new_folder, read, readers, run
from outlines import checked
from shown import several
from telling import bad, good, hidden, sentence, shown
from turns import TURNS, LineFull
from work import Model, choose_model, default, gpu

from glioma_hf import InputError
from glioma_hf.workflows.outputs import results

RUNS = Going()


def strip_of(batch: str | None, running: str = "") -> dict[str, Any] | None:
    """What the strip of thumbnails shows; nothing for one image."""
    there = batches.entries(batch) if batch else []
    if len(there) < 2:
        return None
    here = batches.looked_at(batch or "").key
    images = []
    for one in there:
        thumb = one.folder / cells.THUMBNAIL
        state = "running" if one.key == running else "error" if one.facts.error else "done" if one.facts.found else ""
        images.append(
            {
                "key": one.key,
                "name": one.facts.sample or one.facts.name,
                "thumb": thumb.read_text() if thumb.is_file() else "",
                "state": state,
                "count": one.facts.count,
                "error": one.facts.error,
            }
        )
    return {"images": images, "shown": here}


def viewed(entry: Entry, picture: bool = True) -> Any:
    """What the viewer shows of an image of a batch."""
    if entry.facts.error:
        return None
    job = cells.show if picture else cells.show_again
    return read(job, str(entry.folder), entry.key, asdict(entry.facts))


def downloads(ui: Any, batch: str, entry: Entry) -> dict:
    """The files of an image, with a word on its label map; nothing where its cells weren't found."""
    if not entry.facts.found:
        return nothing_to_take(ui)
    there = batches.entries(batch)
    stem = dict(zip((e.key for e in there), batches.distinct_stems(there), strict=True))[entry.key]
    written, lost = read(files.write_files, str(entry.folder), stem, asdict(entry.facts))
    losing = "1 cell loses over a fifth of its" if lost == 1 else f"{lost} cells lose over a fifth of their"
    told = f"A label map can't hold overlaps: in this one {losing} area to others."
    return {
        ui.downloads: shown(written),
        ui.note: good(f"{told} The COCO, QuPath and ImageJ files keep all cells whole.") if lost else "",
        ui.to_teach: gr.update(visible=True),
        ui.zipped: hidden(),  # it is of what was there before
    }


def nothing_to_take(ui: Any) -> dict:
    """The page without downloads."""
    return {
        ui.downloads: hidden(),
        ui.note: "",
        ui.to_teach: gr.update(visible=False),
        ui.zipped: hidden(),
    }


@gpu
def find_cells(ui: Any, batch: str | None, *choice: Any) -> Iterator[dict]:
    """Find the cells of all images of a batch that this model hasn't seen yet; yields what changes on the page.

    Corrected images are left as they are.
    """
    if not batch or not batches.keys(batch):
        raise InputError("Choose a sample or drop in an image first.")
    yield from RUNS.follow(batch, _find_cells(ui, batch, choice), lambda: cancelled(ui, batch))


def _find_cells(ui: Any, batch: str, choice: tuple) -> Generator[dict, None, None]:
    started = time.perf_counter()
    yield {ui.cancel: gr.update(interactive=True), ui.button: gr.update(interactive=False), ui.status: "Starting …"}
    model: Model | None = None
    for kind, what in choose_model(*choice, batch):
        if kind == "done":
            model = what
        yield {ui.status: gr.skip()}
    assert model is not None
    there = [entry for entry in batches.entries(batch) if not entry.facts.error]
    corrected = [entry for entry in there if entry.facts.corrections]
    todo = [entry for entry in there if not entry.facts.corrections and entry.facts.by != model.by]
    errors: list[str] = []
    done = 0
    for number, entry in enumerate(todo, start=1):
        of = f" ({number} of {len(todo)})" if len(todo) > 1 else ""
        yield {ui.strip: strip_of(batch, entry.key), ui.status: f"Looking at {name_of(entry)}{of} …"}
        try:
            for told in find_in(entry, model):
                yield {ui.status: good(f"{told}{of}") if told else gr.skip()}
        except Exception as error:
            errors.append(f"{entry.facts.name}: {sentence(error)}" if len(todo) > 1 else sentence(error))
            if isinstance(error, LineFull | ModelProblem):
                break
            continue
        done += 1
        entry = batches.entry(batch, entry.key)
        if batches.looked_at(batch).key == entry.key:
            yield {ui.viewer: viewed(entry), ui.strip: strip_of(batch), **nothing_to_take(ui)}
            yield downloads(ui, batch, entry)  # which take a large image longer to write than to show
    took = time.perf_counter() - started
    told = good(f"Done in {took:.1f} s: {counted(batch)}.") if done else ""
    if done and not any(entry.facts.count for entry in batches.done(batch)):
        told += f"<p>{good(NONE_FOUND)}</p>"
    if not todo and len(corrected) < len(there):
        told = good(f"This model has seen all of this already: {counted(batch)}.")
    if corrected:
        names = ", ".join(entry.facts.name for entry in corrected[:3])
        told += (
            f"<p>{good(f'{names}: corrected by hand and left as it is. Take its corrections back to find anew.')}</p>"
        )
    yield {
        ui.status: told + bad(errors),
        ui.strip: strip_of(batch),
        ui.cancel: gr.update(interactive=False),
        ui.button: gr.update(interactive=True),
        ui.zip_all: gr.update(visible=len(list(batches.done(batch))) > 1),
    }


# What to do next where a model sees nothing.
NONE_FOUND = (
    "If there are cells: move **Score from** to the left, choose another **Model**, or show it some in **Teach**."
)


class ModelProblem(InputError):
    """The model can't be used at all, whatever the image."""


def find_in(entry: Entry, model: Model) -> Iterator[str]:
    """Find the cells of one image; yields sentences, or "" where there is no news."""
    facts = entry.facts
    seen = False
    try:
        with TURNS.ticket("segment", facts.width * facts.height / 1e6) as ticket:
            yield from ticket.waiting()
            news = run(modellers, modelling.segment, str(entry.folder), model.base, model.adapter, silent=model.silence)
            for kind, what in ticket.follow(news):
                if kind == "told":
                    seen = True
                    yield f"Looking at {name_of(entry)}: {what.share:.0%}"
                elif kind == "done":
                    threshold, number, diameter = what
                else:
                    yield ""
    except InputError as error:
        raise error if seen or isinstance(error, LineFull) else ModelProblem(str(error)) from None
    batches.change(
        entry.folder.parent,
        entry.key,
        model=model.words if diameter is None else f"{model.words}, told of cells {diameter:.0f} pixels across",
        by=model.by,
        threshold=threshold,
        own_threshold=threshold,
        date=datetime.now().isoformat(timespec="minutes"),
        count=number,
        corrections=0,
    )


def name_of(entry: Entry) -> str:
    """What an image is called in sentences."""
    return entry.facts.sample or entry.facts.name


def counted(batch: str) -> str:
    """How many cells there are in how many images."""
    there = list(batches.done(batch))
    number = sum(entry.facts.count for entry in there)
    told = several(number, "cell")
    return told if len(there) == 1 else f"{told} in {len(there)} images"


def stop(ui: Any, batch: str | None) -> dict:
    """Cancel. The run itself says that it is over; where there is none any more that is said here."""
    return {ui.status: gr.skip()} if RUNS.stop(batch) else cancelled(ui, batch)


def cancelled(ui: Any, batch: str | None) -> dict:
    """The page after a run that was cancelled; what is shown stays, with its downloads."""
    there = batches.still_open(batch)
    done = sum(entry.facts.found for entry in there)
    told, late = "Cancelled.", {}
    if there and not (here := batches.looked_at(batch or "")).has_files:
        late = downloads(ui, batch or "", here)  # it was cancelled between showing and writing them
    if len(there) > 1:
        told = f"Cancelled: {done} of {len(there)} images are done; Find cells goes on with the others."
    return {
        ui.status: told,
        ui.cancel: gr.update(interactive=False),
        ui.button: gr.update(interactive=True),
        ui.strip: strip_of(batch) if there else None,
        ui.zip_all: gr.update(visible=done > 1),
        **late,
    }


def zip_all(ui: Any, batch: str | None) -> Iterator[dict]:
    """One archive of all images whose cells were found."""
    if not batch:
        raise InputError("Open some images and find their cells first.")
    there = batches.entries(batch)
    jobs = [
        (str(entry.folder), stem, asdict(entry.facts))
        for entry, stem in zip(there, batches.distinct_stems(there), strict=True)
        if entry.facts.found
    ]
    if not jobs:
        raise InputError("No image has cells yet; press Find cells first.")
    target = str(Path(batch) / "cells_of_all_images.zip")
    for kind, what in run(readers, files.write_all, jobs, target, seconds=600):
        if kind == "told":
            yield {ui.status: good(f"{what.message.capitalize()} …")}
    told = f"All {len(jobs)} images are in the zip."
    if len({facts["name"].casefold() for _, _, facts in jobs}) < len(jobs):
        told += " Those called the same have a number behind their names there."
    if 0 < sum(facts["pixel"] > 0 for _, _, facts in jobs) < len(jobs):
        told += " Its table is in pixels: of some images the size of a pixel isn't known."
    yield {ui.status: told, ui.zipped: shown(target)}


def api(image: str, score_threshold: float = 0.0) -> dict[str, Any]:
    """Segment one image with the model that is the page's first choice.

    Args:
        image: TIFF, PNG, JPEG or BMP, 8 or 16 bit.
        score_threshold: cells of lower scores are left out; 0 for the model's own threshold.

    Returns a dict of `width`, `height` and `results`, a list of COCO results.
    """
    if not image:
        raise InputError("give an image")
    threshold = checked(score_threshold, 0, 1, "the score threshold")
    folder = str(new_folder())
    try:
        with TURNS.ticket("segment") as ticket:
            for _ in ticket.waiting():
                pass
            job = run(modellers, modelling.segment_file, image, folder, default()[1], threshold)
            found, least = next(what for kind, what in ticket.follow(job) if kind == "done")
        found = found.select(found.scores >= least)
        return {"width": found.size[1], "height": found.size[0], "results": results(found, 1)}
    finally:
        forget(folder)
