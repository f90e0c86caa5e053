"""Cells put right by hand, in the viewer."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from glioma_hf import InputError, Instances
from glioma_hf.data.features import CATEGORIES
from tests.conftest import ROOT
from tests.demo.conftest import count, downloads, find_cells, open_sample, place_in_picture
from tests.strategies import square

SIZE = (60, 80)


@pytest.fixture
def sheet(tmp_path):
    """Two cells and a doubtful one, kept in a folder, and the page's module."""
    sys.path.insert(0, str(ROOT / "spaces" / "demo"))
    import corrections
    from kept import keep_cells

    shapes = [square(5, 5, 20), square(30, 5, 10), square(50, 30, 12)]
    cells = Instances.from_polygons(shapes, SIZE, scores=[0.9, 0.8, 0.2], ids=[1, 2, 3])
    keep_cells(tmp_path, "cells", cells)
    yield corrections, str(tmp_path), cells
    sys.path.remove(str(ROOT / "spaces" / "demo"))


def now(sheet) -> dict[int, tuple[int, str]]:
    corrections, folder, _ = sheet
    return {cell.id: (int(coco.area(cell.rle)), cell.kind) for cell in corrections.Sheet(folder).cells}


def test_each_correction_and_the_way_back(sheet):
    corrections, folder, cells = sheet
    before = now(sheet)

    def do(**action):
        return corrections.correct(None, folder, action, 0.5)

    assert do(op="delete", ids=[2]) == 1
    assert now(sheet).keys() == {1, 3}
    assert do(op="draw", outline=[0, 40, 10, 40, 10, 50, 0, 50]) == 2
    assert now(sheet)[4] == (100, "by hand")  # an id that none had
    assert do(op="split", id=1, outline=[15, 0, 15, 40]) == 3
    parts = [area for number, (area, _) in now(sheet).items() if number in (1, 5)]
    assert sum(parts) == 400
    assert min(parts) > 150
    assert do(op="merge", ids=[1, 5]) == 4
    assert now(sheet)[1] == (400, "by hand")
    assert do(op="redraw", id=1, outline=[5, 5, 15, 5, 15, 15, 5, 15]) == 5
    assert now(sheet)[1][0] == 100
    assert do(op="add", x=55, y=35) == 6  # the model held it for one, if not surely enough
    assert now(sheet)[3] == (144, "by hand")
    assert do(op="add", x=2, y=2) is None  # nothing there: the model is to be asked
    for left in range(5, -1, -1):
        assert do(op="undo") == left
    assert now(sheet) == before
    with pytest.raises(InputError, match="no correction to take back"):
        do(op="undo")
    assert corrections.Sheet(folder).instances()[0] == cells


def test_a_line_that_doesnt_divide_is_told(sheet):
    corrections, folder, _ = sheet
    with pytest.raises(InputError, match="doesn't divide the cell"):
        corrections.correct(None, folder, {"op": "split", "id": 1, "outline": [0, 0, 0, 40]}, 0.5)


def test_the_model_is_asked_where_it_saw_nothing(sheet):
    """A sample's cell is deleted and asked for again."""
    corrections, folder, _ = sheet
    import modelling
    from kept import keep_cells, keep_image
    from samples import numbered, sample

    pixels, _ = sample("Sparse cells")
    cells = numbered(modelling.load("sam:embedded", None).segment(pixels))
    keep_image(folder, pixels)
    keep_cells(folder, "cells", cells.select(np.arange(len(cells)) > 0))
    mask, (top, left) = next(cells.box_masks())
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2
    x, y = columns[middle] + left + 0.5, rows[middle] + top + 0.5
    assert modelling.ask(lambda _: None, folder, "sam:embedded", None, float(x), float(y)) == 1
    added = corrections.Sheet(folder).instances()[0].select([0])
    assert added.iou(cells.select([0]))[0, 0] > 0.5


@pytest.mark.long
def test_cells_of_another_size_are_found_and_the_model_is_told_of_it(sheet):
    """A sample at 0.4 of its size: without being told, the model finds few of its cells."""
    _, folder, _ = sheet
    import modelling
    from kept import keep_image
    from samples import sample

    pixels, cells = sample("Crowded cells")
    small = np.asarray(Image.fromarray(pixels).resize((256, 192), Image.Resampling.BOX))
    keep_image(folder, small)
    base = "centres:glioblastoma"
    alone = len(modelling.load(base, None).segment(small))
    _, number, diameter = modelling.segment(lambda _: None, folder, base, None)
    assert number > 1.5 * alone
    whole = cells.areas[cells.categories != CATEGORIES.index("soma")]
    true = 2 * np.sqrt(np.median(whole) / np.pi)
    assert 0.3 * true < diameter < 0.5 * true
    keep_image(folder, pixels)
    assert modelling.segment(lambda _: None, folder, base, None)[2] is None  # as large as in training


