"""Cells put right by hand: jobs that change the cells kept of an image, and take the changes back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kept import keep_cells, kept_cells
from outlines import check_coordinate, check_drawn
from pycocotools import mask as coco

from glioma_hf import InputError, Instances
from glioma_hf.rle import Rle

EDITS = "edits.json"
MODEL, HAND = "model", "by hand"  # who says that there is a cell
SURE = 1.0  # the score of what a hand made: no threshold hides it
SMALLEST = 9  # pixels of a part that a cut leaves
MOST_EDITS = 2000


@dataclass(frozen=True)
class Cell:
    """One cell of an image, as corrections know it."""

    id: int
    rle: Rle
    score: float
    kind: str


class Sheet:
    """The cells of an image and what was done to them.

    Attributes:
        cells: best first, those made by hand before all.
        edits: each what it took away and what it brought.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        known, kinds = kept_cells(folder, "cells")
        scores = np.ones(len(known)) if known.scores is None else known.scores
        self.size = known.size
        rows = zip(known.ids.tolist(), known.rles, scores.tolist(), kinds or [MODEL] * len(known), strict=True)
        self.cells = [Cell(*row) for row in rows]
        path = self.folder / EDITS
        self.edits: list[tuple[list[Cell], list[Cell]]] = []
        if path.is_file():
            self.edits = [
                (cells_from(e[0], self.size), cells_from(e[1], self.size)) for e in json.loads(path.read_text())
            ]

    def instances(self) -> tuple[Instances, list[str]]:
        """The cells, and who says that each is one."""
        columns = {
            "scores": [cell.score for cell in self.cells],
            "ids": [cell.id for cell in self.cells],
        }
        return Instances.from_rles([c.rle for c in self.cells], self.size, **columns), [c.kind for c in self.cells]

    def find(self, number: Any) -> Cell:
        """A cell by its id. Raises `InputError` where there is none."""
        for cell in self.cells:
            if isinstance(number, int) and cell.id == number:
                return cell
        raise InputError("That cell isn't there any more.")

    def change(self, away: list[Cell], new: list[tuple[Rle, int | None]]) -> None:
        """Put (mask, id or None for a new one) by hand in the place of some cells, and keep that."""
        if len(self.edits) >= MOST_EDITS:
            raise InputError(f"{MOST_EDITS} corrections are the most for an image")
        highest = max([0, *(cell.id for cell in self.cells), *(c.id for edit in self.edits for c in edit[0])])
        made = []
        for rle, number in new:
            if not int(coco.area(rle)):
                raise InputError("That outline holds no pixel of the image; draw it larger.")
            highest += number is None
            made.append(Cell(highest if number is None else number, rle, SURE, HAND))
        self.edits.append((away, made))
        self._replace(away, made)

    def undo(self) -> None:
        """Take the last change back. Raises `InputError` where there is none."""
        if not self.edits:
            raise InputError("There is no correction to take back.")
        away, made = self.edits.pop()
        self._replace(made, away)

    def save(self) -> int:
        """Keep all of it; how many corrections there are."""
        keep_cells(self.folder, "cells", *self.instances())
        content = [[cells_to(side, self.size) for side in edit] for edit in self.edits]
        (self.folder / EDITS).write_text(json.dumps(content))
        return len(self.edits)

    def _replace(self, away: list[Cell], new: list[Cell]) -> None:
        gone = {cell.id for cell in away}
        left = [*new, *(cell for cell in self.cells if cell.id not in gone)]
        hand = [cell for cell in left if cell.kind == HAND]
        self.cells = [*hand, *sorted((c for c in left if c.kind != HAND), key=lambda c: (-c.score, c.id))]


