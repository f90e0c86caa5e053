"""Chromium on the site, as visitor, developer and maintainer; axe-core on every page; pictures to look at."""

from __future__ import annotations

import re

import pytest

from tests.browser import NONE_HERE
from tests.demo.conftest import CHROMIUM, NARROW, QUIET, WIDE, screenshot
from tests.demo.test_access import serious
from tests.leaderboard.made import TASK, command

pytestmark = pytest.mark.alone

SECRET = "correct horse battery"


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM:
        pytest.skip(NONE_HERE)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def visit(chromium, served):
    """A function that opens a page for a new visitor; what the browser complains of fails the test."""
    contexts, complaints = [], []

    def open_page(address: str = "/", viewport: dict = WIDE, dark: bool = False):
        context = chromium.new_context(
            viewport=viewport, color_scheme="dark" if dark else "light", base_url=served[0], accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(90_000)
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [told for told in complaints if "status of 400" not in told] == []


def register(page, name: str) -> None:
    page.goto("/register")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(SECRET)
    page.get_by_role("button", name="Register").click()
    page.wait_for_selector("#submissions")


def looked_at(page, name: str) -> None:
    """A picture, and nothing serious by axe-core; nothing lies beside a narrow screen."""
    screenshot(page, f"leaderboard_{name}")
    assert serious(page) == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_a_developer_takes_part_and_everybody_sees_it(visit, served, results):
    url, _ = served
    page = visit("/take-part")
    register(page, "Dana")
    page.locator("input[type=file]").set_input_files(str(results))
    page.locator("select[name=task]").select_option(label=TASK)
    page.get_by_label("Name of the model").fill("Dana's <b>model</b>")
    page.get_by_text("More about the model").click()
    page.get_by_label("Licence").fill("MIT")
    looked_at(page, "take_part")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector("[data-state=scored]")  # appears by itself
    page.get_by_role("button", name="Publish").click()
    page.wait_for_selector("button:has-text('Hide')")
    looked_at(page, "submissions")
    page.get_by_role("link", name="Dana's <b>model</b>").click()
    page.wait_for_selector('h1:has-text("Dana\'s <b>model</b>")')
    looked_at(page, "model")

    stranger = visit("/")
    with stranger.expect_navigation():
        stranger.locator("select[name=task]").select_option(label=TASK)
    assert stranger.locator("tbody th").all_inner_texts()[0].startswith("Dana's <b>model</b>")
    shared = visit(stranger.url.removeprefix(url))  # the address says all
    assert shared.locator("tbody th").all_inner_texts() == stranger.locator("tbody th").all_inner_texts()
    with stranger.expect_download() as event:
        stranger.get_by_role("link", name="CSV").click()
    assert event.value.suggested_filename == "leaderboard.csv"

    page.goto("/compare")
    page.wait_for_load_state("networkidle")
    looked_at(page, "compare")
    page.locator("#zoom").fill("3")
    page.locator(".pane").first.evaluate("pane => pane.scrollTo(120, 80)")
    page.wait_for_timeout(300)
    assert page.locator(".pane").evaluate_all("all => all.map((p) => [p.scrollLeft, p.scrollTop])") == [[120, 80]] * 2
    page.get_by_role("link", name="These models on all images of the task").click()
    page.wait_for_selector(".joined img")
    page.wait_for_load_state("networkidle")
    looked_at(page, "task")
    page.goto("/take-part")
    page.get_by_role("button", name="Withdraw").click()
    page.wait_for_selector("[data-state=withdrawn]")
    stranger.reload()
    assert "Dana" not in stranger.inner_text("main")
    # Bad input is told in a sentence on the page.
    page.locator("input[type=file]").set_input_files(
        {"name": "bad.json", "mimeType": "application/json", "buffer": b"[1"}
    )
    page.get_by_label("Name of the model").fill("Bad")
    page.get_by_role("button", name="Send").click()
    told = page.wait_for_selector(".bad").inner_text()
    assert told.startswith("Bad.json isn't a list of COCO results"), told


def test_a_long_name_pushes_nothing_aside(visit, served, results):
    """One word of 120 letters: the page stays as wide as a phone, and others' scores stay beside the names."""
    page = visit("/take-part", NARROW, True)
    register(page, "Lena")
    page.locator("input[type=file]").set_input_files(str(results))
    page.locator("select[name=task]").select_option(label=TASK)
    page.get_by_label("Name of the model").fill("M" * 120)
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector("[data-state=scored]")
    looked_at(page, "long_submissions")
    page.locator("#submissions").get_by_role("link", name="MMM").click()
    page.wait_for_selector("h1:has-text('MMM')")
    looked_at(page, "long_model")
    page.locator("th[scope=row] a").first.click()
    page.wait_for_selector("th:has-text('MMM')")
    looked_at(page, "long_table")
    assert page.locator("th:has-text('MMM')").bounding_box()["width"] < 250
    for link, there in (("Compare on its images", ".pane img"), ("These models on all images", ".joined img")):
        page.get_by_role("link", name=link).click()
        page.wait_for_selector(there)
        looked_at(page, f"long_{there[1:5]}")
    page.goto("/take-part")
    page.get_by_role("button", name="Withdraw").click()
    page.wait_for_selector("[data-state=withdrawn]")


def test_a_maintainer_adds_a_data_set(visit, served, folder):
    page = visit("/take-part")
    register(page, "Mona")
    assert not page.get_by_text("Add a data set").count()
    assert command("leaderboard", "account", "Mona", "--folder", served[1], "--maintainer").returncode == 0
    page.reload()
    page.get_by_label("Prepared folder").fill(str(folder))
    page.get_by_label("Name", exact=True).fill("more")
    looked_at(page, "maintainer")
    page.get_by_role("button", name="Add").click()
    page.wait_for_selector("th:has-text('more, spec/test: cells')")


@pytest.mark.parametrize(("kind", "viewport", "dark"), [("wide", WIDE, False), ("narrow", NARROW, True)])
def test_every_page_is_for_everyone(visit, kind, viewport, dark):
    page = visit("/", viewport, dark)
    looked_at(page, f"board_{kind}")
    first = page.locator("tbody th").all_inner_texts()
    page.get_by_role("link", name="Precision").click()
    page.wait_for_url(re.compile("sort=precision"))
    assert page.get_attribute("th[aria-sort]", "aria-sort") == "descending"
    assert sorted(page.locator("tbody th").all_inner_texts()) == sorted(first)
    for address, name in (("/tasks", "tasks"), ("/cells", "cells"), ("/log-in", "log_in"), ("/take-part", "stranger")):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        looked_at(page, f"{name}_{kind}")
    page.goto("/cells?number=2")
    figure = page.locator("figure").first
    figure.focus()
    page.wait_for_timeout(400)
    assert page.locator(".over").first.evaluate("i => getComputedStyle(i).opacity") == "1"
