"""The main job, end to end: archive -> data set -> LoRA from one image -> predictions -> scores -> report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glioma_hf.data.images import to_uint8
from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import LabelledImage, load_splits, pick
from glioma_hf.draw import overlay
from glioma_hf.files import new_folder
from glioma_hf.instances import Instances
from glioma_hf.metrics.inputs import to_rles
from glioma_hf.models.sam.generate import SETTINGS_FILE, GenerationSettings, SamSegmenter, best_device
from glioma_hf.models.sam.lora import load_base
from glioma_hf.models.sam.sam import EMBEDDED
from glioma_hf.models.sam.train import QUICK, TrainSettings, save_adapter, train
from glioma_hf.models.sam.tune import tune
from glioma_hf.models.training import CHECKPOINTS
from glioma_hf.resources import bundled
from glioma_hf.shape import shape_table
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig
from glioma_hf.workflows.report import write_report
from glioma_hf.workflows.training import adapter_scores, every_tenth, typical_diameter

Say = Callable[[str], None]
CELL_CATEGORY = 1  # as COCO files count from
# One microscope and one annotator, as in a real data set: what one image teaches holds for the others.
GENERATED = SyntheticArchiveConfig(
    scene=SceneConfig(
        cells_per_megapixel=(150, 260), scale=(1.4, 1.4), halo=(8.0, 8.0), noise=(4.0, 4.0), looseness=(4.0, 4.0)
    )
)


@dataclass
class ModelRun:
    """One model on the test split: its thresholds, scores and predictions."""

    name: str
    settings: dict[str, Any]
    validation_ap50: float
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    predictions: list[Instances] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """What goes into `scores.json`."""
        s = self.scores
        names = ("tp", "fp", "fn", "precision", "recall", "f1", "ap50", "ap75", "ap90", "images")
        return {name: s[name] for name in names} | {
            "objects": s["references"],
            "predicted_objects": s["predictions"],
            "seconds": round(self.seconds, 2),
            "validation_ap50": self.validation_ap50,
            "generation": self.settings,
        }


def quickstart(
    out: str | Path,
    archive: str | Path | None = None,
    image: int = 1,
    recipe: TrainSettings | None = None,
    model: str = EMBEDDED,
    say: Say = print,
) -> dict[str, Any]:
    """Run the main job offline and leave everything in the folder `out`; returns what `scores.json` holds.

    Args:
        out: a new or empty folder, or one that an earlier run made; written whole or not at all.
        archive: zip or folder in the Glioma C6 layout; generated where none is given.
        image: number of the training image, from 1.
        recipe: how the adapter is trained; `QUICK` where none is given, an eighth of it on generated images, which
            the embedded model nearly knows.
        model: the base model; see `load_base`.
        say: takes a line for people to read.

    Raises `InputError` for a broken archive, a training image that isn't there, an output folder that
    can't be written.
    """
    started = time.perf_counter()
    if recipe is None:
        recipe = QUICK if archive is not None else QUICK.model_copy(update={"epochs": max(1, QUICK.epochs // 8)})
    with new_folder(out) as work:
        if archive is None:
            say("generating an archive of images in the Glioma C6 layout (none was given)")
            archive, source = work / "archive.zip", "generated images"
            synthesize(archive, seed=0, config=GENERATED)
        else:
            source = Path(archive).name
        say("preparing the data set: archive -> Parquet")
        prepare(archive, work / "dataset")
        splits = load_splits(work / "dataset", work / ".cache", source)
        chosen = pick(splits["train"], image, source)
        device = best_device()
        say(f"the base model on {len(splits['test'])} test images, on {device.type}; thresholds from validation images")
        base = _run("base", SamSegmenter(load_base(model).to(device)), splits, say)
        say(f"fine-tuning a LoRA adapter on one image, {chosen.name} ({len(chosen.cells)} cells)")
        adapted = train(
            load_base(model, recipe.tile).to(device),
            [(chosen.pixels, chosen.cells)],
            recipe,
            work / "adapter",
            every_tenth(say),
        )
        trained = time.perf_counter()
        start = GenerationSettings(cell_diameter=typical_diameter([chosen]))
        tuned = _run("LoRA, one image", SamSegmenter(adapted, start), splits, say)
        save_adapter(
            adapted, work / "adapter", model, recipe, adapter_scores(source, [chosen], splits, tuned.validation_ap50)
        )
        shutil.rmtree(work / "adapter" / CHECKPOINTS, ignore_errors=True)
        (work / "adapter" / SETTINGS_FILE).write_text(json.dumps(tuned.settings, indent=2))
        say("scoring through evaluate.load")
        for run in (base, tuned):
            run.scores = _score(run.predictions, [item.cells for item in splits["test"]], work)
        say("drawing pictures and writing the report")
        scores: dict[str, Any] = {
            "data": source,
            "split": "spec/test",
            "base_model": model,
            "training_image": chosen.name,
            "models": {run.name: run.summary() for run in (base, tuned)},
            "seconds": {"training_done_after": round(trained - started, 1)},
        }
        _write_results(work, splits["test"], base, tuned)
        scores["seconds"]["total"] = round(time.perf_counter() - started, 1)
        (work / "scores.json").write_text(json.dumps(scores, indent=2))
        write_report(work / "report.html", scores, recipe.model_dump(), [item.name for item in splits["test"]])
        shutil.rmtree(work / ".cache", ignore_errors=True)
    return scores


def _run(name: str, segmenter: SamSegmenter, splits: dict[str, list[LabelledImage]], say: Say) -> ModelRun:
    """Thresholds from the validation split, then predictions of the test split."""
    settings, ap = tune(segmenter, [(item.pixels, item.cells) for item in splits["validation"]])
    segmenter = SamSegmenter(segmenter.model, settings)
    run = ModelRun(name, settings.model_dump(mode="json"), ap)
    started = time.perf_counter()
    for item in splits["test"]:
        found = segmenter.segment(item.pixels)
        run.predictions.append(found)
        say(f"  {name}: {item.name}, {len(found)} cells")
    run.seconds = time.perf_counter() - started
    return run


def _score(predictions: list[Instances], references: list[Instances], work: Path) -> dict[str, float]:
    import evaluate

    metric = evaluate.load(str(bundled("metric/overlap_ap.py")), cache_dir=str(work / ".cache"))
    sides = {"predictions": map(to_rles, predictions), "references": map(to_rles, references)}
    return metric.compute(**{name: list(side) for name, side in sides.items()})


def _write_results(work: Path, images: list[LabelledImage], base: ModelRun, tuned: ModelRun) -> None:
    import pandas as pd

    results: list[dict[str, Any]] = []
    tables = []
    (work / "overlays").mkdir()
    for number, item in enumerate(images):
        stem = Path(item.name).stem
        shown = to_uint8(item.pixels)
        for run, suffix in ((base, "base"), (tuned, "lora")):
            overlay(shown, run.predictions[number], item.cells).save(work / "overlays" / f"{stem}_{suffix}.png")
        found = tuned.predictions[number]
        for row in found.to_coco(item.image_id, [CELL_CATEGORY]):
            results.append({k: v for k, v in row.items() if k not in ("id", "iscrowd")})
        table = shape_table(found)
        table.insert(0, "file_name", item.name)
        tables.append(table.drop(columns="category"))
    (work / "predictions.json").write_text(json.dumps(results))
    pd.concat(tables).to_csv(work / "morphology.csv", index=False, float_format="%.6g")
