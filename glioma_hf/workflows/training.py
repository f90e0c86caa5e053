"""What `glioma-hf train` and `glioma-hf tune` do, for any family: fine-tune, choose thresholds, save."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf import __version__
from glioma_hf.data.images import read_image
from glioma_hf.data.splits import LabelledImage, has_split, load_images
from glioma_hf.errors import InputError
from glioma_hf.files import SCRATCH, checksum, partial_folder, resumable_folder
from glioma_hf.instances import Instances
from glioma_hf.models import EMBEDDED, find_base, load_segmenter
from glioma_hf.models.base import Family, LabelledPixels, Run, Segmenter
from glioma_hf.models.checkpoints import CHECKPOINTS, last_checkpoint
from glioma_hf.models.saved import ModelFolder, TrainingScores, read_settings, write_settings
from glioma_hf.places import Inputs, check_file, check_folder, real
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.prediction import find_images
from glioma_hf.workflows.processes import Processes
from glioma_hf.workflows.unlabelled import facts_of, label

MODEL = "model"  # the kind of folder that is written here


def train(
    data: str | Path,
    images: Sequence[int] = (1,),
    out: str | Path = "model",
    model: str = EMBEDDED,
    recipe: str | Path | Any = None,
    task: str = "cells",
    on_progress: OnProgress = ignore,
    resume: bool = True,
    tensorboard: bool = False,
    unlabelled: str | Path | Sequence[str | Path] = (),
    teacher: str | Path | None = None,
) -> TrainingScores | None:
    """Fine-tune a model on training images of a prepared data set; thresholds come from its validation images.

    Args:
        data: folder made by `prepare`.
        images: numbers of training images, from 1.
        out: folder for the model, its recipe, thresholds, scores and card; written whole or not at all.
        model: the base, see `models.find_base`.
        recipe: a name, a JSON file or a recipe of the family; the family's default without it.
        task: which objects are learned, see `instances_of`.
        on_progress: told what is going on, and of each training step.
        resume: go on from the last checkpoint of a run of the same job that was broken off.
        tensorboard: keep a log for TensorBoard as well.
        unlabelled: further images, or folders of them, to learn from without labels, see `workflows.unlabelled`.
        teacher: the model that labels those, as `load_segmenter` takes it; without it one is trained on `images` first.

    Returns what is kept as the model's scores. Without validation images the thresholds stay as the family has them
    and the score is None. Under `accelerate launch` the first process writes; the others return None.

    Raises `InputError` for a data set, an image, a recipe or a model that can't be used.

    Example:
        prepare("archive.zip", "glioma_c6")
        scores = train("glioma_c6", images=[1], out="adapter")
        segmenter = load_segmenter("adapter")
    """
    family, base = find_base(model)
    more = [unlabelled] if isinstance(unlabelled, str | Path) else list(unlabelled)
    inputs = [data, base, recipe if isinstance(recipe, str | Path) else None, teacher, *more]
    if recipe is None or isinstance(recipe, str | Path):
        recipe = family.read_recipe(recipe)
    check_folder(out, MODEL, inputs)
    paths = find_images(more)
    if teacher is not None and not paths:
        raise InputError(f"the teacher {teacher} labels images without labels, and there are none; give such images")
    for path in paths:
        read_image(path)  # not after minutes of training
    processes = Processes()
    tell = on_progress if processes.first else ignore
    numbers = list(dict.fromkeys(images))
    with processes.first_goes_before():
        chosen = load_images(data, "train", task, numbers)
        validation = load_images(data, "validation", task) if has_split(data, "validation") else []
    learned = TrainingData(Path(data).name, chosen, validation, task)
    extra = {"unlabelled": facts_of(paths), "teacher": facts_of_model(teacher)} if paths else {}
    job = _job(family, base, learned, recipe, extra)
    with _shared_folder(out, job, inputs, resume, tell, processes) as folder:
        tell(Progress(f"{_how(folder, family, tell)}: {', '.join(item.name for item in chosen)}"))
        run = Run(folder, tell, tensorboard=tensorboard)
        if paths:
            model_that_labels = _teacher(teacher, family, base, learned, recipe, run)
            learned = replace(learned, unlabelled=label(model_that_labels, paths, tell))
        segmenter = _fit(family, base, learned, recipe, run)
        return tune_and_save(family, base, segmenter, learned, recipe, run) if processes.first else None


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained and tuned on.

    Attributes:
        name: of the data set, as scores and cards call it.
        images, validation: of the training and the validation split; the latter may be missing.
        unlabelled: learned from too, with labels of a model's.
        task: which objects are learned.
    """

    name: str
    images: Sequence[LabelledImage]
    validation: Sequence[LabelledImage] = ()
    task: str = "cells"
    unlabelled: Sequence[LabelledImage] = ()