def outline(page, corners) -> None:
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    places = [place_in_picture(page, "#viewer", x, y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def changed(page, corrections: int) -> int:
    word = "correction" if corrections == 1 else "corrections"
    page.wait_for_selector(f"#viewer .caption:has-text('{corrections} {word} by hand')")
    return count(page)


def test_delete_draw_and_undo_are_in_every_download_and_teach(visit, tmp_path):
    page = visit()
    open_sample(page, "Sparse cells")
    cells = find_cells(page)
    page.locator("#viewer tbody tr").first.click()
    page.locator("#viewer canvas").press("Delete")
    assert changed(page, 1) == cells - 1
    page.click("#viewer .whole")
    page.click("#viewer .draw")
    outline(page, [(300, 200), (340, 200), (340, 240), (300, 240), (300, 205)])
    assert changed(page, 2) == cells
    # By keyboard: a cross that arrows move.
    page.locator("#viewer canvas").press("d")
    for key in ("Space", *["ArrowRight"] * 5, "Space", *["ArrowDown"] * 5, "Space", "Enter"):
        page.keyboard.press(key)
    assert changed(page, 3) == cells + 1
    page.keyboard.press("u")
    assert changed(page, 2) == cells
    drawn = page.locator("#viewer tbody tr", has_text="by hand")
    assert drawn.count() == 1
    number = int(drawn.get_attribute("data-id"))
    page.wait_for_timeout(2500)
    files = downloads(page, "#downloads", tmp_path)
    content = json.loads(files["coco.json"].read_text())
    ids = [a["cell_id"] for a in content["annotations"]]
    assert 1 not in ids
    assert number in ids
    assert len(json.loads(files["qupath.geojson"].read_text())["features"]) == cells
    assert files["cells.csv"].read_text().count("by hand") == 1
    # What was corrected isn't found anew, and can be taught from.
    page.click("#find")
    page.wait_for_selector("#status:has-text('corrected by hand and left as it is')")
    page.click("#to-teach")
    page.wait_for_selector(f"#teach-status:has-text('{cells} cells of Sparse cells')")
    page.wait_for_selector(f"#teach-viewer .summary:has-text('{cells} outlines')")


def round_cell(page):
    """(row, x, y) of a large round cell away from the image's border."""
    names = page.eval_on_selector_all("#viewer th", "cells => cells.map((cell) => cell.dataset.name)")
    best = None
    for row in page.locator("#viewer tbody tr").all():
        values = dict(zip(names, row.locator("td").all_inner_texts(), strict=True))
        x, y, solidity = float(values["x"]), float(values["y"]), float(values["solidity"])
        if 120 < x < 520 and 120 < y < 360 and float(values["area"]) > 600 and (best is None or solidity > best[0]):
            best = solidity, row, x, y
    return best[1:]


def test_split_merge_and_add_by_a_click(visit):
    page = visit()
    open_sample(page, "Sparse cells")
    cells = find_cells(page)
    row, x, y = round_cell(page)
    row.click()
    page.click("#viewer .whole")
    page.click("#viewer .split")
    outline(page, [(x, y - 90), (x, y + 90)])
    parts = changed(page, 1)
    assert parts == cells + 1
    first, *others = page.locator("#viewer tbody tr", has_text="by hand").all()
    first.click()
    for other in others:
        other.click(modifiers=["Shift"])
    page.click("#viewer .merge")
    assert changed(page, 2) == cells
    # Gone and asked for again, by a click.
    page.locator("#viewer tbody tr", has_text="by hand").click()
    page.locator("#viewer canvas").press("Delete")
    assert changed(page, 3) == cells - 1
    page.click("#viewer .whole")
    page.locator("#viewer canvas").press("a")
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    page.mouse.click(*place_in_picture(page, "#viewer", x, y))
    page.wait_for_selector("#status:has-text('Added.')")
    assert changed(page, 4) == cells
