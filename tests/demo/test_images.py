"""Images in the tab Segment: several at once, stacks, sizes of pixels, and sessions that are opened again."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from glioma_hf import Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.conftest import ROOT
from tests.demo.conftest import (
    NARROW,
    count,
    downloads,
    downloads_when,
    find_cells,
    open_images,
    screenshot,
    told_badly,
)
from tests.strategies import square

SMALL = SceneConfig(width=200, height=150, cells_per_megapixel=(300, 300))


# As fast as the page lets anybody.
def image(folder: Path, name: str, seed: int = 21, **options) -> Path:
    tifffile.imwrite(folder / name, generate_scene(seed, SMALL).image, **options)
    return folder / name


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


@pytest.mark.long
def test_three_images_a_bad_one_and_one_zip(stay, tmp_path):
    images = [image(tmp_path, f"{name}.tif", seed) for name, seed in (("a", 21), ("b", 22), ("c", 23))]
    (tmp_path / "notes.tif").write_text("no image")
    (tmp_path / "words.tif").write_text("nor this")
    page = stay()
    open_images(page, *images, tmp_path / "notes.tif", tmp_path / "words.tif")
    told = told_badly(page, "#status")  # of one as of the other
    assert "3 images are open" in told
    assert "notes.tif: not a readable image" in told
    assert "words.tif: not a readable image" in told
    assert page.locator("#strip button").count() == 5
    find_cells(page)
    page.wait_for_selector("#status:has-text('in 3 images')")
    counts = [t.split(" ")[0] for t in page.locator("#strip button[data-state=done] .told").all_inner_texts()]
    assert len(counts) == 3
    page.locator("#strip button").nth(1).click()
    page.wait_for_selector("#viewer .caption:has-text('b.tif')")
    assert count(page) == int(counts[1])
    page.wait_for_selector("#downloads a[download]")
    screenshot(page, "batch_wide")
    page.click("#zip-all")
    with page.expect_download() as event:
        page.click("#zipped a[download]")
    event.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        packed.extractall(tmp_path / "all")
    rows = table(tmp_path / "all" / "cells.csv")
    assert [sum(r["file_name"] == f"{n}.tif" for r in rows) for n in "abc"] == list(map(int, counts))
    content = json.loads((tmp_path / "all" / "coco.json").read_text())
    assert [i["file_name"] for i in content["images"]] == ["a.tif", "b.tif", "c.tif"]
    for name, number in zip("abc", counts, strict=True):
        regions = (tmp_path / "all" / "imagej_rois" / f"{name}.zip").read_bytes()
        assert len(read_rois(regions, (150, 200), "rois")) == int(number)
        features = json.loads((tmp_path / "all" / "qupath" / f"{name}.geojson").read_text())["features"]
        assert len(features) == int(number)
        assert (tmp_path / "all" / "overlays" / f"{name}.png").is_file()


def test_cancel_and_go_on(visit, tmp_path):
    images = [image(tmp_path, "a.tif")]
    tifffile.imwrite(tmp_path / "b.tif", np.tile(tifffile.imread(images[0]), (14, 13)))
    page = visit()
    open_images(page, *images, tmp_path / "b.tif")
    page.wait_for_selector("#status:has-text('2 images are open')")
    page.click("#find")
    page.wait_for_selector("#status:has-text('(2 of 2)')")
    first = page.inner_text("#strip button:first-child .told")
    page.click("#cancel")
    page.wait_for_selector("#status:has-text('1 of 2 images are done')")
    assert page.inner_text("#strip button:first-child .told") == first
    assert page.query_selector("#downloads a[download]")
    page.click("#find")
    page.wait_for_selector("#status:has-text('Looking at b.tif')")  # and not at a.tif again, nor in line behind itself
    assert "in line" not in page.inner_text("#status")
    page.click("#cancel")
    page.wait_for_selector("#status:has-text('1 of 2 images are done')")


def test_the_size_of_a_pixel_comes_from_the_file_and_can_be_changed(stay, tmp_path):
    path = image(tmp_path, "sized.tif", resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    page = stay()
    open_images(page, path)
    page.wait_for_selector("#viewer .caption:has-text('0.5 µm per pixel')")
    assert page.get_by_label("Pixel size in µm").input_value() == "0.5"
    find_cells(page)
    page.wait_for_selector("#downloads a[download]")
    assert page.eval_on_selector("#viewer canvas", "canvas => canvas.dataset.bar").endswith("µm")
    heads = page.locator("#viewer th").all_inner_texts()
    assert {"area (µm²)", "perimeter (µm)", "x (µm)", "axis ratio", "eccentricity"} <= {h.strip(" ▲") for h in heads}
    assert "per mm²" in page.inner_text("#viewer .summary")
    assert "area (µm²)" in page.text_content("#viewer .chart.area")
    (tmp_path / "half").mkdir()
    half = table(downloads(page, "#downloads", tmp_path / "half")["cells.csv"])
    page.get_by_label("Pixel size in µm").fill("1")
    page.get_by_label("Pixel size in µm").press("Tab")
    page.wait_for_selector("#viewer .caption:has-text(' 1 µm per pixel')")
    page.wait_for_selector("#status:has-text('at 1 µm per pixel')")
    (tmp_path / "one").mkdir()
    one = table(downloads(page, "#downloads", tmp_path / "one")["cells.csv"])
    assert set(half[0]) == {
        *("file_name", "id", "score", "x_um", "y_um", "area_um2", "perimeter_um", "major_axis_um", "minor_axis_um"),
        *("axis_ratio", "eccentricity", "solidity", "source", "pixel_size_um", "model", "score_threshold", "date"),
    }
    for small, large in zip(half, one, strict=True):
        assert float(large["area_um2"]) == pytest.approx(4 * float(small["area_um2"]), rel=1e-4)
        assert float(large["x_um"]) == pytest.approx(2 * float(small["x_um"]), rel=1e-4)
        assert float(small["eccentricity"]) == pytest.approx((1 - float(small["axis_ratio"]) ** 2) ** 0.5, abs=1e-4)


def test_a_stack_asks_for_the_page(stay, tmp_path):
    planes = np.stack([np.full((150, 200), 90, np.uint8), generate_scene(21, SMALL).image])
    tifffile.imwrite(tmp_path / "stack.tif", planes, imagej=True, metadata={"axes": "CYX"})
    page = stay()
    open_images(page, tmp_path / "stack.tif")
    page.wait_for_selector("#viewer .caption:has-text('stack.tif (channel 1)')")
    page.wait_for_selector("#status:has-text('stack.tif has 2 pages, and this is channel 1: is it the one?')")
    box = page.locator("#page input[type=number]")
    box.fill("2")
    box.press("Enter")
    page.locator("#page input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#viewer .caption:has-text('stack.tif (channel 2)')")
    assert find_cells(page) >= 1
    page.wait_for_selector("#downloads a[download]")
    files = downloads(page, "#downloads", tmp_path)
    assert files["coco.json"].name == "stack_page2_coco.json"


def test_a_session_opens_again_where_it_was_left(visit, tmp_path):
    path = image(tmp_path, "mine.tif")
    page = visit()
    open_images(page, path)
    page.wait_for_selector("#viewer .caption:has-text('mine.tif')")
    cells = find_cells(page)
    page.locator("#viewer tbody tr").first.click()
    page.locator("#viewer tbody tr").first.press("Delete")
    page.wait_for_selector("#viewer .caption:has-text('1 correction by hand')")
    page.locator("#viewer .threshold").press("ArrowRight")
    caption, threshold = page.inner_text("#viewer .caption"), float(page.inner_text("#viewer .value"))

    def follows(files) -> bool:
        row = json.loads(files["session.json"].read_text())["images"][0]
        return row["threshold"] == threshold and len(row["edits"]) == 1

    saved = downloads_when(page, "#downloads", tmp_path, follows)["session.json"]
    again = visit()
    open_images(again, saved)
    assert "is of mine.tif: drop in both together" in told_badly(again, "#status")
    open_images(again, path, saved)
    again.wait_for_selector("#status:has-text('as they were left')")
    assert again.inner_text("#viewer .caption") == caption
    assert count(again) == count(page)
    again.click("#viewer .undo")
    again.wait_for_selector("#viewer .tools .undo[disabled]")
    assert count(again) in (cells, cells - 1)  # the threshold is a step higher
    (tmp_path / "bad_session.json").write_text(saved.read_text()[:-9])
    open_images(again, path, tmp_path / "bad_session.json")
    assert "isn't JSON" in told_badly(again, "#status")


def test_what_was_found_and_corrected_stays_where_images_are_added_and_taken_out(visit, tmp_path):
    first, second, third = (image(tmp_path, f"{name}.tif", seed) for name, seed in (("a", 21), ("b", 22), ("c", 23)))
    page = visit()
    open_images(page, first, second)
    page.wait_for_selector("#status:has-text('2 images are open')")
    find_cells(page)
    page.wait_for_selector("#status:has-text('in 2 images')")
    page.locator("#strip button").nth(1).click()
    page.wait_for_selector("#viewer .caption:has-text('b.tif')")
    page.locator("#viewer tbody tr").first.click()
    page.locator("#viewer tbody tr").first.press("Delete")
    page.wait_for_selector("#viewer .caption:has-text('1 correction by hand')")
    caption = page.inner_text("#viewer .caption")
    page.set_input_files("#segment-upload input[type=file]", [third])
    page.wait_for_selector("#status:has-text('3 images are open')")
    assert "Find cells looks at the others" in page.inner_text("#status")
    page.locator("#strip button").nth(1).click()
    page.wait_for_selector("#viewer .caption:has-text('1 correction by hand')")
    assert page.inner_text("#viewer .caption") == caption
    page.locator("#segment-upload button[aria-label='Remove this file']").first.click()
    page.wait_for_selector("#status:has-text('2 images are open')")
    page.wait_for_selector("#viewer .caption:has-text('1 correction by hand')")
    assert page.inner_text("#viewer .caption") == caption
    page.click("#viewer .undo")
    page.wait_for_selector("#viewer .tools .undo[disabled]")


@pytest.mark.long
def test_the_strip_on_a_phone(visit, tmp_path):
    page = visit(viewport=NARROW)
    open_images(page, *[image(tmp_path, f"{n}.tif", n) for n in range(5)])
    page.wait_for_selector("#status:has-text('5 images are open')")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"] + 1


def test_what_gradio_refuses_is_told_in_the_status_and_stays(visit, tmp_path):
    with (tmp_path / "large.tif").open("wb") as file:
        file.truncate(201 * 2**20)
    page = visit()
    open_images(page, tmp_path / "large.tif")
    assert "large.tif" in told_badly(page, "#status")
    page.wait_for_selector(".toast-body", state="detached")
    open_images(page, image(tmp_path, "small.tif"))
    page.wait_for_selector("#status:has-text('Now press')")  # the next action takes its place
    box = page.get_by_label("Pixel size in µm")
    before = box.input_value()
    box.fill("-3")
    box.press("Tab")
    assert "The pixel size is a number from 0 to 10000" in told_badly(page, "#status")
    assert page.locator(".toast-body").count() == 0
    box.fill(before)
    box.press("Tab")
    page.wait_for_selector("#status .told:empty", state="attached")


def test_find_cells_waits_for_what_was_just_given(visit, tmp_path):
    page = visit()
    page.locator("#sample input").click()
    page.get_by_role("option", name="Sparse cells").click()
    page.click("#find")
    page.wait_for_selector("#status:has-text('Done in')")
    assert page.inner_text("#viewer .caption").startswith("Sparse cells · centres")
    open_images(page, image(tmp_path, "mine.tif"))
    page.click("#find")
    page.wait_for_selector("#viewer .caption:has-text('mine.tif · centres')")


def test_the_table_of_no_cells_has_its_columns_and_one_of_mixed_images_says_pixels(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "spaces" / "demo"))
    import files
    from kept import keep_cells, keep_image

    jobs = []
    for name, pixel, shapes in (("a", 0.5, []), ("b", 0.5, [square(5, 5, 20)]), ("c", 0.0, [])):
        (tmp_path / name).mkdir()
        keep_image(tmp_path / name, np.zeros((60, 80), np.uint8))
        cells = Instances.from_polygons(shapes, (60, 80), scores=[0.9] * len(shapes))
        keep_cells(tmp_path / name, "cells", cells)
        facts = {"name": f"{name}.tif", "plane": "", "page": 1, "width": 80, "height": 60, "pixel": pixel, "model": "m"}
        facts |= {"threshold": 0.5, "own_threshold": 0.5, "date": "2026-11-25T12:00", "corrections": 0}
        jobs.append((str(tmp_path / name), name, facts))
    heads = []
    for job in jobs:
        files.write_files(lambda _: None, *job)
        heads.append((tmp_path / job[1] / "files" / f"{job[1]}_cells.csv").read_text().splitlines()[0])
    assert heads[0] == heads[1] == heads[2].replace("area_px", "area_um2").replace("_px", "_um")
    files.write_all(lambda _: None, jobs, str(tmp_path / "all.zip"))
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        rows = list(csv.DictReader(packed.read("cells.csv").decode().splitlines()))
        images = list(csv.DictReader(packed.read("images.csv").decode().splitlines()))
    assert [(row["file_name"], float(row["area_px"]), row["pixel_size_um"]) for row in rows] == [("b.tif", 400, "0.5")]
    density = f"{1 / (80 * 60 * 0.25e-6):.6g}"
    told = [(row["file_name"], row["cells"], row["cells_per_mm2"]) for row in images]
    assert told == [("a.tif", "0", "0"), ("b.tif", "1", density), ("c.tif", "0", "")], "an image without a cell is one"
    same = [(place, stem, facts | {"name": "Same.tif"}) for place, stem, facts in jobs]
    files.write_all(lambda _: None, same, str(tmp_path / "same.zip"))
    with zipfile.ZipFile(tmp_path / "same.zip") as packed:
        rows = list(csv.DictReader(packed.read("cells.csv").decode().splitlines()))
        content = json.loads(packed.read("coco.json"))
    assert [row["file_name"] for row in rows] == ["Same_2.tif"]
    assert [image["file_name"] for image in content["images"]] == ["Same.tif", "Same_2.tif", "Same_3.tif"]


def test_names_that_are_the_same_are_told_apart(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "spaces" / "demo"))
    from batch import told_apart

    stems = [(stem, "") for stem in ("a", "a", "a_2", "A")]
    assert told_apart(stems) == ["a", "a_3", "a_2", "A_4"]
    assert told_apart([("a", ".tif"), ("a", ".png"), ("a", ".tif")]) == ["a.tif", "a.png", "a_2.tif"]


@pytest.mark.parametrize(("counts", "told"), [([1], "1 cell"), ([1, 0], "1 cell in 2 images"), ([2], "2 cells")])
def test_cells_are_counted_in_plain_words(monkeypatch, counts, told):
    monkeypatch.syspath_prepend(str(ROOT / "spaces" / "demo"))
    import finding
    from batch import Entry, Facts

    there = [Entry(str(n), Path(), Facts("a.tif", count=n)) for n in counts]
    monkeypatch.setattr(finding.batches, "done", lambda batch: iter(there))
    assert finding.counted("batch") == told


def test_where_no_cell_is_found_it_says_what_to_do(visit, tmp_path):
    tifffile.imwrite(tmp_path / "black.tif", np.zeros((60, 80), np.uint8))
    page = visit()
    open_images(page, tmp_path / "black.tif")
    page.wait_for_selector("#viewer .caption:has-text('black.tif')")
    page.click("#find")
    page.wait_for_selector("#status:has-text('Done in')")
    told = page.inner_text("#status")
    assert "0 cells." in told
    assert "If there are cells: move Score from to the left" in told