def fit_and_tune(family: Family, base: str, data: TrainingData, recipe: Any, run: Run) -> TrainingScores:
    """Train, choose thresholds on validation images where there are any, and save into `run.work`."""
    return tune_and_save(family, base, _fit(family, base, data, recipe, run), data, recipe, run)


def _fit(family: Family, base: str, data: TrainingData, recipe: Any, run: Run) -> Segmenter:
    pairs = as_pairs(data.validation)
    if pairs:
        run = replace(run, validate=lambda segmenter: family.tune(segmenter, pairs, ignore)[1])
    return family.train(base, as_pairs([*data.images, *data.unlabelled]), recipe, run)


def _teacher(
    teacher: str | Path | None, family: Family, base: str, data: TrainingData, recipe: Any, run: Run
) -> Segmenter:
    """The model that labels images without labels: one that is given, or one trained on what has labels."""
    if teacher is not None:
        return load_segmenter(teacher)
    assert run.work is not None
    run.on_progress(Progress("first a model that labels the images without labels"))
    segmenter = _fit(family, base, data, recipe, replace(run, work=run.work / SCRATCH / "teacher"))
    return family.tune(segmenter, as_pairs(data.validation), ignore)[0] if data.validation else segmenter


def tune_and_save(
    family: Family, base: str, segmenter: Segmenter, data: TrainingData, recipe: Any, run: Run
) -> TrainingScores:
    """Choose a trained segmenter's thresholds on validation images where there are any, and save it."""
    assert run.work is not None
    ap = None
    if data.validation:
        run.on_progress(Progress("choosing thresholds on validation images"))
        segmenter, ap = family.tune(segmenter, as_pairs(data.validation), ignore)
    else:
        run.on_progress(Progress("no validation images: the thresholds stay as they are"))
    scores = TrainingScores(
        data=data.name,
        task=data.task,
        training_images=[item.name for item in data.images],
        validation_images=[item.name for item in data.validation],
        unlabelled_images=[item.name for item in data.unlabelled],
        validation_ap50=ap,
    )
    ModelFolder(run.work).write(family, segmenter, base, recipe, scores)
    shutil.rmtree(run.work / CHECKPOINTS, ignore_errors=True)
    return scores


def teach(
    pixels: np.ndarray,
    instances: Instances,
    out: str | Path,
    model: str = EMBEDDED,
    steps: int | None = None,
    on_progress: OnProgress = ignore,
) -> float:
    """Fine-tune on one image that is no data set's, in this process alone, and save the model into `out`.

    Args:
        pixels, instances: the image and its outlines.
        steps: about how many; as many as the family's default recipe makes without it.

    Returns the AP at IoU 0.5 on the image itself, on which the thresholds are chosen, there being no other.
    """
    family, base = find_base(model)
    recipe = family.read_recipe()
    recipe = recipe if steps is None else recipe.for_steps(steps)
    pairs = [(pixels, instances)]
    segmenter = family.train(base, pairs, recipe, Run(on_progress=on_progress, workers=0))
    on_progress(Progress("choosing thresholds on the image itself"))
    segmenter, ap = family.tune(segmenter, pairs, ignore)
    ModelFolder(out).write(family, segmenter, base, recipe)
    return ap


