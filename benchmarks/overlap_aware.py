"""The family centres on T98G: from one image and more, whole and as an adapter, without validation, without labels.

    python benchmarks/overlap_aware.py --data T98G_PREPARED --work WORK [--base centres:general] [--only NAME ...]
    python benchmarks/overlap_aware.py --data T98G_PREPARED --work WORK --overlaps LIGHT MEDIUM HEAVY --models NAME ...

T98G_PREPARED is made by `glioma-hf data prepare`. Each model is scored on the test images twice: with thresholds chosen
on the validation images, and with those of the base, as one does who has no validation images. Nothing is chosen on
test images. What lies in WORK already is not repeated, and runs may be shared out by `--only`; at the end the tables of
all that is there are printed. With `--overlaps`, prepared data sets made by `glioma-hf data compose --split test`, the
recall of overlapped cells by how much of them is covered, of models (folders or names) beside each other; with
`--tune-on`, the same made with `--split validation`, thresholds are chosen there, as T98G itself hardly has overlaps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from PIL import Image

from glioma_hf import Instances, load_segmenter, overlap_ap
from glioma_hf.data.splits import load_images
from glioma_hf.draw import overlay
from glioma_hf.models import find_base
from glioma_hf.models.saved import ModelFolder
from glioma_hf.workflows.training import as_pairs, train, tune

ONE = (1, 4, 8, 11, 15)  # the images and sets of `adaptation.py`
SETS = {"two": [1, 8], "four": [1, 4, 8, 11], "eight": [1, 2, 4, 6, 8, 11, 13, 15], "fifteen": list(range(1, 16))}
STEPS = {1: 250, 2: 350, 4: 600, 8: 850, 15: 850}  # by number of images
ADAPTER = {"rank": 8}
UNLABELLED_STEPS = 450
FIGURES = Path(__file__).parent / "figures"
THRESHOLDS = [round(0.5 + 0.05 * step, 2) for step in range(10)]


def runs(seeds: int) -> dict[str, dict[str, Any]]:
    """Each run's training images, seed, and what is special about it, by name; the base first."""
    chosen: dict[str, dict[str, Any]] = {"base": {"images": []}}
    for seed in range(seeds):
        tail = f"_seed{seed}" if seed else ""
        chosen |= {f"one_{n:02}{tail}": {"images": [n], "seed": seed} for n in ONE}
        chosen |= {f"{name}{tail}": {"images": images, "seed": seed} for name, images in SETS.items()}
    chosen |= {f"adapter_{n:02}": {"images": [n], "seed": 0, "adapter": ADAPTER} for n in ONE}
    chosen["adapter_fifteen"] = {"images": SETS["fifteen"], "seed": 0, "adapter": {"rank": 16}}
    chosen["fifteen_long"] = {"images": SETS["fifteen"], "seed": 0, "steps": 2500}
    chosen |= {f"unlabelled_{n:02}": {"images": [n], "seed": 0, "unlabelled": f"one_{n:02}"} for n in ONE}
    return chosen


def run(name: str, what: dict[str, Any], data: Path, work: Path, base: str) -> dict[str, Any]:
    """Train (unless it is the base), and score on the test images with either thresholds."""
    images, result = what["images"], {"images": what["images"], "seed": what.get("seed", 0)}
    kept = work / "base.thresholds.json"
    kept.write_text(load_segmenter(base).settings.model_dump_json())
    if not images:
        tuned = work / "base.tuned.json"
        _, validation = tune(data, base, out=tuned)
        segmenters = load_segmenter(base, thresholds=tuned), load_segmenter(base)
    else:
        folder, started = work / name, time.process_time()
        if not folder.exists():
            _train(name, what, data, work, base)
        result["cpu_seconds"] = round(time.process_time() - started)
        scores = ModelFolder(folder).scores()
        validation = scores.validation_ap50 if scores else None
        segmenters = load_segmenter(folder), load_segmenter(folder, thresholds=kept)
    result["validation_ap50"] = validation
    for key, segmenter in zip(("tuned", "untuned"), segmenters, strict=True):
        result[key] = score(segmenter, data)
    return result


def _train(name: str, what: dict[str, Any], data: Path, work: Path, base: str) -> None:
    images, family = what["images"], find_base(base)[0]
    changes = {"seed": what["seed"], "max_steps": what.get("steps", STEPS[len(images)])}
    recipe = family.read_recipe("quick" if len(images) < 8 else "full")
    more: dict[str, Any] = {}
    if "adapter" in what:
        recipe = family.recipe.model_validate({**recipe.model_dump(), "adapter": what["adapter"]})
    if (
        "unlabelled" in what
    ):  # the other training images, whose outlines aren't looked at; the first model is the teacher
        others = work / f"{name}_images"
        others.mkdir(exist_ok=True)
        for number, item in enumerate(load_images(data, "train"), start=1):
            if number not in images:
                Image.fromarray(item.pixels).save(others / f"{Path(item.name).stem}.png")
        changes["max_steps"] = UNLABELLED_STEPS
        more = {"unlabelled": others, "teacher": _untuned(work / what["unlabelled"], work)}
    train(data, images, work / name, base, recipe.model_copy(update=changes), **more)


