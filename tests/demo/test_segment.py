"""The tab Segment, as a visitor uses it."""

from __future__ import annotations

import csv
import json
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.demo.conftest import (
    NARROW,
    count,
    crowded_cells,
    downloads,
    downloads_when,
    find_cells,
    open_images,
    open_sample,
    place_in_picture,
    screenshot,
    told_badly,
)

SCENE = generate_scene(21, SceneConfig(width=200, height=150, cells_per_megapixel=(300, 300))).image


def find(page) -> int:
    open_sample(page)
    cells = find_cells(page)
    page.wait_for_selector("#downloads a[download]")
    return cells


def columns(page) -> list[str]:
    return page.eval_on_selector_all("#viewer th", "cells => cells.map((cell) => cell.dataset.name)")


def slide(page, presses: int) -> None:
    slider = page.locator("#viewer .threshold")
    slider.focus()
    for _ in range(presses):
        slider.press("ArrowRight")


def test_sample_gives_count_table_histograms_and_files(visit, tmp_path):
    page = visit()
    assert "choose a sample" in page.inner_text("#viewer .empty")
    page.click("#find")
    assert "Choose a sample or drop in an image first" in told_badly(page, "#status")
    cells = find(page)
    assert cells > 5
    assert page.locator("#viewer tbody tr").count() == cells
    for name in ("area", "axis_ratio", "solidity"):
        bars = page.locator(f"#viewer .chart.{name} rect title").all_text_contents()
        assert sum(int(n) for n in bars) == cells
    assert "per megapixel" in page.inner_text("#viewer .summary")
    screenshot(page, "segment_wide")
    files = downloads(page, "#downloads", tmp_path)
    assert set(files) == {
        *("all.zip", "cells.csv", "coco.json", "session.json", "qupath.geojson", "rois.zip"),
        *("labels.tif", "preview.png", "overlay.png"),
    }
    content = json.loads(files["coco.json"].read_text())
    assert [(i["id"], i["file_name"]) for i in content["images"]] == [(1, "crowded_cells.png")]
    found = Instances.from_coco(content["annotations"], (480, 640))
    assert len(found) == cells
    rows = list(csv.DictReader(files["cells.csv"].open()))
    assert [float(r["area_px"]) for r in rows] == found.areas.tolist()
    ids = [int(r["id"]) for r in rows]
    assert ids == [a["cell_id"] for a in content["annotations"]] == list(range(1, cells + 1))
    assert len(read_rois(files["rois.zip"].read_bytes(), (480, 640), "rois")) == cells
    assert np.array_equal(tifffile.imread(files["labels.tif"]), found.to_label_map())
    features = json.loads(files["qupath.geojson"].read_text())["features"]
    assert [f["properties"]["name"] for f in features] == [f"cell {i}" for i in ids]
    assert features[0]["properties"]["measurements"]["Area px"] == float(rows[0]["area_px"])
    for name in ("overlay.png", "preview.png"):
        assert Image.open(files[name]).size == (640, 480)
    with zipfile.ZipFile(files["all.zip"]) as packed:
        assert sorted(packed.namelist()) == sorted(f.name for n, f in files.items() if n != "all.zip")


def test_slider_answers_at_once_and_files_follow(visit, tmp_path):
    page = visit()
    cells = find(page)
    page.locator("#viewer .threshold").focus()
    started = time.perf_counter()
    slide(page, 25)
    fewer = count(page)
    assert time.perf_counter() - started < 30  # 25 key presses, on a busy machine too; the model would take longer
    assert 0 < fewer < cells
    assert page.locator("#viewer tbody tr").count() == fewer
    downloads_when(
        page,
        "#downloads",
        tmp_path,
        lambda files: len(json.loads(files["coco.json"].read_text())["annotations"]) == fewer,
    )
    assert f"score from {page.inner_text('#viewer .value')}" in page.inner_text("#viewer .caption")


