"""The tab Teach: outlines in, an adapter out, used at once."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from glioma_hf.data.exports import write_rois
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.diameter import fitted
from glioma_hf.models.saved import ModelFolder
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.conftest import ROOT
from tests.demo.conftest import (
    choose_tab,
    downloads,
    find_cells,
    open_images,
    open_sample,
    place_in_picture,
    screenshot,
    told_badly,
)
from tests.models.contract import PAIR
from tests.strategies import square

SCENE = generate_scene(22, SceneConfig(width=420, height=300, cells_per_megapixel=(250, 250)))
CELLS = SCENE.instances()


@pytest.fixture
def lesson(tmp_path) -> dict[str, Path]:
    """An image with its outlines as COCO JSON and as an ImageJ ROI zip."""
    tifffile.imwrite(tmp_path / "mine.tif", SCENE.image)
    images = [{"id": 7, "file_name": "mine.tif", "width": 420, "height": 300}]
    categories = [{"id": 1, "name": "cell"}]
    content = {"images": images, "annotations": CELLS.to_coco(7, [1, 1]), "categories": categories}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    write_rois(CELLS, tmp_path / "mine.zip")
    return {"image": tmp_path / "mine.tif", "coco": tmp_path / "mine.json", "rois": tmp_path / "mine.zip"}


def open_image(page, path: Path) -> None:
    page.set_input_files("#teach-upload input[type=file]", str(path))
    page.wait_for_selector("#teach-status:has-text('give the outlines')")


def set_steps(page, steps: int) -> None:
    box = page.get_by_label(re.compile("^number input for Steps"))
    box.fill(str(steps))
    box.press("Tab")


@pytest.mark.long
def test_outlines_teach_an_adapter_that_segment_uses_at_once(visit, lesson, tmp_path):
    page = visit("Teach")
    assert "Choose a sample" in page.inner_text("#teach-viewer .empty")
    open_image(page, lesson["image"])
    page.set_input_files("#teach-outlines input[type=file]", str(lesson["coco"]))
    page.wait_for_selector(f"#teach-status:has-text('{len(CELLS)} outlines read')")
    set_steps(page, 10)
    page.click("#teach-run")
    page.wait_for_selector("#teach-status:has-text('s left')")
    page.wait_for_selector("#teach-loss .vega-embed")
    page.wait_for_selector("#teach-status:has-text('Taught in')", timeout=240_000)
    told = page.inner_text("#teach-status")
    held = int(re.search(r"On (\d+) cells of a part that was held out, AP50 was [\d.]+ before and is [\d.]+", told)[1])
    assert 0 < held < len(CELLS)
    assert page.locator("#teach-before-after figure").count() == 2
    screenshot(page, "teach_wide")
    page.wait_for_selector("#teach-adapter a[download]")
    with page.expect_download() as event:
        page.click("#teach-adapter a[download]")
    assert event.value.suggested_filename == "mine_adapter.zip"
    event.value.save_as(tmp_path / "adapter.zip")
    with zipfile.ZipFile(tmp_path / "adapter.zip") as packed:
        packed.extractall(tmp_path / "adapter")
    assert load_segmenter(tmp_path / "adapter")
    family = get_family(json.loads((tmp_path / "adapter" / "model.json").read_text())["family"])
    recipe = family.read_recipe().for_steps(10).model_dump(mode="json")
    assert json.loads((tmp_path / "adapter" / "recipe.json").read_text()) == recipe
    # The same visitor's Segment uses it; another visitor's doesn't.
    results = {}
    other = visit()
    for name, visitor in (("taught", page), ("other", other)):
        choose_tab(visitor, "Segment")
        open_images(visitor, lesson["image"])
        visitor.wait_for_selector("#viewer .caption:has-text('mine.tif')")
        assert ("taught by you on mine.tif" in visitor.inner_text("#in-use")) == (name == "taught")
        find_cells(visitor)
        visitor.wait_for_selector("#downloads a[download]")
        (tmp_path / name).mkdir()
        results[name] = downloads(visitor, "#downloads", tmp_path / name)["coco.json"].read_text()
    assert results["taught"] != results["other"]
    # It can be turned off.
    page.get_by_label("Use what I taught").uncheck()
    page.wait_for_selector("#in-use:not(:has-text('taught'))")
    find_cells(page)
    page.wait_for_selector("#viewer .caption:not(:has-text('taught'))")
    (tmp_path / "off").mkdir()
    assert downloads(page, "#downloads", tmp_path / "off")["coco.json"].read_text() == results["other"]
    # Uploaded as a file by that other visitor it gives what it gave the first.
    other.locator("#model button").first.click()
    other.set_input_files("#model input[type=file]", str(tmp_path / "adapter.zip"))
    other.wait_for_selector("#model :text('adapter')")
    before = other.get_attribute("#downloads a[download]", "href")
    other.click("#find")
    changed = (
        "was => { const a = document.querySelector('#downloads a[download]'); return a?.getAttribute('href') !== was }"
    )
    other.wait_for_function(changed, arg=before)
    assert downloads(other, "#downloads", tmp_path / "other")["coco.json"].read_text() == results["taught"]


def test_outlines_are_those_of_the_image_of_that_name_and_go_with_their_file(visit, lesson):
    content = json.loads(lesson["coco"].read_text())
    other = [{**content["images"][0], "id": 8, "file_name": "other.tif"}]
    more = [{**a, "id": a["id"] + 1000, "image_id": 8} for a in content["annotations"][:1]]
    two = {**content, "images": content["images"] + other, "annotations": content["annotations"] + more}
    lesson["coco"].write_text(json.dumps(two))
    page = visit("Teach")
    open_image(page, lesson["image"])
    page.set_input_files("#teach-outlines input[type=file]", str(lesson["coco"]))
    page.wait_for_selector(f"#teach-status:has-text('{len(CELLS)} outlines read')")
    page.locator("#teach-outlines").get_by_role("button", name="Clear").click()
    page.wait_for_selector("#teach-viewer .summary:has-text('0 outlines')")
    two["images"][0]["file_name"] = "third.tif"
    lesson["coco"].write_text(json.dumps(two))
    page.set_input_files("#teach-outlines input[type=file]", str(lesson["coco"]))
    assert "mine.json is of 2 images, and none of them is called mine.tif" in told_badly(page, "#teach-status")


@pytest.mark.long
def test_outlines_of_imagej_and_drawn_ones_count(visit, lesson):
    page = visit("Teach")
    open_image(page, lesson["image"])
    page.set_input_files("#teach-outlines input[type=file]", str(lesson["rois"]))
    page.wait_for_selector(f"#teach-viewer .summary:has-text('{len(CELLS)} outlines')")
    page.locator("#teach-viewer canvas").scroll_into_view_if_needed()
    corners = [place_in_picture(page, "#teach-viewer", x, y) for x, y in [(20, 20), (70, 20), (70, 70), (20, 70)]]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()
    page.wait_for_selector(f"#teach-viewer .summary:has-text('{len(CELLS) + 1} outlines')")
    page.click("#teach-viewer .undo-drawn")
    page.wait_for_selector(f"#teach-viewer .summary:has-text('{len(CELLS)} outlines')")


@pytest.mark.long
def test_drawn_outlines_alone_teach_and_cancel_stops(visit, lesson):
    page = visit("Teach")
    open_image(page, lesson["image"])
    page.click("#teach-run")
    assert "There is no outline yet" in told_badly(page, "#teach-status")
    page.locator("#teach-viewer canvas").scroll_into_view_if_needed()
    page.mouse.move(*place_in_picture(page, "#teach-viewer", 30, 30))
    page.mouse.down()
    for x, y in [(90, 30), (90, 90), (30, 90), (30, 40)]:
        page.mouse.move(*place_in_picture(page, "#teach-viewer", x, y), steps=6)
    page.mouse.up()
    page.wait_for_selector("#teach-viewer .summary:has-text('1 outline')")
    page.wait_for_timeout(1000)
    set_steps(page, 400)
    page.click("#teach-run")
    page.wait_for_selector("#teach-status:has-text('of 400')")
    page.click("#teach-cancel")
    page.wait_for_selector("#teach-status:has-text('Cancelled')")
    # The queue is free again: the next visitor isn't kept waiting for 400 steps.
    other = visit()
    open_sample(other)
    other.click("#find")
    other.wait_for_selector("#downloads a[download]", timeout=60_000)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"no json", "a.json is neither COCO JSON nor a zip of ImageJ regions"),
        ("a.json", json.dumps([{"segmentation": [[1, 2, 3, 4]]}]).encode(), "polygon 0 has 2 points"),
        ("a.json", json.dumps([{"image_id": i, "segmentation": square(1, 1, 9)} for i in (1, 2)]).encode(), "2 images"),
        ("a.zip", b"PK not a zip", "a.zip: not a whole zip of ImageJ regions"),
    ],
)
def test_bad_outlines_are_answered_by_a_sentence(visit, lesson, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    page = visit("Teach")
    open_image(page, lesson["image"])
    page.set_input_files("#teach-outlines input[type=file]", str(tmp_path / name))
    assert says in told_badly(page, "#teach-status")


def with_model(visit, packed: Path):
    """The page of one who opened a sample and uploaded a saved model."""
    page = visit()
    open_sample(page)
    page.locator("#model button").first.click()
    page.set_input_files("#model input[type=file]", str(packed))
    page.wait_for_selector(f"#in-use:has-text('{packed.name}')")
    return page


def test_bad_adapters_are_answered_by_a_sentence(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "adapter.zip", "w") as packed:
        packed.writestr("weights.pkl", np.zeros(3).tobytes())
    page = with_model(visit, tmp_path / "adapter.zip")
    page.click("#find")
    assert "adapter.zip: no saved model lies there" in told_badly(page, "#status")


@pytest.mark.long
def test_a_saved_model_of_another_family_is_uploaded_as_it_is(visit, tmp_path, monkeypatch):
    from glioma_hf.models.base import Run
    from glioma_hf.models.unet.recipe import NetworkConfig

    monkeypatch.syspath_prepend(str(ROOT / "spaces" / "demo"))
    import samples

    family = get_family("unet")
    network = NetworkConfig(encoder="tiny", widths=(8, 8, 8, 8, 8))
    brief = {"network": network, "resolution": (64, 64), "max_steps": 20, "batch": 2, "learning_rate": 0.01}
    recipe = family.read_recipe("quick").model_copy(update={**brief, "precision": "fp32"})
    segmenter = family.train("random", [PAIR], recipe, Run(workers=0)).with_settings(mask_thresh=0.2, min_area=1)
    ModelFolder(tmp_path / "net").write(family, segmenter, "random", recipe)
    ModelFolder(tmp_path / "net").pack(tmp_path / "net.zip")
    page = with_model(visit, tmp_path / "net.zip")
    page.wait_for_selector("#in-use:has-text('net.zip (on centres: glioblastoma, if it is an adapter)')")
    find_cells(page)
    page.wait_for_selector("#viewer .caption:has-text('net.zip (Foreground by a U-Net)')")
    page.wait_for_selector("#downloads a[download]")
    found = json.loads(downloads(page, "#downloads", tmp_path)["coco.json"].read_text())["annotations"]
    pixels, _ = samples.sample("Crowded cells")
    cells = fitted(load_segmenter(tmp_path / "net"), pixels)[0].segment(pixels)
    assert [row["segmentation"]["counts"] for row in found] == [rle["counts"].decode() for rle in cells.rles]
    # What it says that it began from isn't looked for.
    info = json.loads((tmp_path / "net" / "model.json").read_text()) | {"base": "/etc"}
    (tmp_path / "net" / "model.json").write_text(json.dumps(info))
    ModelFolder(tmp_path / "net").pack(tmp_path / "etc.zip")
    page = with_model(visit, tmp_path / "etc.zip")
    find_cells(page)
    page.wait_for_selector("#viewer .caption:has-text('etc.zip (Foreground by a U-Net)')")