def cells_to(cells: list[Cell], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Cells as COCO annotations, ready for JSON."""
    return [
        {
            "id": cell.id,
            "segmentation": {"size": list(size), "counts": cell.rle["counts"].decode("ascii")},
            "score": cell.score,
            "by": cell.kind,
        }
        for cell in cells
    ]


def cells_from(rows: Any, size: tuple[int, int]) -> list[Cell]:
    """Cells from what `cells_to` gave. Raises `InputError` for anything else."""
    if not isinstance(rows, list) or not all(isinstance(r, dict) and type(r.get("id")) is int for r in rows):
        raise InputError("its cells can't be read")
    known = Instances.from_coco([{**row, "category_id": 0} for row in rows], size)
    scores = np.ones(len(known)) if known.scores is None else known.scores
    kinds = [HAND if row.get("by") == HAND else MODEL for row in rows]
    return [Cell(*row) for row in zip(known.ids.tolist(), known.rles, scores.tolist(), kinds, strict=True)]


def correct(tell: Any, folder: str, action: dict[str, Any], threshold: float) -> int | None:
    """Do one correction; how many there are now. None where a model is to be asked (`modelling.ask`).

    `action` has `op` and what that needs: `delete` ids, `draw` outline, `redraw` id and outline, `split` id and line,
    `merge` ids, `add` x and y, `undo` nothing. Raises `InputError` for what isn't one.
    """
    sheet = Sheet(folder)
    op = action.get("op")
    if op == "undo":
        sheet.undo()
    elif op == "delete":
        sheet.change([sheet.find(number) for number in listed(action.get("ids"))], [])
    elif op == "draw":
        sheet.change([], [(drawn(action.get("outline"), sheet.size), None)])
    elif op == "redraw":
        cell = sheet.find(action.get("id"))
        sheet.change([cell], [(drawn(action.get("outline"), sheet.size), cell.id)])
    elif op == "split":
        cell = sheet.find(action.get("id"))
        first, *others = cut(cell.rle, check_drawn([action.get("outline")])[0], sheet.size)
        sheet.change([cell], [(first, cell.id), *((other, None) for other in others)])
    elif op == "merge":
        cells = [sheet.find(number) for number in listed(action.get("ids"))]
        if len(cells) < 2:
            raise InputError("Choose two cells or more to make one of them: click them with the shift key held.")
        sheet.change(cells, [(coco.merge([cell.rle for cell in cells]), cells[0].id)])
    elif op == "add":
        x, y = (check_coordinate(action.get(name), "the place") for name in "xy")
        if not raise_candidate(sheet, x, y, threshold):
            return None
    else:
        raise InputError("that correction isn't known")
    return sheet.save()


def listed(ids: Any) -> list[int]:
    """Distinct ids. Raises `InputError` for no list of them."""
    if not isinstance(ids, list) or not ids or not all(type(i) is int for i in ids) or len(ids) > 10_000:
        raise InputError("Choose a cell first: click it.")
    return list(dict.fromkeys(ids))


def raise_candidate(sheet: Sheet, x: float, y: float, threshold: float) -> bool:
    """Make a cell of the best thing at a place that the model held for one, if not surely enough."""
    cells, _ = sheet.instances()
    for position in at_place(cells, x, y):
        cell = sheet.cells[position]
        if cell.score < threshold:
            sheet.change([cell], [(cell.rle, cell.id)])
            return True
    return False


def at_place(cells: Instances, x: float, y: float) -> list[int]:
    """Positions of the cells that hold a place, in their order."""
    left, top, width, height = cells.boxes.T
    near = np.flatnonzero((left <= x) & (x < left + width) & (top <= y) & (y < top + height))
    masks = cells.select(near).box_masks()
    return [int(i) for i, (mask, (row, column)) in zip(near, masks, strict=True) if mask[int(y) - row, int(x) - column]]


def drawn(outline: Any, size: tuple[int, int]) -> Rle:
    """The mask of a drawn outline."""
    points = check_drawn([outline])[0]
    if len(points) < 6:
        raise InputError("An outline has three points or more; draw it again.")
    return Instances.from_polygons([[points]], size).rles[0]


def cut(rle: Rle, line: list[float], size: tuple[int, int]) -> list[Rle]:
    """The parts of a mask on either side of a line, the largest first; the line's own pixels go to the nearest."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    if len(line) < 4:
        raise InputError("Draw a line through the cell to split it.")
    mask, (top, left) = next(Instances.from_rles([rle], size).box_masks())
    canvas = Image.new("1", (mask.shape[1], mask.shape[0]))
    points = [(x - left, y - top) for x, y in zip(line[::2], line[1::2], strict=False)]
    ImageDraw.Draw(canvas).line(points, fill=1, width=3)
    parts, number = ndimage.label(mask & ~np.asarray(canvas))
    areas = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    large = [int(i) + 1 for i in np.argsort(-areas) if areas[i] >= SMALLEST]
    if len(large) < 2:
        raise InputError("That line doesn't divide the cell; draw it right through, from outside to outside.")
    parts[~np.isin(parts, large)] = 0
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    whole = np.where(mask, parts[tuple(nearest)], 0)
    masks = [(whole == label, (top, left)) for label in large]
    return list(Instances.from_box_masks(masks, size).rles)
