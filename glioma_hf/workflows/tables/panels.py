"""Panels like the paper's Figures 4 and 5: a window of an image, references light blue, predictions red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from glioma_hf.data.images import decode_image, to_uint8
from glioma_hf.data.parquet import image_bytes, split_rows
from glioma_hf.data.splits import find_split
from glioma_hf.draw import draw_outlines
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.palette import RED, SKY_BLUE
from glioma_hf.workflows.tables.pieces import MadeCell, sides_of
from glioma_hf.workflows.tables.plan import slug

WINDOW = 512  # side of a panel in pixels of the image
PANELS = "panels"
REFERENCE, PREDICTION = SKY_BLUE, RED

Key = tuple[str, str, str]  # data set, split, task


@dataclass(frozen=True)
class Panel:
    """A picture of the page: what one model found in a window of an image."""

    image: str
    model: str
    file: str


def draw_panels(folder: Path, cells: Sequence[MadeCell], count: int) -> dict[Key, list[list[Panel]]]:
    """Draw the first `count` images of each split into `folder`; by data set, split and task each image's panels."""
    chosen: dict[Key, dict[str, MadeCell]] = {}
    for cell in cells:
        if cell.scoring is not None:
            key = cell.row.data_set, cell.scoring.split, cell.row.task
            chosen.setdefault(key, {}).setdefault(cell.cell.model.name, cell)
    found = {}
    for key, models in chosen.items():
        try:
            found[key] = _of_split(folder, key, models, count)
        except InputError:  # files that are gone since the cells were scored: the table stands without pictures
            continue
    return found


def _of_split(folder: Path, key: Key, models: dict[str, MadeCell], count: int) -> list[list[Panel]]:
    scoring = next(cell.scoring for cell in models.values() if cell.scoring is not None)
    sides = {}
    for model, cell in models.items():
        assert cell.scoring is not None
        references, predictions = sides_of(cell.scoring)
        sides[model] = predictions.of_task(key[2])
    truth = references.of_task(key[2])
    split = find_split(scoring.folder, scoring.split)
    numbers = list(range(1, min(count, split.images) + 1))
    (folder / PANELS).mkdir(exist_ok=True)
    drawn = []
    for row in split_rows(scoring.folder, split, scoring.folder, numbers, image=True):
        name, image = row["file_name"], row["image_id"]
        pixels = to_uint8(decode_image(image_bytes(row, scoring.folder), name))
        window = busiest_window(truth[image])
        panels = []
        for model, side in sides.items():
            panel = Panel(name, model, f"{PANELS}/{slug(*key, name, model)}.jpg")
            draw_panel(pixels, truth[image], side[image], window).save(folder / panel.file, quality=88)
            panels.append(panel)
        drawn.append(panels)
    return drawn


def busiest_window(references: Instances, side: int = WINDOW) -> tuple[int, int, int, int]:
    """Top, left, height and width of the window in which most references have their middle.

    >>> busiest_window(Instances.empty((100, 700)))
    (0, 94, 100, 512)
    """
    size = [min(side, length) for length in references.size]
    best = [(length - part) // 2 for length, part in zip(references.size, size, strict=True)]
    if len(references):
        middles = references.boxes[:, 1::-1] + references.boxes[:, 3:1:-1] / 2
        room = np.array(references.size) - size
        starts = np.clip(np.rint(middles - np.array(size) / 2), 0, room)
        inside = ((middles[None] >= starts[:, None]) & (middles[None] < starts[:, None] + size)).all(2).sum(1)
        best = [int(value) for value in starts[inside.argmax()]]
    return best[0], best[1], size[0], size[1]


def draw_panel(
    image: np.ndarray, references: Instances, predictions: Instances, window: tuple[int, int, int, int]
) -> Image.Image:
    """References and over them predictions, as outlines, in a window of a grey image, uint8 (H, W)."""
    top, left, height, width = window
    picture = Image.fromarray(np.repeat(image[top : top + height, left : left + width, None], 3, 2))
    for side, colour in ((references, REFERENCE), (predictions, PREDICTION)):
        shown = side.crop(top, left, height, width)
        draw_outlines(picture, shown, [colour] * len(shown))
    return picture