def tune(
    data: str | Path,
    model: str | None = None,
    adapter: str | Path | None = None,
    out: str | Path | None = None,
    task: str = "cells",
    on_progress: OnProgress = ignore,
    **settings: Any,
) -> tuple[Segmenter, float]:
    """Choose thresholds anew on the validation images of a prepared data set.

    They are written beside the saved model `adapter`, or into the file `out`. Returns the segmenter that has them and
    its AP at IoU 0.5. For `settings` see `load_segmenter`. Raises `InputError` where neither place is given.
    """
    if adapter is None and out is None:
        raise InputError(
            "thresholds are kept with an adapter (--adapter FOLDER) or in a file of their own (--out FILE)"
        )
    segmenter = load_segmenter(model, adapter, **settings)
    family = find_base(model or EMBEDDED)[0] if adapter is None else ModelFolder(adapter).family()
    if out is not None:  # before any work is done
        check_file(out, real(out), [data, adapter, model], lambda path: _holds_settings(family, path))
    segmenter, ap = family.tune(segmenter, as_pairs(load_images(data, "validation", task)), on_progress)
    if out is not None:
        write_settings(segmenter, Path(out))
    else:
        ModelFolder(str(adapter)).note_tuning(segmenter, ap)
    return segmenter, ap


def _holds_settings(family: Family, path: Path) -> bool:
    try:
        return bool(read_settings(family, path))
    except InputError:
        return False


def as_pairs(images: Sequence[LabelledImage]) -> list[LabelledPixels]:
    """Pixels and instances, as families take them."""
    return [(item.pixels, item.instances) for item in images]


def _how(folder: Path, family: Family, on_progress: OnProgress) -> str:
    """Whether a run begins or goes on."""
    last = last_checkpoint(folder, on_progress)
    if last:
        return f"going on from {Path(last).name}"
    return f"fine-tuning (a run of {family.name} that is broken off begins anew)" if family.package else "fine-tuning"


def facts_of_model(name: str | Path | None) -> list[Any]:
    """A model's name, with names and checksums of its files where it lies in a folder."""
    files = sorted(p for p in Path(name).iterdir() if p.is_file()) if name is not None and Path(name).is_dir() else []
    return [str(name), *((file.name, checksum(file)) for file in files)]


def _job(family: Family, base: str, data: TrainingData, recipe: Any, extra: dict[str, Any]) -> str:
    """What a model is made of, by content: the images with their instances, the base, the recipe, and what is extra."""
    digest = hashlib.sha256()
    for item in (*data.images, *data.validation):
        digest.update(f"{item.name} {item.pixels.dtype} {item.pixels.shape} {len(item.instances)}".encode())
        digest.update(np.ascontiguousarray(item.pixels).tobytes())
        for rle, category in zip(item.instances.rles, item.instances.categories, strict=True):
            digest.update(b"%d %b" % (category, rle["counts"]))
    facts = {
        "data": digest.hexdigest(),
        "name": data.name,
        "images": [[item.name for item in part] for part in (data.images, data.validation)],
        "base": [family.name, *facts_of_model(base)],
        "recipe": recipe.model_dump(mode="json"),
        "task": data.task,
        "glioma_hf": __version__,
        **extra,
    }
    return json.dumps(facts)


@contextmanager
def _shared_folder(
    out: str | Path, job: str, inputs: Inputs, resume: bool, on_progress: OnProgress, processes: Processes
) -> Iterator[Path]:
    """`resumable_folder` of the first process, which the others may read from."""
    if not processes.first:
        processes.wait()
        yield partial_folder(out)
        return
    with resumable_folder(out, MODEL, job, inputs, on_progress, resume) as folder:
        processes.wait()
        yield folder
