"""What is kept of a visitor between two events: an image and sets of cells, as files of the visitor's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glioma_hf import InputError, Instances

IMAGE = "image.npy"


def keep_image(folder: str | Path, pixels: np.ndarray) -> None:
    """Keep the image."""
    np.save(Path(folder) / IMAGE, pixels, allow_pickle=False)


def kept_image(folder: str | Path) -> np.ndarray:
    """The image."""
    pixels: np.ndarray = np.load(_there(folder, IMAGE), allow_pickle=False)
    return pixels


def kept_size(folder: str | Path) -> tuple[int, int]:
    """(height, width) of the image, without reading its pixels."""
    height, width = np.load(_there(folder, IMAGE), mmap_mode="r", allow_pickle=False).shape[:2]
    return int(height), int(width)


def keep_cells(folder: str | Path, name: str, cells: Instances, kinds: Sequence[str] = ()) -> None:
    """Keep cells under a name, with a word for each where there are such."""
    content = {
        "size": list(cells.size),
        "counts": [rle["counts"].decode("ascii") for rle in cells.rles],
        "categories": cells.categories.tolist(),
        "scores": None if cells.scores is None else cells.scores.tolist(),
        "ids": cells.ids.tolist(),
        "kinds": list(kinds),
    }
    (Path(folder) / f"{name}.json").write_text(json.dumps(content))


def kept_cells(folder: str | Path, name: str) -> tuple[Instances, list[str]]:
    """Cells that were kept under a name, and their words."""
    content = json.loads(_there(folder, f"{name}.json").read_text())
    size = tuple(content["size"])
    rles = [{"size": list(size), "counts": counts.encode("ascii")} for counts in content["counts"]]
    cells = Instances.from_rles(rles, size, content["categories"], content["scores"], content["ids"])
    return cells, content["kinds"]


def _there(folder: str | Path, name: str) -> Path:
    """The file, where it is still kept: the oldest go where the server's disk is full."""
    path = Path(folder) / name
    if not path.exists():
        raise InputError("what you opened is no longer kept here; open it again")
    return path
