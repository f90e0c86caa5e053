"""The demo page served as `glioma-hf demo` serves it, and a headless Chromium that visits it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import NONE_HERE, find_browser

CHROMIUM = find_browser()
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = os.environ.get("GLIOMA_HF_SCREENSHOTS")  # a folder for pictures of the page, to look at
# What a tab has once it is whole.
READY = {
    "Teach": "#teach-viewer .empty",
    "Score": "#score-viewer .empty",
    "Explore": "#explore-viewer .summary:has-text('cells')",
}
WIDE, NARROW = {"width": 1366, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="session")
def address(request) -> str:
    """Where the page is served for a browser."""
    if not CHROMIUM:
        pytest.skip(NONE_HERE)
    return request.getfixturevalue("server")


@pytest.fixture(scope="session")
def server(started) -> str:
    """Where the page is served."""
    return started[0]


@pytest.fixture(scope="session")
def started(folder, tmp_path_factory) -> Iterator[tuple[str, int]]:
    """Where the page is served, and the process that serves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = tmp_path_factory.mktemp("server")
    program = Path(sys.executable).with_name("glioma-hf")
    started = time.perf_counter()
    server = subprocess.Popen(
        [str(program), "demo", "--port", str(port), "--data", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=2)
                break
            except OSError:
                assert server.poll() is None, server.stdout.read()
                time.sleep(0.5)
        else:
            pytest.fail("the demo didn't start within two minutes")
        print(f"the page is up after {time.perf_counter() - started:.1f} s")
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(20)
    left = [p for p in temporary.rglob("*") if p.is_file() or p.name.startswith("glioma")]
    assert not left, "a stopped server leaves nothing behind"


@pytest.fixture(scope="session")
def browser(address):
    """Chromium; each visitor is a context of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


def new_visitor(browser, address: str, viewport: dict, theme: str = ""):
    """A page of someone who wasn't here before."""
    page = browser.new_context(viewport=viewport, accept_downloads=True).new_page()
    page.set_default_timeout(240_000)  # where others keep the machine busy
    page.goto(f"{address}/?__theme={theme}" if theme else address)
    page.wait_for_selector("#find")
    return page


@pytest.fixture
def visit(browser, address):
    """A function that opens the page for a new visitor, on a tab of it."""
    pages = []

    def open_page(tab: str = "Segment", viewport: dict = WIDE, theme: str = ""):
        pages.append(new_visitor(browser, address, viewport, theme))
        if tab != "Segment":
            choose_tab(pages[-1], tab)
        return pages[-1]

    yield open_page
    for page in pages:
        page.context.close()


@pytest.fixture(scope="session")
def regular(browser, address):
    """The page of a visitor who stays."""
    page = new_visitor(browser, address, WIDE)
    yield page
    page.context.close()


@pytest.fixture
def stay(request, regular, address):
    """A function that gives the page of a visitor who stays, on a tab of it.

    For tests that open what they need, as opening clears what was there, and leave the model as it is.
    """

    def on_tab(tab: str = "Segment"):
        choose_tab(regular, tab)
        return regular

    failed = request.session.testsfailed
    yield on_tab
    if request.session.testsfailed > failed:  # it may have left anything there
        regular.goto(address)
        regular.wait_for_selector("#find")


def choose_tab(page, name: str) -> None:
    """Open a tab; on a narrow screen it may be behind the overflow button."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.first.is_visible():
        page.locator(".overflow-menu button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.first.click()


def downloads(page, selector: str, folder: Path) -> dict[str, Path]:
    """What the links give, once there are some that stay as they are; files by the end of their names."""
    page.wait_for_selector(f"{selector} a[download]")
    links, before = [], None
    while not links or links != before:
        before = links
        page.wait_for_timeout(300)
        links = page.locator(f"{selector} a[download]").evaluate_all("all => all.map((a) => [a.download, a.href])")
    saved = {}
    for name, address in links:
        answer = page.request.get(address)
        assert answer.ok, f"{name}: {answer.status}"
        target = folder / name
        target.write_bytes(answer.body())
        saved[name.rsplit("_", 1)[-1]] = target
    return saved


def downloads_when(page, selector: str, folder: Path, ready) -> dict[str, Path]:
    """The downloads, once they are as `ready` wants them: they follow what was done after a moment."""
    for _ in range(100):
        files = downloads(page, selector, folder)
        if ready(files):
            return files
    raise AssertionError("the downloads didn't follow")


def told_badly(page, status: str) -> str:
    """The sentences in a status by which the page answers bad input."""
    page.wait_for_selector(f"{status} .bad")
    text = page.inner_text(status)
    assert "Traceback" not in text
    assert "/tmp" not in text
    assert "--" not in text
    return text


def open_sample(page, name: str = "Crowded cells") -> None:
    """Choose a sample in Segment and wait until it is shown."""
    page.locator("#sample input").click()
    page.get_by_role("option", name=name).click()
    page.wait_for_selector(f"#viewer .caption:has-text('{name}')")


def open_images(page, *paths: Path) -> None:
    """Drop files into Segment, in place of those that were there."""
    clear = page.locator("#segment-upload").get_by_role("button", name="Clear")
    if clear.count():
        clear.click()
        clear.wait_for(state="detached")
    page.set_input_files("#segment-upload input[type=file]", [str(path) for path in paths])


def crowded_cells(page) -> int:
    """Show a sample with its cells, found now or by a test before; how many there are."""
    caption = page.locator("#viewer .caption")
    told = caption.inner_text() if caption.is_visible() else ""
    if not told.startswith("Crowded cells") or "not found yet" in told:
        open_sample(page)
        find_cells(page)
    page.wait_for_selector("#downloads a[download]")
    page.click("#viewer .whole")
    return count(page)


def find_cells(page) -> int:
    """Press Find cells and wait for the end; how many cells there are."""
    page.click("#find")
    page.wait_for_selector("#status:has-text('Done in')")
    page.wait_for_selector("#viewer .summary:has-text('cells')")
    return count(page)


def count(page, viewer: str = "#viewer") -> int:
    """How many cells a viewer shows."""
    return int(page.inner_text(f"{viewer} .summary").split(" ")[0])


def place_in_picture(page, viewer: str, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the whole image lies on the page."""
    box = page.locator(f"{viewer} canvas").bounding_box()
    width, height = page.evaluate(
        "id => { const v = document.querySelector(id).querySelector('canvas'); return [v.dataset.w, v.dataset.h] }",
        viewer,
    )
    scale = min(box["width"] / float(width), box["height"] / float(height))
    left = box["x"] + (box["width"] - float(width) * scale) / 2
    top = box["y"] + (box["height"] - float(height) * scale) / 2
    return left + x * scale, top + y * scale


def screenshot(page, name: str) -> None:
    """Keep a picture of the page, where a folder for such is named."""
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(800)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=True)
