"""The demo page, driven in headless Chromium as a visitor would."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import Instances
from glioma_hf.data.synthetic import SceneConfig, generate_scene

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium, or set CHROMIUM")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(os.environ.get("GLIOMA_HF_SCREENSHOTS", Path(__file__).parent / ".screenshots"))


@pytest.fixture(scope="module")
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("glioma-hf")
    server = subprocess.Popen(
        [str(program), "demo", "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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
        yield url
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    opened = browser.new_page(viewport={"width": 1366, "height": 900})
    opened.set_default_timeout(60_000)
    opened.goto(address)
    opened.wait_for_selector("#find")
    yield opened
    opened.close()


def count(page) -> int:
    return int(re.match(r"(\d+) cells", page.inner_text("#summary")).group(1))


def find(page) -> int:
    page.click("#find")
    page.wait_for_selector("#summary h3")
    page.wait_for_selector("#downloads a")
    return count(page)


def downloads(page, folder: Path) -> dict[str, Path]:
    saved = {}
    for link in page.query_selector_all("#downloads a[download]"):
        with page.expect_download() as event:
            link.click()
        target = folder / event.value.suggested_filename
        event.value.save_as(target)
        saved[target.suffix] = target
    return saved


def test_sample_gives_outlines_count_table_and_files(page, tmp_path):
    assert "Choose a sample" in page.inner_text("#summary")
    cells = find(page)
    assert cells > 5
    page.wait_for_selector("#picture img")
    assert "eccentricity" in page.inner_text("#shapes")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(800)
    page.screenshot(path=str(SCREENSHOTS / "demo.png"), full_page=True)
    assert Image.open(SCREENSHOTS / "demo.png").width == 1366
    files = downloads(page, tmp_path)
    assert set(files) == {".json", ".csv", ".png"}
    found = Instances.from_coco(json.loads(files[".json"].read_text()), (480, 640))
    assert len(found) == cells
    rows = list(csv.DictReader(files[".csv"].open()))
    assert [float(r["area"]) for r in rows] == found.areas.tolist()
    assert Image.open(files[".png"]).size == (640, 480)


def test_slider_changes_the_count_at_once(page):
    cells = find(page)
    slider = page.locator("input[type=range]")
    slider.focus()
    for _ in range(6):
        slider.press("ArrowRight")
    slider.dispatch_event("pointerup")
    page.wait_for_function(
        "was => { const now = /^([0-9]+) cells/.exec(document.querySelector('#summary').innerText); "
        "return now && Number(now[1]) !== was }",
        arg=cells,
    )
    assert count(page) < cells


SCENE = generate_scene(21, SceneConfig(width=200, height=150, cells_per_megapixel=(300, 300))).image


@pytest.mark.parametrize("kind", ["grey8.tif", "grey16.tif", "rgb.png", "grey.jpg"])
def test_uploads_of_every_kind(page, tmp_path, kind):
    path = tmp_path / kind
    if kind == "grey16.tif":
        tifffile.imwrite(path, SCENE.astype(np.uint16) * 200)
    elif kind == "grey8.tif":
        tifffile.imwrite(path, SCENE)
    else:
        Image.fromarray(SCENE).convert("RGB" if kind == "rgb.png" else "L").save(path, quality=95)
    page.set_input_files("input[type=file]", str(path))
    page.wait_for_selector(f"text={path.stem}")
    assert find(page) >= 1
    assert Image.open(downloads(page, tmp_path)[".png"]).size == (200, 150)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"this is no image", "notes.tif: not a readable image"), (b"II*\0", "notes.tif: ")],
)
def test_bad_upload_is_answered_by_a_sentence(page, tmp_path, content, says):
    path = tmp_path / "notes.tif"
    path.write_bytes(content)
    page.set_input_files("input[type=file]", str(path))
    page.wait_for_selector("text=notes")
    page.click("#find")
    page.wait_for_selector(".toast-body")
    text = page.inner_text(".toast-body")
    assert says in text
    assert "Traceback" not in text
    assert "/tmp" not in text
