"""What happens when a visitor opens images, looks at one of them, or says what is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import batch as batches
import cells
import gradio as gr
import sessions
from batch import Entry, Facts
from finding import counted, downloads, nothing_to_take, strip_of, viewed
from offices import forget, new_folder, read
from outlines import checked
from telling import bad, good, sentence

from glioma_hf import InputError

FOLDED = "The file says how large a pixel is."
OPENING = '<span class="opening">Opening …</span>'  # waiting.js knows it by its class


def cleared(ui: Any) -> dict:
    """The page without an image."""
    return {
        ui.batch: None,
        ui.viewer: None,
        ui.strip: None,
        ui.status: "",
        **nothing_to_take(ui),
        ui.zip_all: gr.update(visible=False),
        ui.page: gr.update(visible=False),
        ui.compared: "",
    }


def open_files(ui: Any, uploads: list[str] | None, before: str | None) -> Iterator[dict]:
    """Open images, and session files for those among them.

    What was open before is closed, but for images that are still among the uploads: their cells and corrections stay.
    """
    yield {**cleared(ui), ui.status: OPENING if uploads else ""}
    if not uploads:
        forget(before)
        return
    batch, errors, kept = str(new_folder()), [], batches.by_source(before)
    saved = [path for path in uploads if path.lower().endswith(".json")]
    images = [path for path in uploads if path not in saved]
    taken: set[str] = set()
    for number, path in enumerate(images, start=1):
        name = Path(path).name
        if path in kept:
            batches.keep(batch, kept.pop(path))
            continue
        if len(images) > 1:
            yield {ui.status: OPENING + good(f": {name} ({number} of {len(images)})")}
        try:
            entry = batches.add(batch, Facts(name))
        except InputError as error:
            errors.append(sentence(error))
            continue
        error = _open(batch, entry, path)
        if error:
            errors.append(error)
    forget(before)
    for path in saved:
        errors += _restore(batch, path, taken)
    yield {ui.sample: gr.update(value=None), **_opened(ui, batch, errors)}


def open_sample(ui: Any, name: str | None, before: str | None) -> Iterator[dict]:
    """Open a sample in place of what was open before, once the list of them is left; the same one stays as it is."""
    there = batches.still_open(before)
    if not name or [entry.facts.sample for entry in there] == [name]:
        yield {ui.status: gr.skip()}
        return
    forget(before)
    yield {**cleared(ui), ui.upload: None, ui.status: OPENING}
    batch = str(new_folder())
    file_name = f"{name.lower().replace(' ', '_')}.png"
    error = _open(batch, batches.add(batch, Facts(file_name, sample=name)), None)
    yield _opened(ui, batch, [error] if error else [])


def _open(batch: str, entry: Entry, path: str | None) -> str:
    """Read one image; why that isn't possible, or ""."""
    try:
        facts = read(cells.open_image, path, entry.facts.sample, str(entry.folder))
    except Exception as error:
        told = sentence(error, path)
        batches.change(batch, entry.key, error=told)
        return told
    batches.change(batch, entry.key, **facts)
    if path:
        (entry.folder / batches.SOURCE).write_text(path)
    return ""


def _restore(batch: str, path: str, taken: set[str]) -> list[str]:
    """Put what a session file holds to the images that were given with it; what is in the way.

    Images that got it when they were opened before, and were worked on since, stay as they are. The keys of images that
    sessions speak of are added to those that are `taken`.
    """
    errors = []
    try:
        for number, (name, page) in enumerate(read(sessions.read_session, path)):
            entry = next((e for e in batches.entries(batch) if e.facts.name == name and e.key not in taken), None)
            if entry is None:
                errors.append(f"{Path(path).name} is of {name}: drop in both together.")
                continue
            taken.add(entry.key)
            mark = entry.folder / batches.SESSION
            if entry.facts.error or (mark.is_file() and mark.read_text() == path):
                continue
            if page != entry.facts.page:
                batches.change(batch, entry.key, **read(cells.open_page, str(entry.folder), page))
            batches.change(batch, entry.key, **read(sessions.restore, path, number, str(entry.folder)))
            mark.write_text(path)
    except Exception as error:
        errors.append(sentence(error, path))
    return errors


