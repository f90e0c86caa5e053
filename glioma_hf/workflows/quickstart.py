"""The main job, end to end: archive -> data set -> training on one image -> predictions -> scores -> report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glioma_hf.benchmark.results import ResultRow, write_row
from glioma_hf.data.images import to_uint8
from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import LabelledImage, find_split, load_images
from glioma_hf.draw import overlay
from glioma_hf.errors import InputError
from glioma_hf.files import new_folder
from glioma_hf.instances import Instances
from glioma_hf.metrics.inputs import to_rles
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.models import EMBEDDED, find_base
from glioma_hf.models.base import Family, Recipe, Run, Segmenter
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.resources import bundled
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
from glioma_hf.workflows.outputs import measures, numbered, results
from glioma_hf.workflows.report import write_report
from glioma_hf.workflows.training import TrainingData, as_pairs, fit_and_tune

# One microscope and one annotator, as in a real data set: what one image teaches holds for the others.
SYNTHETIC = SyntheticArchiveConfig(
    scene=SceneConfig(
        cells_per_megapixel=(150, 260), scale=(1.4, 1.4), halo=(8.0, 8.0), noise=(4.0, 4.0), looseness=(4.0, 4.0)
    )
)
BRIEF = 8  # the part of a recipe's steps on synthetic images, which the models that come with the package nearly know
COMPARED = (EMBEDDED, "centres:general")  # the last is the one whose predictions are written


@dataclass
class ModelRun:
    """One model on the test split: its thresholds, scores and predictions."""

    name: str
    suffix: str  # of its overlays' names
    family: Family
    base: str
    recipe: Recipe | None  # that it was trained by here
    segmenter: Segmenter
    validation_ap50: float | None
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    predictions: list[Instances] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """What goes into `scores.json`."""
        names = ("tp", "fp", "fn", "precision", "recall", "f1", "ap50", "ap75", "ap90", "images")
        return {name: self.scores[name] for name in names} | {
            "family": self.family.name,
            "base_model": self.base,
            "trained": self.recipe is not None,
            "objects": self.scores["references"],
            "predicted_objects": self.scores["predictions"],
            "seconds": round(self.seconds, 2),
            "validation_ap50": self.validation_ap50,
            "thresholds": self.segmenter.settings.model_dump(mode="json"),
        }


def quickstart(
    out: str | Path = "quickstart",
    archive: str | Path | None = None,
    image: int = 1,
    recipe: str | Path | Any = None,
    model: str | Sequence[str] = COMPARED,
    on_progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Run the main job offline and leave everything in the folder `out`; returns what `scores.json` holds.

    Each model is scored as it comes and after training on one image. Its trained form lies in a folder called as its
    family; predictions and shapes are the last model's.

    Args:
        out: a new or empty folder, or one that an earlier run made; written whole or not at all.
        archive: zip or folder in the Glioma C6 layout; a synthetic one where none is given.
        image: number of the training image, from 1.
        recipe: how a single model is trained: a name, a JSON file or a recipe of its family. Its default where none
            is given, a part of it on synthetic images.
        model: base models of different families, or one, see `models.find_base`.

    Raises `InputError` for a broken archive, a training image that isn't there, an output folder that
    can't be written, a recipe for several models.
    """
    started = time.perf_counter()
    named = [recipe] if isinstance(recipe, str | Path) else []
    plans = _plans([model] if isinstance(model, str) else model, recipe, brief=archive is None)
    with new_folder(out, "quickstart", [archive, *(base for _, base, _ in plans), *named]) as work:
        if archive is None:
            on_progress(Progress("drawing a synthetic archive in the Glioma C6 layout (none was given)"))
            archive, source = work / "archive.zip", "synthetic images"
            synthesize(archive, seed=0, config=SYNTHETIC)
        else:
            source = Path(archive).name
        on_progress(Progress("preparing the data set: archive -> Parquet"))
        data = work / "dataset"
        prepare(archive, data)
        chosen, validation, test = (
            load_images(data, split, numbers=numbers, name=source)
            for split, numbers in (("train", [image]), ("validation", None), ("test", None))
        )
        name, runs = chosen[0].name, []
        for family, base, its_recipe in plans:
            on_progress(
                Progress(
                    f"{family.name}: the base model {base} on {len(test)} test images; its thresholds come from the "
                    "validation images"
                )
            )
            runs.append(_run_base(family, base, validation, test, on_progress))
            on_progress(Progress(f"{family.name}: fine-tuning on one image, {name} ({len(chosen[0].instances)} cells)"))
            run = Run(work / family.name, on_progress)
            fit_and_tune(family, base, TrainingData(source, chosen, validation), its_recipe, run)
            runs.append(_run_saved(family, base, work / family.name, its_recipe, test, on_progress))
        on_progress(Progress("scoring through evaluate.load"))
        for each in runs:
            each.scores = _score(each.predictions, [item.instances for item in test], work)
        on_progress(Progress("drawing pictures and writing the report"))
        scores: dict[str, Any] = {
            "data": source,
            "split": find_split(data, "test").name,
            "training_image": name,
            "models": {each.name: each.summary() for each in runs},
        }
        _write_results(work, test, runs)
        for each in runs:
            write_row(work / "results" / f"{each.suffix}.json", _row(each, test, scores))
        scores["seconds"] = {"total": round(time.perf_counter() - started, 1)}
        (work / "scores.json").write_text(json.dumps(scores, indent=2))
        write_report(work / "report.html", scores, runs, [item.name for item in test])
        shutil.rmtree(work / ".cache", ignore_errors=True)
    return scores


