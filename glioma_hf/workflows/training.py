"""What `glioma-hf train` and `glioma-hf tune` do, and the way to a model with its adapter and thresholds."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from glioma_hf import hub
from glioma_hf.data.splits import LabelledImage, load_splits, pick
from glioma_hf.errors import InputError
from glioma_hf.files import new_file, partial_folder, resumable_folder
from glioma_hf.models.sam.adapter_card import SCORES_FILE
from glioma_hf.models.sam.generate import SETTINGS_FILE, GenerationSettings, SamSegmenter, best_device
from glioma_hf.models.sam.lora import check_adapter, load_adapter, load_base
from glioma_hf.models.sam.sam import EMBEDDED
from glioma_hf.models.sam.train import QUICK, TrainSettings, read_recipe, save_adapter, train
from glioma_hf.models.sam.tune import tune
from glioma_hf.models.training import CHECKPOINTS, last_checkpoint

Say = Callable[[str], None]


def train_adapter(
    data: str | Path,
    numbers: Sequence[int],
    out: str | Path,
    model: str = EMBEDDED,
    recipe: TrainSettings = QUICK,
    say: Say = print,
    task: str = "cells",
    resume: bool = True,
    tensorboard: bool = False,
) -> float:
    """Fine-tune on training images of a prepared data set; thresholds come from its validation images.

    Args:
        numbers: of the training images, from 1.
        task: which objects are learned, see `instances_of`.
        resume: go on from the last checkpoint of a run of the same job that was broken off.
        tensorboard: keep a log for TensorBoard as well.

    Writes the adapter, its recipe, thresholds and validation scores into the folder `out`, whole or not at all;
    returns the AP at IoU 0.5 on the validation images. Under `accelerate launch` the first process writes.
    """
    state = PartialState(cpu=best_device().type == "cpu")
    tell: Say = say if state.is_main_process else lambda line: None
    with state.main_process_first():
        splits = load_splits(data, task=task)
    numbers = list(dict.fromkeys(numbers))
    chosen = [pick(splits["train"], number, str(data)) for number in numbers]
    validation = [(item.pixels, item.cells) for item in splits["validation"]]
    job = json.dumps([str(Path(data).resolve()), numbers, str(model), recipe.model_dump(), task])
    with _shared_folder(out, job, resume, state) as folder:
        last = last_checkpoint(folder)
        tell(f"{'going on from ' + Path(last).name if last else 'fine-tuning'}: {', '.join(i.name for i in chosen)}")
        adapted = train(
            load_base(model, recipe.tile).to(best_device()),
            [(item.pixels, item.cells) for item in chosen],
            recipe,
            folder,
            every_tenth(tell),
            validate=lambda adapted: tune(SamSegmenter(adapted), validation)[1],
            tensorboard=tensorboard,
        )
        if not state.is_main_process:
            return float("nan")
        tell("choosing thresholds on validation images")
        start = GenerationSettings(cell_diameter=typical_diameter(chosen))
        settings, ap = tune(SamSegmenter(adapted, start), validation)
        save_adapter(adapted, folder, model, recipe, adapter_scores(Path(data).name, chosen, splits, ap, task))
        (folder / SETTINGS_FILE).write_text(settings.model_dump_json(indent=2))
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return ap


def tune_thresholds(
    data: str | Path,
    model: str = EMBEDDED,
    adapter: str | Path | None = None,
    out: str | Path | None = None,
    prompts: str | None = None,
    task: str = "cells",
    say: Say = print,
) -> tuple[GenerationSettings, float]:
    """Choose generation thresholds anew on the validation images of a prepared data set.

    They are written beside the adapter, or into the file `out`. Returns them and the AP at IoU 0.5.
    Raises `InputError` where neither place is given.
    """
    if adapter is None and out is None:
        raise InputError(
            "thresholds are kept with an adapter (--adapter FOLDER) or in a file of their own (--out FILE)"
        )
    segmenter = open_segmenter(model, adapter, prompts=prompts)
    validation = load_splits(data, task=task)["validation"]
    settings, ap = tune(
        segmenter,
        [(item.pixels, item.cells) for item in validation],
        lambda done, total: say(f"asked validation image {done} of {total}"),
    )
    with new_file(out if out is not None else Path(str(adapter)) / SETTINGS_FILE) as partial:
        partial.write_text(settings.model_dump_json(indent=2))
    if adapter is not None and out is None:
        _note_score(Path(adapter), ap)
    return settings, ap


def push_adapter(folder: str | Path, repo: str, private: bool = False, dry_run: bool = False) -> tuple[list[str], str]:
    """An adapter's files to a model repository on the Hub, compared there with what was sent.

    Returns the files' names and the address (the repository's name in a dry run). Raises `InputError` where the
    folder holds no adapter or the Hub refuses.
    """
    hub.check_repo(repo)
    folder = Path(folder)
    check_adapter(folder)
    kept = (
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
        "training.json",
        SETTINGS_FILE,
        SCORES_FILE,
    )
    with tempfile.TemporaryDirectory() as work:
        names = [name for name in kept if (folder / name).is_file()]
        for name in names:
            shutil.copyfile(folder / name, Path(work) / name)
        card = Path(work) / "README.md"
        if card.is_file():
            card.write_text(card.read_text(encoding="utf-8").replace("THIS_FOLDER", repo), encoding="utf-8")
        return names, repo if dry_run else hub.push(Path(work), names, repo, private, kind="model")


def open_segmenter(
    model: str = EMBEDDED,
    adapter: str | Path | None = None,
    thresholds: str | Path | None = None,
    prompts: str | None = None,
    diameter: float | None = None,
) -> SamSegmenter:
    """A base, with an adapter and the thresholds kept beside it where one is given.

    Args:
        thresholds: file of `GenerationSettings` to take instead.
        prompts: `centres` or `grid` instead of what the thresholds say.
        diameter: of the cells expected, in pixels; images are scaled to what the model knows.
    """
    tile = None
    if adapter is not None:
        recipe, kept = Path(adapter) / "training.json", Path(adapter) / SETTINGS_FILE
        tile = read_recipe(str(recipe)).tile if recipe.is_file() else None
        thresholds = kept if thresholds is None and kept.is_file() else thresholds
    settings = GenerationSettings() if thresholds is None else _read_settings(Path(thresholds))
    base = load_base(model, tile).to(best_device())
    if prompts is not None:
        settings = settings.model_copy(update={"prompts": prompts})
    if diameter is not None:
        settings = settings.for_diameter(diameter)
    return SamSegmenter(base if adapter is None else load_adapter(base, adapter), settings)


def adapter_scores(
    data: str, chosen: Sequence[LabelledImage], splits: dict[str, list[LabelledImage]], ap: float, task: str = "cells"
) -> dict[str, Any]:
    """What `save_adapter` keeps and the card tells: the data, the images, and the AP50 on validation images."""
    return {
        "data": data,
        "task": task,
        "training_images": [item.name for item in chosen],
        "validation_images": [item.name for item in splits["validation"]],
        "validation_ap50": ap,
    }


def typical_diameter(images: Sequence[LabelledImage]) -> float:
    """Median over the cells of the diameter of the circle of the same area, in pixels."""
    areas = np.concatenate([item.cells.areas for item in images])
    return round(float(2 * np.sqrt(np.median(areas) / np.pi)), 1)


def every_tenth(say: Say) -> Callable[[int, int, float], None]:
    """Says every tenth step, with the loss and the time left."""
    started, first = time.perf_counter(), 0

    def report(step: int, steps: int, loss: float) -> None:
        nonlocal first
        first = first or step  # a run that goes on doesn't begin at 1
        if step % 10 == 0 or step == steps:
            left = (time.perf_counter() - started) / (step - first + 1) * (steps - step)
            say(f"  step {step} of {steps}, loss {loss:.3f}, about {left:.0f} s left")

    return report


@contextmanager
def _shared_folder(out: str | Path, job: str, resume: bool, state: PartialState) -> Iterator[Path]:
    """`resumable_folder` of the first process, which the others may read from."""
    if not state.is_main_process:
        state.wait_for_everyone()
        yield partial_folder(out)
        return
    if not resume:
        shutil.rmtree(partial_folder(out), ignore_errors=True)
    with resumable_folder(out, job) as folder:
        state.wait_for_everyone()
        yield folder


def _read_settings(path: Path) -> GenerationSettings:
    try:
        return GenerationSettings.model_validate_json(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: the thresholds can't be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: the thresholds can't be read ({str(error).splitlines()[0]})") from None


def _note_score(adapter: Path, ap: float) -> None:
    """The new validation score into the adapter's scores."""
    path = adapter / SCORES_FILE
    try:
        scores = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        raise InputError(f"{path}: not JSON; delete it and tune again") from None
    with new_file(path) as partial:
        partial.write_text(json.dumps({**scores, "validation_ap50": ap}, indent=2))
