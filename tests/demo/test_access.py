"""The page for everyone: contrast, names and focus, by axe-core, and what is sent before anything is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.demo.conftest import NARROW, READY, choose_tab, find_cells, open_sample, screenshot

MOST_SENT = 300_000  # bytes of the first view, nearly all of them the library's that the page stands on
RUN = """async (path) => {
  const { violations } = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa"] });
  return violations.filter((v) => ["serious", "critical"].includes(v.impact))
    .flatMap((v) => v.nodes.map((n) => [v.id, n.target.join(" "), n.failureSummary]));
}"""


def serious(page) -> list:
    """What axe-core finds serious."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python isn't installed")
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    return page.evaluate(RUN)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_tab(visit, theme):
    page = visit(theme=theme)
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    open_sample(page)
    find_cells(page)
    page.wait_for_selector("#downloads a[download]")
    screenshot(page, f"segment_{theme}")
    assert serious(page) == []
    for tab in ("Teach", "Score", "Explore"):
        choose_tab(page, tab)
        page.wait_for_selector(READY[tab])
        if tab == "Explore":
            page.wait_for_selector("#explore-shapes .vega-embed")
        screenshot(page, f"{tab.lower()}_{theme}")
        assert serious(page) == [], tab


def test_the_status_is_read_out_and_every_cell_is_reached_by_keyboard(visit):
    page = visit(viewport=NARROW)
    assert page.get_attribute("#status [role=status]", "aria-live") == "polite"
    page.locator("#sample input").focus()
    page.keyboard.type("Spar")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .caption:has-text('Sparse cells')")
    cells = find_cells(page)
    canvas = page.locator("#viewer canvas")
    canvas.focus()
    seen = set()
    for _ in range(cells):
        page.keyboard.press(".")
        seen.add(page.get_attribute("#viewer tr[aria-selected=true]", "data-id"))
    assert len(seen) == cells
    assert "area" in page.inner_text("#viewer .keys")
    page.mouse.move(200, 300)
    # One finger scrolls the page over the picture.
    assert canvas.evaluate("canvas => canvas.style.touchAction") == "pan-y"


def test_the_viewers_script_is_sent_once_and_the_first_view_is_small(visit, browser, address):
    page = browser.new_context().new_page()
    sent: dict[str, int] = {}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    names: dict[str, str] = {}
    session.on("Network.responseReceived", lambda e: names.update({e["requestId"]: e["response"]["url"]}))
    session.on("Network.loadingFinished", lambda e: sent.update({e["requestId"]: e["encodedDataLength"]}))
    page.goto(address)
    page.wait_for_selector("#viewer .cells-viewer")
    page.wait_for_timeout(2000)
    urls = [names.get(request, "") for request in sent]
    print(f"{len(urls)} files, {sum(sent.values())} bytes")
    assert sum(url.endswith("viewer.js") for url in urls) == 1
    assert not any("fonts" in url for url in urls)
    assert "Path2D" not in page.content()
    assert sum(sent.values()) < MOST_SENT, json.dumps(sorted(zip(sent.values(), urls, strict=True))[-10:])
    page.context.close()