def _untuned(folder: Path, work: Path) -> Path:
    """A copy of a trained model with the base's thresholds: those of its own come from validation images."""
    copy = work / f"{folder.name}_untuned"
    if not copy.exists():
        copy.mkdir()
        for file in folder.iterdir():
            if file.is_file():
                (copy / file.name).write_bytes(file.read_bytes())
        (copy / "thresholds.json").write_text((work / "base.thresholds.json").read_text())
    return copy


def score(segmenter: Any, data: Path) -> dict[str, float]:
    """AP on the test images, and the seconds that an image takes."""
    images, started = load_images(data, "test"), time.process_time()
    pairs = [(segmenter.segment(item.pixels), item.instances) for item in images]
    seconds = (time.process_time() - started) / len(images)
    scores = overlap_ap(pairs, thresholds=THRESHOLDS)
    aps = [scores.at(threshold).ap for threshold in THRESHOLDS]
    return {"ap50": aps[0], "ap75": aps[5], "ap50_95": statistics.mean(aps), "cpu_seconds": round(seconds, 2)}


def report(work: Path, seeds: int) -> None:
    """A row for each run, and the means of those that differ in image or seed alone."""
    print("| run | images | validation AP50 | AP50 | AP75 | ap50_95 | without validation: AP50 | AP75 | ap50_95 |")
    print("|---|---|---|---|---|---|---|---|---|")
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in runs(seeds):
        path = work / f"{name}.json"
        if not path.exists():
            continue
        row = json.loads(path.read_text())
        cells = [row[key][what] for key in ("tuned", "untuned") for what in ("ap50", "ap75", "ap50_95")]
        shown = " | ".join(f"{value:.3f}" for value in (row["validation_ap50"], *cells))
        print(f"| {name} | {', '.join(map(str, row['images'])) or 'none'} | {shown} |")
        groups.setdefault(name.split("_")[0], []).append(row)
    for name, rows in groups.items():
        for key in ("tuned", "untuned"):
            values = [row[key]["ap50"] for row in rows]
            spread = f", spread {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            print(f"{name}, {key}: AP50 {statistics.mean(values):.3f} of {len(values)}{spread}")


def compare_overlaps(sets: list[Path], models: list[str], tune_on: list[Path]) -> None:
    """Recall and IoU of references by the share of them that others cover, of each model on each set and on all."""
    chosen = [pair for folder in tune_on for pair in as_pairs(load_images(folder, "validation"))]
    images = {folder.name: as_pairs(load_images(folder, "test")) for folder in sets}
    print("| data | model | AP50 | covered by | cells | recall | IoU |\n|---|---|---|---|---|---|---|")
    for model in models:
        segmenter = load_segmenter(model)
        if chosen:
            segmenter, _ = ModelFolder(model).family().tune(segmenter, chosen)
        pooled = []
        for name, pairs in images.items():
            found = [(segmenter.segment(pixels), reference) for pixels, reference in pairs]
            pooled += found
            show_overlaps(name, model, found)
        show_overlaps("all", model, pooled)


def show_overlaps(name: str, model: str, found: list[tuple[Instances, Instances]]) -> None:
    """The rows of one model on one set."""
    scores = overlap_ap(found, extras=["overlapped"])
    for group in scores.overlapped or ():
        shares = f"{group.least:.0%} to {group.most:.0%}"
        print(
            f"| {name} | {model} | {scores.ap50:.3f} | {shares} | {group.references} "
            f"| {group.recall:.3f} | {group.miou:.3f} |",
            flush=True,
        )


def picture(data: Path, work: Path, base: str) -> None:
    """A part of the first test image by the base as it comes and by what one image made of it, beside each other."""
    first = load_images(data, "test", numbers=[1])[0]
    part = (250, 250, 850, 750)  # left, top, right, bottom
    both = Image.new("RGB", (2 * (part[2] - part[0]) + 12, part[3] - part[1]), "white")
    for place, model in enumerate((base, _untuned(work / "one_01", work))):
        found = load_segmenter(model).segment(first.pixels)
        shown = overlay(first.pixels, found, first.instances).crop(part)
        both.paste(shown, (place * (shown.width + 12), 0))
    both.save(FIGURES / "t98g_overlap_aware.png")


def main() -> None:
    """Do the runs that are asked for and not there yet, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--base", default="centres:general")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of runs; all of them without")
    parser.add_argument("--picture", action="store_true", help="draw the picture of the README as well")
    parser.add_argument("--overlaps", type=Path, nargs="*", default=[], help="composed data sets, prepared")
    parser.add_argument("--models", nargs="*", default=[], help="for --overlaps: folders, or names without --tune-on")
    parser.add_argument(
        "--tune-on", type=Path, nargs="*", default=[], help="sets whose validation images choose thresholds"
    )
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.overlaps:
        compare_overlaps(given.overlaps, given.models, given.tune_on)
        return
    known = runs(given.seeds)
    for name in known if given.only is None else given.only:
        kept = given.work / f"{name}.json"
        if not kept.exists():
            result = run(name, known[name], given.data, given.work, given.base)
            kept.write_text(json.dumps(result, indent=2))
            print(name, result, flush=True)
    report(given.work, given.seeds)
    if given.picture:
        picture(given.data, given.work, given.base)


if __name__ == "__main__":
    main()
