"""What `glioma-hf train` and `glioma-hf predict` do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from glioma_hf.benchmark.splits import load_splits, pick
from glioma_hf.benchmark.tuning import tune
from glioma_hf.data.exports import write_label_map, write_rois
from glioma_hf.data.images import read_image, to_uint8
from glioma_hf.draw import overlay
from glioma_hf.errors import InputError
from glioma_hf.files import new_file, new_folder
from glioma_hf.models.sam.generate import SETTINGS_FILE, GenerationSettings, SamSegmenter, best_device
from glioma_hf.models.sam.lora import load_adapter, load_base
from glioma_hf.models.sam.network import EMBEDDED
from glioma_hf.models.sam.train import QUICK, TrainSettings, save_adapter, train
from glioma_hf.shape import shape_table

Say = Callable[[str], None]


def train_adapter(
    data: str | Path,
    numbers: Sequence[int],
    out: str | Path,
    model: str = EMBEDDED,
    recipe: TrainSettings = QUICK,
    say: Say = print,
    task: str = "cells",
) -> float:
    """Fine-tune on training images of a prepared data set; thresholds come from its validation images.

    Args:
        numbers: of the training images, from 1.
        task: which objects are learned, see `instances_of`.

    Writes the adapter, its recipe and its thresholds into the folder `out`, whole or not at all; returns
    the AP at IoU 0.5 on the validation images.
    """
    splits = load_splits(data, task=task)
    chosen = [pick(splits["train"], number, str(data)) for number in dict.fromkeys(numbers)]
    with new_folder(out) as folder:
        say(f"fine-tuning on {', '.join(item.name for item in chosen)}")
        base = load_base(model).to(best_device())
        adapted = train(base, [(item.pixels, item.cells) for item in chosen], recipe, folder, every_tenth(say))
        say("choosing thresholds on validation images")
        settings, ap = tune(SamSegmenter(adapted), [(item.pixels, item.cells) for item in splits["validation"]])
        save_adapter(adapted, folder, model, recipe)
        (folder / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2))
    return ap


def open_segmenter(model: str = EMBEDDED, adapter: str | Path | None = None) -> SamSegmenter:
    """A base, with an adapter and the thresholds kept beside it where one is given."""
    base = load_base(model).to(best_device())
    if adapter is None:
        return SamSegmenter(base)
    kept = Path(adapter) / SETTINGS_FILE
    adapted = load_adapter(base, adapter)
    try:
        settings = GenerationSettings.model_validate_json(kept.read_text()) if kept.is_file() else None
    except ValueError as error:
        raise InputError(f"{kept}: the thresholds can't be read ({str(error).splitlines()[0]})") from None
    return SamSegmenter(adapted, settings)


def predict_images(
    paths: Sequence[Path], segmenter: SamSegmenter, out: str | Path, pixel_size: float = 1.0, say: Say = print
) -> int:
    """Files of each image's cells into the folder `out`; returns the number of cells.

    `NAME.json` COCO results, `NAME.csv` shapes, `NAME.png` overlay, `NAME_labels.tif` a flattened label map
    and `NAME_rois.zip` for ImageJ. Images that have all of them there already are skipped, so that a run
    that was broken off goes on where it stopped.

    Raises `InputError` for an unreadable image and for two images of one name.
    """
    stems = [path.stem for path in paths]
    repeated = next((stem for stem in stems if stems.count(stem) > 1), None)
    if repeated is not None:
        raise InputError(f"two images are called {repeated}; their results would overwrite each other")
    total = 0
    for number, path in enumerate(paths, start=1):
        files = [Path(out) / f"{path.stem}{end}" for end in (".json", ".csv", ".png", "_labels.tif", "_rois.zip")]
        results, table, picture, labels, rois = files
        if all(file.exists() for file in files):
            total += len(json.loads(results.read_text()))
            say(f"{number} of {len(paths)}: {path.name} is done already")
            continue
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
        total += len(found)
        say(f"{number} of {len(paths)}: {path.name}, {len(found)} cells")
    return total


def every_tenth(say: Say) -> Callable[[int, int, float], None]:
    """Says every tenth step, with the loss and the time left."""
    started = time.perf_counter()

    def report(step: int, steps: int, loss: float) -> None:
        if step % 10 == 0 or step == steps:
            left = (time.perf_counter() - started) / step * (steps - step)
            say(f"  step {step} of {steps}, loss {loss:.3f}, about {left:.0f} s left")

    return report