def test_a_click_on_a_cell_selects_its_row_and_the_other_way_round(stay):
    page = stay()
    crowded_cells(page)
    row = page.locator("#viewer tbody tr").nth(2)
    values = row.locator("td").all_inner_texts()
    names = columns(page)
    cell = dict(zip(names, values, strict=True))
    # Round cells lie around their centroid; this one's own pixel may not, so the click is on the smallest there.
    before = page.locator("#viewer canvas").screenshot()
    row.click()
    assert row.get_attribute("aria-selected") == "true"
    assert page.locator("#viewer canvas").screenshot() != before
    page.locator("#viewer .whole").click()
    page.locator("#viewer tbody tr").nth(5).click()
    page.locator("#viewer .whole").click()
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    page.mouse.click(*place_in_picture(page, "#viewer", float(cell["x"]), float(cell["y"])))
    chosen = page.locator("#viewer tbody tr[aria-selected=true]")
    assert chosen.count() == 1
    assert chosen.get_attribute("data-id") == cell["id"]


def test_table_sorts_by_any_column(stay):
    page = stay()
    crowded_cells(page)
    page.get_by_role("button", name="Sort by area").first.click()
    column = columns(page).index("area")
    assert page.evaluate("document.activeElement.textContent") == "area (px²)"  # the focus stays where it was
    areas = [
        float(r.query_selector_all("td")[column].inner_text()) for r in page.query_selector_all("#viewer tbody tr")
    ]
    assert areas == sorted(areas)
    page.get_by_role("button", name="Sort by area").first.click()
    areas = [
        float(r.query_selector_all("td")[column].inner_text()) for r in page.query_selector_all("#viewer tbody tr")
    ]
    assert areas == sorted(areas, reverse=True)


def test_zoom_pan_and_toggles_by_mouse_and_keyboard(stay):
    page = stay()
    crowded_cells(page)
    canvas = page.locator("#viewer canvas")
    seen = [canvas.screenshot()]

    def changed() -> bool:
        for _ in range(50):
            now = canvas.screenshot()
            if now != seen[-1]:
                seen.append(now)
                return True
        return False

    page.wait_for_timeout(300)
    seen[0] = canvas.screenshot()
    canvas.hover()
    page.mouse.wheel(0, -600)
    assert changed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 380, box["y"] + 260, steps=4)
    page.mouse.up()
    assert changed()
    canvas.focus()
    page.keyboard.press("+")
    assert changed()
    page.keyboard.press("ArrowLeft")
    assert changed()
    page.keyboard.press("0")
    assert changed()
    for toggle in ("fill", "scores", "outlines"):
        page.locator(f"#viewer input.{toggle}").click()
        assert changed(), toggle


@pytest.mark.parametrize("kind", ["grey8.tif", "grey16.tif", "rgb.png", "grey.jpg"])
def test_uploads_of_every_kind(stay, tmp_path, kind):
    path = tmp_path / kind
    if kind == "grey16.tif":
        tifffile.imwrite(path, SCENE.astype(np.uint16) * 200)
    elif kind == "grey8.tif":
        tifffile.imwrite(path, SCENE)
    else:
        Image.fromarray(SCENE).convert("RGB" if kind == "rgb.png" else "L").save(path, quality=95)
    page = stay()
    open_images(page, path)
    page.wait_for_selector(f"#viewer .caption:has-text('{path.name}')")
    assert "200 x 150 pixels, cells not found yet" in page.inner_text("#viewer .caption")
    assert find_cells(page) >= 1
    page.wait_for_selector("#downloads a[download]")
    files = downloads(page, "#downloads", tmp_path)
    assert Image.open(files["overlay.png"]).size == (200, 150)
    assert files["coco.json"].name == f"{path.stem}_coco.json"


def bad_upload(kind: str, folder: Path) -> Path:
    path = folder / "notes.tif"
    if kind == "text":
        path.write_text("this is no image")
    elif kind == "cut off":
        path.write_bytes(b"II*\0")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "huge":
        path = folder / "huge.png"
        Image.new("1", (30_000, 30_000)).save(path)
    elif kind == "GIF":
        path = folder / "cells.gif"
        Image.fromarray(SCENE).save(path)
    else:
        frames = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1])]
        frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
        (folder / "a.gif").rename(path)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "notes.tif: not a readable image"),
        ("cut off", "notes.tif: "),
        ("empty", "notes.tif: the file is empty"),
        ("huge", "huge.png: "),
        ("animated GIF", "notes.tif: a GIF; give TIFF, PNG, JPEG or BMP"),
        ("GIF", "cells.gif: a GIF; give TIFF, PNG, JPEG or BMP"),
    ],
)
def test_bad_uploads_are_answered_by_a_sentence_and_nothing_else_is_shown(stay, tmp_path, kind, says):
    path = bad_upload(kind, tmp_path)
    page = stay()
    open_sample(page)
    open_images(page, path)
    assert says in told_badly(page, "#status")
    assert page.locator("#viewer .main").is_hidden()  # not what was open before
    page.click("#find")
    page.wait_for_selector("#status:has-text('drop in an image first')")
    assert page.query_selector("#downloads a[download]") is None