def _opened(ui: Any, batch: str, errors: list[str]) -> dict:
    """The page with the images of a batch, the first that can be read shown."""
    there = batches.entries(batch)
    whole = [entry for entry in there if not entry.facts.error]
    if not whole:
        forget(batch)
        return {**cleared(ui), ui.status: bad(errors)}
    batches.look_at(batch, whole[0].key)
    told = f"{len(whole)} images are open" if len(whole) > 1 else "Open"
    found = [entry for entry in whole if entry.facts.found]
    if found:
        others = " Find cells looks at the others." if len(found) < len(whole) else ""
        told += f", {counted(batch)} as they were left.{others}"
    else:
        told += ". Now press **Find cells**."
    told += "".join(f" {asked(entry.facts)}" for entry in whole if entry.facts.pages > 1 and not entry.facts.found)
    return {
        **shown(ui, batch, whole[0]),
        ui.batch: batch,
        ui.status: good(told) + bad(errors),
        ui.zip_all: gr.update(visible=len(found) > 1),
    }


def asked(facts: Facts) -> str:
    """Which page of a stack is meant, as a question."""
    return f"{facts.name} has {facts.pages} pages, and this is {facts.plane}: is it the one? Choose under **Page**."


def shown(ui: Any, batch: str, entry: Entry) -> dict:
    """The page with one image of a batch."""
    facts = entry.facts
    return {
        ui.viewer: viewed(entry),
        ui.strip: strip_of(batch),
        **downloads(ui, batch, entry),
        ui.pixel: gr.update(value=facts.pixel, info=FOLDED if facts.pixel_from_file else None),
        ui.page: gr.update(
            visible=facts.pages > 1,
            maximum=max(facts.pages, 2),
            value=facts.page,
            label=f"Page of {facts.pages}: {facts.plane}" if facts.pages > 1 else "Page",
        ),
        ui.compared: "",
    }


def select(ui: Any, batch: str | None, event: gr.EventData) -> dict:
    """Show another image of the batch."""
    entry = batches.entry(batch or "", getattr(event, "key", None))
    batches.look_at(batch or "", entry.key)
    told = bad(f"{entry.facts.name}: {entry.facts.error}") if entry.facts.error else gr.skip()
    return {**shown(ui, batch or "", entry), ui.status: told}


def turn_page(ui: Any, batch: str | None, page: Any) -> dict:
    """Show another page of the stack; the cells of the one before go with it."""
    if not batch:
        return {ui.status: gr.skip()}
    entry = batches.looked_at(batch)
    number = round(checked(page, 1, max(entry.facts.pages, 1), "the page"))
    if number == entry.facts.page or entry.facts.pages < 2:
        return {ui.status: gr.skip()}
    facts = read(cells.open_page, str(entry.folder), number)
    pixel = {"pixel": entry.facts.pixel, "pixel_from_file": entry.facts.pixel_from_file}
    nothing = asdict(Facts(entry.facts.name))
    entry = batches.change(batch, entry.key, **{**nothing, **facts, **pixel})
    return {**shown(ui, batch, entry), ui.status: good(f"This is {entry.facts.plane}. Now press **Find cells**.")}


def set_pixel(ui: Any, batch: str | None, value: Any, said: Any) -> dict:
    """Take another pixel size for all images of a batch whose files don't say one, and for the one that is shown.

    `said` is what the status says: that another one was refused is over once the old one is back.
    """
    pixel = checked(value, 0, 1e4, "the pixel size")
    if not batch:
        return {ui.status: gr.skip()}
    here = batches.looked_at(batch)
    if here.facts.pixel == pixel:
        return {ui.status: "" if "the pixel size" in str(said).lower() else gr.skip()}
    for one in batches.entries(batch):
        if one.key == here.key or not one.facts.pixel_from_file:
            batches.change(batch, one.key, pixel=pixel)
    here = batches.entry(batch, here.key)
    told = f"Sizes are in micrometres now, at {pixel:g} µm per pixel." if pixel else "Sizes are in pixels now."
    return {
        ui.viewer: viewed(here, picture=not here.facts.found),
        **downloads(ui, batch, here),
        ui.status: told,
    }
