"""LoRA on 1, 2, 4, 8 and 15 images of T98G: AP of each adapter on the test images, and grid against centre prompts.

    python benchmarks/adaptation.py --data T98G_PREPARED --work WORK [--only NAME ...]

T98G_PREPARED is made by `glioma-hf data prepare`. Thresholds are chosen on the validation images, the test images
are only scored. What lies in WORK already is not repeated, so that several processes can share the runs; at the end
the table is printed and `benchmarks/figures/adaptation.png` drawn from all results that are there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from glioma_hf.data.splits import load_images
from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.metrics.matching import Counts, count
from glioma_hf.models import load_segmenter
from glioma_hf.models.saved import ModelFolder
from glioma_hf.workflows.training import train, tune

# Training images by number: five on their own, and growing sets that hold each other.
RUNS: dict[str, list[int]] = {
    "base": [],
    **{f"one_{n:02}": [n] for n in (1, 4, 8, 11, 15)},
    "two": [1, 8],
    "four": [1, 4, 8, 11],
    "eight": [1, 2, 4, 6, 8, 11, 13, 15],
    "fifteen": list(range(1, 16)),
}
GRID = ("one_01",)  # also asked on a grid
THRESHOLDS = (0.5, 0.75, 0.9)
FIGURES = Path(__file__).parent / "figures"


def run(name: str, data: Path, work: Path, recipe: str) -> dict[str, Any]:
    """Train (unless it is the base), tune on validation, score on test."""
    adapter = work / name if RUNS[name] else None
    result: dict[str, Any] = {"images": RUNS[name]}
    if adapter is not None:
        if not adapter.exists():
            train(data, RUNS[name], adapter, recipe=recipe)
        result["steps"] = len((adapter / "log.jsonl").read_text().splitlines())
        scores = ModelFolder(adapter).scores()
        ap = scores.validation_ap50 if scores else None
        result["centres"] = {"validation_ap50": ap, **score(load_segmenter(adapter=adapter), data)}
    for prompts in ("centres", "grid") if name in GRID else ("centres",):
        if prompts not in result:
            chosen = work / f"{name}_{prompts}.thresholds.json"
            _, ap = tune(data, adapter=adapter, out=chosen, prompts=prompts)
            segmenter = load_segmenter(adapter=adapter, thresholds=chosen)
            result[prompts] = {"validation_ap50": ap, **score(segmenter, data)}
    return result


def score(segmenter: Any, data: Path) -> dict[str, float]:
    """AP, precision and recall on the test images, and the seconds an image takes."""
    images = load_images(data, "test")
    totals = {threshold: Counts() for threshold in THRESHOLDS}
    started = time.perf_counter()
    found = [segmenter.segment(item.pixels) for item in images]
    seconds = (time.perf_counter() - started) / len(images)
    for item, cells in zip(images, found, strict=True):
        iou = scored_objects(cells).iou(scored_objects(item.instances))
        for threshold in THRESHOLDS:
            totals[threshold] += count(iou, threshold)
    half = totals[0.5]
    scores = {f"ap{round(100 * t)}": counts.ap for t, counts in totals.items()}
    return {**scores, "precision": half.precision, "recall": half.recall, "seconds": seconds}


def report(work: Path) -> None:
    """The tables, and the plot."""
    results = {
        name: json.loads((work / f"{name}.json").read_text()) for name in RUNS if (work / f"{name}.json").exists()
    }
    print("| training images | steps | validation AP50 | AP50 | AP75 | AP90 | precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    curve: dict[int, list[dict[str, float]]] = {}
    for result in results.values():
        row = result["centres"]
        curve.setdefault(len(result["images"]), []).append(row)
        names = ", ".join(map(str, result["images"])) or "none (base)"
        shown = ("validation_ap50", "ap50", "ap75", "ap90", "precision", "recall")
        print(f"| {names} | {result.get('steps', 0)} | {' | '.join(f'{row[key]:.3f}' for key in shown)} |")
    single = [row["ap50"] for row in curve.get(1, [])]
    if len(single) > 1:
        print(f"\none image: mean {statistics.mean(single):.3f}, from {min(single):.3f} to {max(single):.3f}")
    print("\n| model | prompts | AP50 | precision | recall | seconds an image |\n|---|---|---|---|---|---|")
    for name, result in results.items():
        for prompts in ("centres", "grid") if "grid" in result else ():
            row = result[prompts]
            shown = f"{row['ap50']:.3f} | {row['precision']:.3f} | {row['recall']:.3f} | {row['seconds']:.1f}"
            print(f"| {name} | {prompts} | {shown} |")
    draw(curve)


def draw(curve: dict[int, list[dict[str, float]]]) -> None:
    """AP over the number of training images: each run a dot, the mean a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    numbers = sorted(curve)
    for key, colour in (("ap50", "#0072B2"), ("ap75", "#D55E00"), ("ap90", "#009E73")):
        axes.plot(
            range(len(numbers)),
            [statistics.mean(row[key] for row in curve[n]) for n in numbers],
            color=colour,
            label=key.upper(),
        )
        for place, n in enumerate(numbers):
            axes.plot([place] * len(curve[n]), [row[key] for row in curve[n]], "o", color=colour, markersize=4)
    axes.set_xticks(range(len(numbers)), ["base" if n == 0 else str(n) for n in numbers])
    axes.set(xlabel="training images (T98G)", ylabel="AP on 5 test images (T98G)", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(FIGURES / "adaptation.png", dpi=150)


def main() -> None:
    """Do the runs that are asked for and not there yet, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        kept = given.work / f"{name}.json"
        if not kept.exists():
            result = run(name, given.data, given.work, given.recipe)
            kept.write_text(json.dumps(result, indent=2))
            print(name, result, flush=True)
    report(given.work)


if __name__ == "__main__":
    main()
