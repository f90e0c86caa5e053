"""What `glioma-hf predict` does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioma_hf.data.images import SUFFIXES, read_image
from glioma_hf.errors import InputError
from glioma_hf.models import EMBEDDED, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.outputs import ENDINGS, write_instances
from glioma_hf.workflows.processes import Processes


@dataclass(frozen=True)
class Predicted:
    """What became of a run: how many cells were found in how many images."""

    cells: int
    images: int


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Images by name; a folder stands for all images that lie in it. Raises `InputError` for one without any."""
    images: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path}: no image lies there; give images ({', '.join(SUFFIXES)}) or folders of them")
            images += inside
        else:
            images.append(path)
    return images


def predict(
    images: Sequence[str | Path] | str | Path,
    out: str | Path,
    segmenter: Segmenter | str | Path = EMBEDDED,
    pixel_size: float = 1.0,
    on_progress: OnProgress = ignore,
) -> Predicted | None:
    """Files of each image's cells into the folder `out`.

    `NAME.json` COCO results, `NAME.csv` shapes, `NAME.png` overlay, `NAME_labels.tif` a flattened label map
    and `NAME_rois.zip` for ImageJ. Images that have all of them there already are skipped, so that a run
    that was broken off goes on where it stopped. One image at a time is in memory.

    Args:
        images: files and folders of them.
        segmenter: a model, or its name or folder as `load_segmenter` takes it.
        pixel_size: say micrometres per pixel, for the shapes.

    Under `accelerate launch` the images are shared out among the processes; all but the first return None.

    Raises `InputError` for an unreadable image and for two images of one name.

    Example:
        predict(["a.tif", "more_images"], "cells", load_segmenter("adapter"))
    """
    paths = find_images([images] if isinstance(images, str | Path) else images)
    repeated = next((stem for stem, times in Counter(path.stem for path in paths).items() if times > 1), None)
    if repeated is not None:
        raise InputError(f"two images are called {repeated}; their results would overwrite each other")
    model = segmenter if isinstance(segmenter, Segmenter) else load_segmenter(segmenter)
    processes = Processes()
    total = 0
    for number, path in processes.share(list(enumerate(paths, start=1))):
        place = f"{number} of {len(paths)}: {path.name}"
        files = {kind: Path(out) / f"{path.stem}{ending}" for kind, ending in ENDINGS.items()}
        if all(file.exists() for file in files.values()):
            count = len(json.loads(files["results"].read_text()))
            on_progress(Progress(f"{place} is done already", number, len(paths)))
        else:
            pixels = read_image(path)
            cells = model.segment(pixels)
            write_instances(files, pixels, cells, number, pixel_size)
            count = len(cells)
            on_progress(Progress(f"{place}, {count} cells", number, len(paths)))
        total += count
    total = processes.sum(total)
    return Predicted(total, len(paths)) if processes.first else None
