"""The picture and its table: many cells, two fingers, and a phone's width."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glioma_hf import Instances
from tests.demo.conftest import NARROW, open_images, place_in_picture
from tests.strategies import square

ACROSS, DOWN = 25, 12  # cells of the image: more than the table holds at once
SIDE = 24  # pixels from one to the next
# What reaches over the right edge of the screen, but for what scrolls sideways in a box of its own.
TOO_WIDE = """() => [...document.body.querySelectorAll("*")].filter((part) => {
  const box = part.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let p = part.parentElement; p; p = p.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(p).overflowX) && p !== document.body) return false;
  return true;
}).map((part) => `${part.tagName} ${part.className} ${part.getBoundingClientRect().right}`)"""

# The ids of all rows that come into being as the table is scrolled from top to bottom.
SCROLLED_THROUGH = """async (box) => {
  const seen = new Set();
  for (;;) {
    for (const row of box.querySelectorAll("tr[data-id]")) seen.add(row.dataset.id);
    if (box.scrollTop + box.clientHeight >= box.scrollHeight - 1) return [...seen];
    box.scrollTop += 0.8 * box.clientHeight;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
}"""


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> list[Path]:
    """An image and a session of it with 300 cells, as the page gives one."""
    folder = tmp_path_factory.mktemp("many")
    width, height = ACROSS * SIDE, DOWN * SIDE
    Image.fromarray(np.full((height, width), 90, np.uint8)).save(folder / "many.png")
    corners = [(x * SIDE + 5, y * SIDE + 5) for y in range(DOWN) for x in range(ACROSS)]
    cells = Instances.from_polygons([square(x, y, 12) for x, y in corners], (height, width))
    rows = [
        {"id": i, "segmentation": {**rle, "counts": rle["counts"].decode()}, "score": 0.9, "by": "model"}
        for i, rle in enumerate(cells.rles, start=1)
    ]
    facts = {"name": "many.png", "page": 1, "width": width, "height": height, "pixel": 0.0, "model": "a model"}
    facts |= {"threshold": 0.5, "own_threshold": 0.5, "date": "2026-11-25T12:00", "cells": rows, "edits": []}
    (folder / "many_session.json").write_text(json.dumps({"glioma_hf_session": 1, "images": [facts]}))
    return [folder / "many.png", folder / "many_session.json"]


def open_many(page, many: list[Path]):
    open_images(page, *many)
    page.wait_for_selector("#viewer .summary:has-text('300 cells')")
    return page


def bar(page) -> float:
    """Length of the scale bar in pixels of the image: the shorter, the nearer."""
    words = page.get_attribute("#viewer canvas", "data-bar")
    return float(re.match(r"([\d.]+) px", words)[1])


def test_a_long_table_is_whole_and_its_last_row_leads_to_the_cell(visit, many):
    page = open_many(visit(), many)
    table = page.locator("#viewer .table")
    assert page.get_attribute("#viewer table", "aria-rowcount") == "301"
    rows = page.locator("#viewer tbody tr[data-id]")
    assert rows.count() < 100  # no more than are in view, and some
    assert rows.first.get_attribute("data-id") == "1"
    assert table.evaluate(SCROLLED_THROUGH) == [str(number) for number in range(1, 301)]
    last = page.locator("#viewer tbody tr[data-id='300']")
    assert last.evaluate("row => row.getBoundingClientRect().bottom") <= table.evaluate(
        "box => box.getBoundingClientRect().bottom + 1"
    )
    far = bar(page)
    last.click()
    assert last.get_attribute("aria-selected") == "true"
    assert bar(page) < far / 3
    # In the other order the first row is that cell, and the table begins anew.
    page.get_by_role("button", name="Sort by id").click()
    table.evaluate("box => { box.scrollTop = 0 }")
    page.wait_for_selector("#viewer tbody tr[data-id='300']")
    assert rows.first.get_attribute("data-id") == "300"
    # A click in the picture on a cell far down the table brings its row into view.
    page.get_by_role("button", name="Sort by id").click()
    page.click("#viewer .whole")
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    page.mouse.click(*place_in_picture(page, "#viewer", 10 * SIDE + 11, 6 * SIDE + 11))
    chosen = page.locator("#viewer tbody tr[aria-selected=true]")
    assert chosen.get_attribute("data-id") == str(6 * ACROSS + 10 + 1)
    assert chosen.evaluate(
        "row => { const a = row.getBoundingClientRect(), b = row.closest('.table').getBoundingClientRect();"
        " return a.top >= b.top && a.bottom <= b.bottom }"
    )


class Fingers:
    """Fingers on the screen of a page."""

    def __init__(self, page):
        self.page, self.session = page, page.context.new_cdp_session(page)

    def _send(self, kind: str, places: list[tuple[float, float]]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def move(self, starts: list[tuple[float, float]], ends: list[tuple[float, float]], steps: int = 8) -> None:
        """Put them down, move them and take them away."""
        for number in range(1, len(starts) + 1):
            self._send("touchStart", starts[:number])
        for step in range(1, steps + 1):
            share = step / steps
            places = [(x + (u - x) * share, y + (v - y) * share) for (x, y), (u, v) in zip(starts, ends, strict=True)]
            self._send("touchMove", places)
        self._send("touchEnd", [])


def test_two_fingers_zoom_and_one_scrolls_the_page(browser, address, many):
    context = browser.new_context(viewport=NARROW, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#find")
    open_many(page, many)
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    box = page.locator("#viewer canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers, far = Fingers(page), bar(page)
    fingers.move([(x - 20, y), (x + 20, y)], [(x - 120, y), (x + 120, y)])
    near = bar(page)
    assert near < far / 3
    # A thumb that rests while the other finger goes down: the page doesn't take it for scrolling.
    top = page.evaluate("scrollY")
    fingers.move([(x, y - 60), (x, y - 30)], [(x, y - 60), (x, y + 60)])
    assert bar(page) < near
    assert page.evaluate("scrollY") == top
    fingers.move([(x - 150, y), (x + 150, y)], [(x - 5, y), (x + 5, y)])
    fingers.move([(x - 150, y), (x + 150, y)], [(x - 5, y), (x + 5, y)])
    assert bar(page) == far
    # The page isn't zoomed, the picture is.
    assert page.evaluate("visualViewport.scale") == 1
    fingers.move([(x, y)], [(x, y - 120)])
    page.wait_for_function("top => scrollY > top + 50", arg=top)
    assert bar(page) == far
    context.close()


def test_nothing_is_wider_than_a_phone_and_the_table_scrolls_in_its_box(visit, many):
    page = open_many(visit(viewport=NARROW), many)
    page.wait_for_selector("#downloads a[download]")
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    table = page.locator("#viewer .table")
    inside, shown = table.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert inside > shown + 50
    last = page.locator("#viewer th").last
    assert last.bounding_box()["x"] > NARROW["width"]
    table.evaluate("box => { box.scrollLeft = box.scrollWidth }")
    edge = last.bounding_box()
    assert edge["x"] + edge["width"] <= NARROW["width"]
    assert page.evaluate("scrollX") == 0


@pytest.mark.parametrize("viewport", [{"width": 1366, "height": 768}, NARROW])
def test_the_picture_stays_in_view_beside_the_row_that_is_clicked(visit, many, viewport):
    page = open_many(visit(viewport=viewport), many)
    row = page.locator("#viewer tbody tr[data-id='3']")
    far = bar(page)
    row.click()
    assert bar(page) < far
    picture, clicked = page.locator("#viewer canvas").bounding_box(), row.bounding_box()
    assert picture["y"] >= 0
    assert picture["y"] + picture["height"] <= clicked["y"]
    assert clicked["y"] + clicked["height"] <= viewport["height"] + 1