def test_cancel_stops_the_run_and_keeps_what_was_there(stay, tmp_path):
    tifffile.imwrite(tmp_path / "large.tif", np.tile(SCENE, (20, 18)))
    page = stay()
    crowded_cells(page)
    open_images(page, tmp_path / "large.tif")
    page.wait_for_selector("#viewer .caption:has-text('large.tif')")
    assert page.query_selector("#downloads a[download]") is None  # those were of the sample
    assert page.locator("#cancel").is_disabled()
    page.click("#find")
    page.wait_for_selector("#status:has-text('Looking at large.tif')")
    page.click("#cancel")
    page.wait_for_selector("#status:has-text('Cancelled')")
    page.wait_for_timeout(1500)
    assert "Cancelled" in page.inner_text("#status")
    assert page.locator("#cancel").is_disabled()
    assert page.query_selector("#downloads a[download]") is None
    assert "cells not found yet" in page.inner_text("#viewer .caption")


@pytest.mark.long
def test_models_that_arent_there_are_told(visit):
    page = visit()
    open_sample(page)
    page.locator("#model button").first.click()
    page.get_by_label("another one from the Hub").check()
    page.get_by_label("Model on the Hub (USER/NAME)").fill("nobody/nothing")
    page.click("#find")
    assert "The model nobody/nothing can't be loaded" in told_badly(page, "#status")
    page.locator("#kind input").first.check()
    page.get_by_label("Adapter on the Hub (USER/NAME)").fill("nobody/nothing")
    page.wait_for_selector("#in-use:has-text('nobody/nothing')")
    page.click("#find")
    page.wait_for_selector("#status:has-text('obody/nothing: no saved model lies there, and the Hub has none')")


@pytest.mark.long
def test_two_visitors_at_once(visit):
    pages = {name: visit() for name in ("Crowded cells", "Sparse cells")}
    for name, page in pages.items():
        open_sample(page, name)
        page.click("#find")
    for name, page in pages.items():
        page.wait_for_selector("#downloads a[download]")
        links = [a.get_attribute("href") for a in page.query_selector_all("#downloads a[download]")]
        assert all(name.lower().replace(" ", "_") in link for link in links)
        assert all(re.search(r"/[0-9a-f]{64}/", link) for link in links)  # no visitor can guess another's
    crowded, sparse = (count(page) for page in pages.values())
    assert crowded > sparse


def test_on_a_phone(visit):
    page = visit(viewport=NARROW)
    assert find(page) > 5
    screenshot(page, "segment_narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"] + 1
    tops = [
        page.locator(part).bounding_box()["y"] for part in ("#find", "#viewer canvas", "#pixel", "#model", "#downloads")
    ]
    picture = tops.pop(1)
    assert tops[0] < picture < min(tops[1:])  # before what is seldom set and what is taken home


def test_the_api_segments_from_python(address, tmp_path):
    from gradio_client import Client, handle_file

    tifffile.imwrite(tmp_path / "cells.tif", SCENE)
    client = Client(address, verbose=False)
    answer = client.predict(handle_file(str(tmp_path / "cells.tif")), 0.0, api_name="/segment")
    assert (answer["width"], answer["height"]) == (200, 150)
    cells = Instances.from_coco(answer["results"], (150, 200))
    assert len(cells) >= 1
    fewer = client.predict(handle_file(str(tmp_path / "cells.tif")), 0.8, api_name="/segment")
    assert len(fewer["results"]) < len(cells)
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/segment"]


def test_files_of_the_server_stay_there(address):
    import urllib.error
    import urllib.request

    for path in ("/etc/passwd", "/tmp", str(Path(__file__))):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{address}/gradio_api/file={path}")
