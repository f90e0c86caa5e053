"""What `glioma-hf predict` does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object

from glioma_hf.data.exports import write_label_map, write_rois
from glioma_hf.data.images import SUFFIXES, read_image, to_uint8
from glioma_hf.draw import overlay
from glioma_hf.errors import InputError
from glioma_hf.files import new_file
from glioma_hf.models.base import Segmenter
from glioma_hf.models.sam.generate import best_device
from glioma_hf.shape import shape_table

Say = Callable[[str], None]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Images by name; a folder stands for all images that lie in it. Raises `InputError` for one without any."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise InputError(f"{path}: no image lies there; give images ({', '.join(SUFFIXES)}) or folders of them")
            found += inside
        else:
            found.append(path)
    return found


def predict_images(
    paths: Sequence[Path], segmenter: Segmenter, out: str | Path, pixel_size: float = 1.0, say: Say = print
) -> int | None:
    """Files of each image's cells into the folder `out`; returns the number of cells.

    `NAME.json` COCO results, `NAME.csv` shapes, `NAME.png` overlay, `NAME_labels.tif` a flattened label map
    and `NAME_rois.zip` for ImageJ. Images that have all of them there already are skipped, so that a run
    that was broken off goes on where it stopped. One image at a time is in memory.

    Under `accelerate launch` the images are shared out among the processes; all but the first return None.

    Raises `InputError` for an unreadable image and for two images of one name.
    """
    repeated = next((stem for stem, times in Counter(path.stem for path in paths).items() if times > 1), None)
    if repeated is not None:
        raise InputError(f"two images are called {repeated}; their results would overwrite each other")
    state = PartialState(cpu=best_device().type == "cpu")
    total = 0
    with state.split_between_processes(list(enumerate(paths, start=1))) as mine:
        for number, path in mine:
            total += _predict(path, number, len(paths), segmenter, Path(out), pixel_size, say)
    if state.num_processes > 1:
        total = sum(gather_object([total]))
    return total if state.is_main_process else None


def _predict(path: Path, number: int, count: int, segmenter: Segmenter, out: Path, pixel_size: float, say: Say) -> int:
    files = [out / f"{path.stem}{end}" for end in (".json", ".csv", ".png", "_labels.tif", "_rois.zip")]
    results, table, picture, labels, rois = files
    if all(file.exists() for file in files):
        say(f"{number} of {count}: {path.name} is done already")
        return len(json.loads(results.read_text()))
    pixels = read_image(path)
    found = segmenter.segment(pixels)
    rows = [{k: v for k, v in row.items() if k not in ("id", "iscrowd")} for row in found.to_coco(number, [1])]
    with new_file(picture) as partial:
        overlay(to_uint8(pixels), found).save(partial, "PNG")
    with new_file(table) as partial:
        shape_table(found, pixel_size).drop(columns="category").to_csv(partial, index=False, float_format="%.6g")
    for target, write in ((labels, write_label_map), (rois, write_rois)):
        with new_file(target) as partial:
            write(found, partial)
    with new_file(results) as partial:
        partial.write_text(json.dumps(rows))
    say(f"{number} of {count}: {path.name}, {len(found)} cells")
    return len(found)
