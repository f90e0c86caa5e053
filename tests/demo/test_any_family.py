"""The page with a family that it knows nothing of: the dummy, in this process."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace

import pytest

from glioma_hf.models import FAMILIES, load_segmenter
from glioma_hf.models.diameter import fitted
from glioma_hf.models.saved import ModelFolder
from glioma_hf.workflows.training import teach
from tests.conftest import ROOT
from tests.demo.conftest import WIDE, downloads, find_cells, open_sample, screenshot
from tests.models.contract import PAIR

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def served(browser):  # with a page of its own, which knows nothing of this
    """Where the page is served while the dummy is among the families, which other processes don't know.

    Of two more the libraries aren't there, or broken.
    """
    pytest.importorskip("gradio")

    def load(*_):
        raise RuntimeError("a library of another version")

    broken = SimpleNamespace(FAMILY=SimpleNamespace(bases=("first",), untrained=(), package="", load=load))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIOMA_HF_IN_PROCESS", "1")
        patch.setitem(FAMILIES, "dummy", "tests.models.dummy")
        patch.setitem(FAMILIES, "absent", "tests.models.absent")
        patch.setitem(FAMILIES, "broken", "tests.models.broken")
        patch.setitem(sys.modules, "tests.models.broken", broken)
        patch.syspath_prepend(str(ROOT / "spaces" / "demo"))
        import page as demo

        _, url, _ = demo.serve(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True)
        yield url
        demo.gr.close_all()


@pytest.fixture
def page(served, browser):
    """The page, with the model's choices open."""
    context = browser.new_context(viewport=WIDE, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(180_000)
    opened.goto(served)
    opened.wait_for_selector("#find")
    open_sample(opened)
    opened.locator("#model button").first.click()
    opened.wait_for_selector("#kind label")
    yield opened
    context.close()


def cells_found(page, tmp_path) -> list[dict]:
    """What Find cells gives on the sample, from the download."""
    find_cells(page)
    page.wait_for_selector("#downloads a[download]")
    return json.loads(downloads(page, "#downloads", tmp_path)["coco.json"].read_text())["annotations"]


def test_a_family_is_a_choice_and_finds_cells(page, tmp_path):
    import samples

    named = [name.strip() for name in page.locator("#kind label").all_inner_texts()]
    assert {"dummy: plain", "sam: embedded"} < set(named)
    assert not [name for name in named if name.startswith(("absent", "broken"))]
    page.get_by_label("dummy: plain", exact=True).check()
    found = cells_found(page, tmp_path)
    pixels, _ = samples.sample("Crowded cells")
    cells = fitted(load_segmenter("dummy"), pixels)[0].with_score_threshold(0.2).segment(pixels)
    assert [row["segmentation"]["counts"] for row in found] == [rle["counts"].decode() for rle in cells.rles]
    screenshot(page, "segment_dummy")


def test_a_saved_model_of_it_is_uploaded(page, tmp_path):
    import samples

    teach(*PAIR, tmp_path / "taught", "dummy")
    packed = ModelFolder(tmp_path / "taught").pack(tmp_path / "dummy.zip")
    page.get_by_label("dummy: plain", exact=True).check()
    page.set_input_files("#model input[type=file]", str(packed))
    page.wait_for_selector("#model :text('dummy.zip')")
    found = cells_found(page, tmp_path)
    pixels, _ = samples.sample("Crowded cells")
    assert len(found) == len(fitted(load_segmenter(tmp_path / "taught"), pixels)[0].segment(pixels))


def test_models_side_by_side(page):
    page.locator("#compare button").first.click()
    page.click("#compare-run")
    page.wait_for_selector("#status:has-text('Compared on crowded_cells.png')")
    told = page.locator("#compared figcaption").all_inner_texts()
    assert any(re.match(r"dummy: plain: \d+ cells, score from", text) for text in told)
    assert len(told) == len(page.locator("#compare input[type=checkbox]").all()) > 1
