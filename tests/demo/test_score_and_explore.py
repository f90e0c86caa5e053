"""The tabs Score and Explore."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from glioma_hf import Instances
from glioma_hf.data.splits import annotated_rows
from glioma_hf.metrics.overlap_ap import overlap_ap
from tests.conftest import ROOT
from tests.demo.conftest import NARROW, READY, choose_tab, crowded_cells, downloads, screenshot, told_badly
from tests.strategies import square

sys.path.insert(0, str(ROOT / "spaces" / "demo"))
from samples import sample

SIZE = (120, 160)
REFERENCE = Instances.from_polygons([square(10, 10, 20), square(25, 15, 20), square(80, 60, 30)], SIZE, ids=[1, 2, 3])
FOUND = Instances.from_polygons(
    [square(11, 10, 20), square(80, 62, 30), square(120, 20, 25)], SIZE, scores=[0.9, 0.8, 0.7], ids=[1, 2, 3]
)


@pytest.fixture
def pair(tmp_path) -> dict[str, Path]:
    """References and results of two images, the second without a result, and the first image."""
    images = [{"id": i, "file_name": f"{n}.tif", "width": 160, "height": 120} for i, n in ((1, "one"), (2, "two"))]
    annotations = REFERENCE.to_coco(1, [1]) + [{**a, "id": a["id"] + 10} for a in REFERENCE.to_coco(2, [1])]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "references.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(FOUND.to_coco(1, [1])))
    tifffile.imwrite(tmp_path / "one.tif", np.full(SIZE, 90, np.uint8))
    return {"references": tmp_path / "references.json", "predictions": tmp_path / "results.json"}


def upload(page, files: dict[str, Path]) -> None:
    for name, path in files.items():
        page.set_input_files(f"#score-{name} input[type=file]", str(path))
        page.wait_for_selector(f"#score-{name} :text('{path.stem}')")


def test_table_outcomes_and_curve_of_a_pair_of_files(visit, pair, tmp_path):
    page = visit("Score")
    assert "then press Score" in page.inner_text("#score-viewer .empty")
    upload(page, {**pair, "image": tmp_path / "one.tif"})
    # Before anything is scored:
    page.wait_for_selector("#score-status:has-text('1 of 2 images have no predictions: two.tif')")
    page.click("#score-run")
    page.wait_for_selector("#score-status:has-text('predictions scored')")
    expected = overlap_ap([(FOUND, REFERENCE), (Instances.empty(SIZE), REFERENCE)])
    table = page.inner_text("#score-table")
    for name in ("ap50", "precision", "recall", "f1"):
        assert f"{getattr(expected, name):.4f}" in table
    page.wait_for_selector("#score-viewer .summary:has-text('2 true positives · 1 false positive · 1 missed')")
    kinds = page.locator("#score-viewer tbody tr td:last-child").all_inner_texts()
    assert sorted(kinds) == ["false positive", "missed", "true positive", "true positive"]
    assert [t.strip() for t in page.locator("#score-viewer .legend span").all_inner_texts()] == [
        "true positives",
        "false positives",
        "missed",
    ]
    page.wait_for_selector("#score-curve .vega-embed")
    screenshot(page, "score_wide")
    page.get_by_label("Image", exact=True).first.click()
    page.get_by_role("option", name="2: two.tif").click()
    page.wait_for_selector("#score-viewer .summary:has-text('0 true positives · 0 false positives · 3 missed')")
    # The picture of the first isn't shown for the second.
    page.wait_for_selector("#score-status:has-text('one.tif is another of the images: give two.tif')")
    (tmp_path / "one.tif").rename(tmp_path / "two.tif")
    clear = page.locator("#score-image").get_by_role("button", name="Clear")
    clear.click()
    page.wait_for_selector("#score-status:not(:has-text('another of the images'))")
    upload(page, {"image": tmp_path / "two.tif"})
    clear.click()
    (tmp_path / "notes.tif").write_text("no image")
    upload(page, {"image": tmp_path / "notes.tif"})
    assert "notes.tif: not a readable image" in told_badly(page, "#score-status")
    clear.click()
    (tmp_path / "two.tif").rename(tmp_path / "one.tif")
    upload(page, {"image": tmp_path / "one.tif"})  # which is shown with its own outcomes, and no old sentence stays
    page.wait_for_selector("#score-viewer .summary:has-text('2 true positives')")
    page.wait_for_selector("#score-status:not(:has(.bad))")


def test_one_is_no_several(tmp_path):
    """Sentences of a pair with one image and one object each."""
    import scoring

    image = {"id": 1, "file_name": "one.tif", "width": 160, "height": 120}
    one = REFERENCE.select([0])
    content = {"images": [image], "annotations": one.to_coco(1, [1]), "categories": [{"id": 1, "name": "cell"}]}
    for name, found in (("references", content), ("results", one.to_coco(1, [1])), ("nothing", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    paths = [str(tmp_path / f"{name}.json") for name in ("references", "results", "nothing")]
    told = scoring.score(print, *paths[:2], False, str(tmp_path))["told"]
    assert told == ["1 image, 1 reference and 1 prediction scored."]
    told = scoring.score(print, paths[0], paths[2], False, str(tmp_path))["told"]
    assert told[1] == "1 of 1 image has no predictions: one.tif."


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("references", b"{}", "isn't COCO"),
        ("predictions", b"nonsense", "isn't JSON"),
        ("predictions", json.dumps([{"image_id": 9, "segmentation": square(1, 1, 5)}]).encode(), "unknown image 9"),
    ],
)
def test_bad_files_are_answered_by_a_sentence(visit, pair, name, content, says):
    pair[name].write_bytes(content)
    page = visit("Score")
    upload(page, pair)
    page.click("#score-run")
    assert says in told_badly(page, "#score-status")


def test_what_segment_gives_is_scored_by_its_name(stay, tmp_path):
    page = stay()
    cells = crowded_cells(page)
    predictions = downloads(page, "#downloads", tmp_path)["coco.json"]
    _, truth = sample("Crowded cells")
    images = [
        {"id": 7, "file_name": "another.png", "width": 640, "height": 480},
        {"id": 9, "file_name": "crowded_cells.png", "width": 640, "height": 480},
    ]
    truth = truth.select(truth.categories != 3)
    annotations = truth.to_coco(9, [1] * 4)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    choose_tab(page, "Score")
    upload(page, {"references": tmp_path / "truth.json", "predictions": predictions})
    page.wait_for_selector("#score-status:has-text('1 of 2 images have no predictions: another.png')")
    page.click("#score-run")
    page.wait_for_selector("#score-status:has-text('predictions scored')")
    told = page.inner_text("#score-status")
    found = Instances.from_coco(json.loads(predictions.read_text())["annotations"], (480, 640))
    expected = overlap_ap([(found, truth)])
    assert expected.ap50 > 0
    assert f"{expected.ap50:.4f}" in page.inner_text("#score-table")
    border = int(found.touching_border().sum())
    assert border > 0
    assert f"{border} of {cells} predictions aren't scored: {border} touch the border" in told


def test_files_that_are_missing_are_asked_for(visit):
    page = visit("Score")
    page.click("#score-run")
    assert "Give a COCO file of references" in told_badly(page, "#score-status")


def pick(page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).last.click()
    page.get_by_role("option", name=option, exact=True).click()


def test_explore_shows_parts_types_and_statistics(visit, folder):
    page = visit("Explore")
    page.wait_for_selector("#explore-viewer .summary:has-text('cells')")
    page.wait_for_selector("#explore-shapes .vega-embed")
    screenshot(page, "explore_wide")
    page.locator("#explore-part input").click()
    page.get_by_role("option", name="spec/test", exact=True).click()
    row, objects = next(annotated_rows(folder, "spec/test"))
    cells, somata = int((objects.categories != 3).sum()), int((objects.categories == 3).sum())
    page.wait_for_selector(f"#explore-viewer .summary:has-text('{cells} cells · {somata} somata')")
    assert page.locator("#explore-image input").input_value() == row["file_name"]
    for kind, category in (("type A", 1), ("type B", 2)):
        page.get_by_role("radio", name=kind, exact=True).check()
        number = int((objects.categories == category).sum())
        page.wait_for_selector(f"#explore-viewer .summary:has-text('{number} cells ')")
        assert page.locator("#explore-viewer tbody tr").count() == number
    page.get_by_role("radio", name="somata", exact=True).check()
    page.wait_for_selector(f"#explore-viewer .summary:has-text('0 cells · {somata} somata')")
    assert "spec/test" in page.inner_text("#explore-status")


def test_every_tab_on_a_phone(visit):
    page = visit(viewport=NARROW)
    for tab in ("Teach", "Score", "Explore"):
        choose_tab(page, tab)
        page.wait_for_selector(READY[tab])
        screenshot(page, f"{tab.lower()}_narrow")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"] + 1, tab


@pytest.mark.parametrize("tab", ["Segment", "Teach", "Score"])
def test_no_label_lies_on_the_words_below(visit, tab):
    """On a screen of 1366 pixels the columns are narrow."""
    page = visit(tab)
    page.wait_for_selector("button:has-text('Drop File Here'):visible")
    for drop in page.locator("button:has-text('Drop File Here'):visible").all():
        label = drop.locator("xpath=ancestor::*[contains(@class, 'block')][1]").locator("label").first.bounding_box()
        words = drop.locator(".wrap").first.bounding_box()
        icon = drop.get_by_text("Drop File Here").first
        top = icon.evaluate(
            "e => { const r = document.createRange(); r.selectNodeContents(e);"
            " return [...r.getClientRects()].reduce((y, b) => Math.min(y, b.top), 1e9) }"
        )
        assert words
        assert label["y"] + label["height"] <= top + 1, drop.inner_text()
