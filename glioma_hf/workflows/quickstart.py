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
from glioma_hf.files import new_folder
from glioma_hf.instances import Instances
from glioma_hf.metrics.inputs import to_rles
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.models import EMBEDDED, find_base
from glioma_hf.models.base import Family, Run, Segmenter
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.resources import bundled
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
from glioma_hf.workflows.outputs import results, shapes
from glioma_hf.workflows.report import write_report
from glioma_hf.workflows.training import TrainingData, as_pairs, fit_and_tune

# One microscope and one annotator, as in a real data set: what one image teaches holds for the others.
SYNTHETIC = SyntheticArchiveConfig(
    scene=SceneConfig(
        cells_per_megapixel=(150, 260), scale=(1.4, 1.4), halo=(8.0, 8.0), noise=(4.0, 4.0), looseness=(4.0, 4.0)
    )
)
BRIEF = 8  # the part of the recipe's steps on synthetic images, which the embedded model nearly knows


@dataclass
class ModelRun:
    """One model on the test split: its thresholds, scores and predictions."""

    name: str
    suffix: str  # of its overlays' names
    segmenter: Segmenter
    validation_ap50: float | None
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    predictions: list[Instances] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """What goes into `scores.json`."""
        names = ("tp", "fp", "fn", "precision", "recall", "f1", "ap50", "ap75", "ap90", "images")
        return {name: self.scores[name] for name in names} | {
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
    model: str = EMBEDDED,
    on_progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Run the main job offline and leave everything in the folder `out`; returns what `scores.json` holds.

    Args:
        out: a new or empty folder, or one that an earlier run made; written whole or not at all.
        archive: zip or folder in the Glioma C6 layout; a synthetic one where none is given.
        image: number of the training image, from 1.
        recipe: how the model is trained: a name, a JSON file or a recipe of the family. Its default where none is
            given, a part of it on synthetic images.
        model: the base model, see `models.find_base`.

    Raises `InputError` for a broken archive, a training image that isn't there, an output folder that
    can't be written.
    """
    started = time.perf_counter()
    family, base = find_base(model)
    named = recipe if isinstance(recipe, str | Path) else None
    if recipe is None or isinstance(recipe, str | Path):
        recipe = family.read_recipe(recipe)
        if named is None and archive is None:
            recipe = recipe.for_steps(recipe.steps(1) // BRIEF)
    with new_folder(out, "quickstart", [archive, base, named]) as work:
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
        on_progress(
            Progress(f"the base model on {len(test)} test images; its thresholds come from the validation images")
        )
        before = _run_base(family, base, validation, test, on_progress)
        name = chosen[0].name
        on_progress(Progress(f"fine-tuning on one image, {name} ({len(chosen[0].instances)} cells)"))
        run = Run(work / "adapter", on_progress)
        fit_and_tune(family, base, TrainingData(source, chosen, validation), recipe, run)
        trained = time.perf_counter()
        after = _run_saved(family, base, work / "adapter", test, on_progress)
        on_progress(Progress("scoring through evaluate.load"))
        for each in (before, after):
            each.scores = _score(each.predictions, [item.instances for item in test], work)
        on_progress(Progress("drawing pictures and writing the report"))
        scores: dict[str, Any] = {
            "data": source,
            "split": find_split(data, "test").name,
            "family": family.name,
            "base_model": base,
            "training_image": name,
            "models": {each.name: each.summary() for each in (before, after)},
            "seconds": {"training_done_after": round(trained - started, 1)},
        }
        _write_results(work, test, (before, after))
        for each, trained_by in ((before, None), (after, recipe)):
            write_row(work / "results" / f"{each.suffix}.json", _row(each, test, scores, trained_by))
        scores["seconds"]["total"] = round(time.perf_counter() - started, 1)
        (work / "scores.json").write_text(json.dumps(scores, indent=2))
        write_report(work / "report.html", scores, recipe.model_dump(), [item.name for item in test])
        shutil.rmtree(work / ".cache", ignore_errors=True)
    return scores


def _run_base(
    family: Family, base: str, validation: list[LabelledImage], test: list[LabelledImage], on_progress: OnProgress
) -> ModelRun:
    """The base as it comes, with thresholds from the validation split, on the test split."""
    segmenter, ap = family.tune(family.load(base, None), as_pairs(validation), ignore)
    return _predict(ModelRun("base", "base", segmenter, ap), test, on_progress)


def _run_saved(family: Family, base: str, folder: Path, test: list[LabelledImage], on_progress: OnProgress) -> ModelRun:
    """What was saved, on the test split."""
    saved = ModelFolder(folder)
    segmenter = family.load(base, folder).with_settings(**saved.settings().model_dump())
    scores = saved.scores()
    ap = None if scores is None else scores.validation_ap50
    return _predict(ModelRun(f"{family.tuned}, one image", "tuned", segmenter, ap), test, on_progress)


def _predict(run: ModelRun, test: list[LabelledImage], on_progress: OnProgress) -> ModelRun:
    started = time.perf_counter()
    for item in test:
        cells = run.segmenter.segment(item.pixels)
        run.predictions.append(cells)
        on_progress(Progress(f"  {run.name}: {item.name}, {len(cells)} cells"))
    run.seconds = time.perf_counter() - started
    return run


def _row(run: ModelRun, test: list[LabelledImage], scores: dict[str, Any], recipe: Any) -> ResultRow:
    """A run as a row of results, with what is needed to repeat it."""
    pairs = zip(run.predictions, (item.instances for item in test), strict=True)
    return ResultRow.of(
        overlap_ap(pairs),
        [item.name for item in test],
        data_set=scores["data"],
        split=scores["split"],
        task="cells",
        model=run.name,
        family=scores["family"],
        recipe=None if recipe is None else recipe.model_dump(mode="json"),
        seed=None if recipe is None else recipe.seed,
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
        table = shapes(cells)
        table.insert(0, "file_name", item.name)
        tables.append(table)
    (work / "predictions.json").write_text(json.dumps(rows))
    pd.concat(tables).to_csv(work / "morphology.csv", index=False, float_format="%.6g")