def _plans(models: Sequence[str], recipe: Any, brief: bool) -> list[tuple[Family, str, Any]]:
    """Of each model its family, base and recipe; of the default recipe a part alone where it is to be brief."""
    bases = [find_base(model) for model in models]
    names = [family.name for family, _ in bases]
    if not names or len(set(names)) < len(names):
        raise InputError(f"models of one family are compared one run each; {', '.join(names) or 'none'} was asked for")
    if recipe is not None and len(names) > 1:
        raise InputError(f"a recipe is for one family and {len(names)} were asked for; give one model with it")
    plans = []
    for family, base in bases:
        chosen = family.read_recipe(recipe) if recipe is None or isinstance(recipe, str | Path) else recipe
        if recipe is None and brief:
            chosen = chosen.for_steps(chosen.steps(1) // BRIEF)
        plans.append((family, base, chosen))
    return plans


def _run_base(
    family: Family, base: str, validation: list[LabelledImage], test: list[LabelledImage], on_progress: OnProgress
) -> ModelRun:
    """The base as it comes, with thresholds from the validation split, on the test split."""
    segmenter, ap = family.tune(family.load(base, None), as_pairs(validation), ignore)
    name = f"{family.name}: base"
    return _predict(ModelRun(name, f"{family.name}_base", family, base, None, segmenter, ap), test, on_progress)


def _run_saved(
    family: Family, base: str, folder: Path, recipe: Any, test: list[LabelledImage], on_progress: OnProgress
) -> ModelRun:
    """What was saved, on the test split."""
    saved = ModelFolder(folder)
    segmenter = family.load(base, folder).with_settings(**saved.settings().model_dump())
    scores = saved.scores()
    ap = None if scores is None else scores.validation_ap50
    name = f"{family.name}: {family.tuned}, one image"
    return _predict(ModelRun(name, f"{family.name}_tuned", family, base, recipe, segmenter, ap), test, on_progress)


def _predict(run: ModelRun, test: list[LabelledImage], on_progress: OnProgress) -> ModelRun:
    started = time.perf_counter()
    for item in test:
        cells = run.segmenter.segment(item.pixels)
        run.predictions.append(cells)
        on_progress(Progress(f"  {run.name}: {item.name}, {len(cells)} cells"))
    run.seconds = time.perf_counter() - started
    return run


def _row(run: ModelRun, test: list[LabelledImage], scores: dict[str, Any]) -> ResultRow:
    """A run as a row of results, with what is needed to repeat it."""
    pairs = zip(run.predictions, (item.instances for item in test), strict=True)
    return ResultRow.of(
        overlap_ap(pairs),
        [item.name for item in test],
        data_set=scores["data"],
        split=scores["split"],
        task="cells",
        model=run.name,
        family=run.family.name,
        recipe=None if run.recipe is None else run.recipe.model_dump(mode="json"),
        seed=None if run.recipe is None else run.recipe.seed,
        thresholds=run.segmenter.settings.model_dump(mode="json"),
        thresholds_from="validation",
        seconds_per_image=run.seconds / len(test),
    )


def _score(predictions: list[Instances], references: list[Instances], work: Path) -> dict[str, float]:
    import evaluate

    metric = evaluate.load(str(bundled("metric/overlap_ap.py")), cache_dir=str(work / ".cache"))
    sides = {"predictions": map(to_rles, predictions), "references": map(to_rles, references)}
    return metric.compute(**{name: list(side) for name, side in sides.items()})


def _write_results(work: Path, images: list[LabelledImage], runs: Sequence[ModelRun]) -> None:
    """Overlays of all runs; results and shapes of the last, of all images in one file each."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    tables = []
    (work / "overlays").mkdir()
    for number, item in enumerate(images):
        stem = Path(item.name).stem
        shown = to_uint8(item.pixels)
        for run in runs:
            overlay(shown, run.predictions[number], item.instances).save(work / "overlays" / f"{stem}_{run.suffix}.png")
        cells = runs[-1].predictions[number]
        rows += results(cells, item.image_id)
        table = measures(numbered(cells))
        table.insert(0, "file_name", item.name)
        tables.append(table)
    (work / "predictions.json").write_text(json.dumps(rows))
    pd.concat(tables).to_csv(work / "morphology.csv", index=False, float_format="%.6g")
