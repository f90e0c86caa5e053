"""Scoring files against files: what `glioma-hf evaluate` and `glioma-hf agreement` do."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.benchmark.scoring_files import ImageKey, InstanceSet
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.agreement import agreement, consensus
from glioma_hf.metrics.error_analysis import match_objects
from glioma_hf.metrics.image_score import ScoringOptions, scored_objects
from glioma_hf.metrics.overlap_ap import CURVE, overlap_ap, percent

OUTCOMES = {"tp": (0, 158, 115), "fp": (213, 94, 0), "fn": (86, 180, 233)}  # Okabe and Ito: green, vermillion, sky blue
CONSENSUS = "consensus"


def score_files(references: InstanceSet, predictions: InstanceSet, task: str, **arguments: Any) -> dict[str, Any]:
    """`overlap_ap` over all images of one task; sides whose sizes differ are an `InputError` naming the image."""
    wanted, found = references.of_task(task), predictions.of_task(task)
    for key, side in wanted.items():
        if found[key].size != side.size:
            raise InputError(
                f"image {key} ({references.names[key]}): the predictions are of size {list(found[key].size)}, "
                f"the references of {list(side.size)}"
            )
    return overlap_ap(((found[key], side) for key, side in wanted.items()), **arguments)


def write_scores(folder: Path, scores: Mapping[str, Any]) -> None:
    """`scores.json` and `scores.csv` (name, value)."""
    (folder / "scores.json").write_text(json.dumps(scores, indent=2))
    with (folder / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("score", "value"), *scores.items()])


def write_matches(
    folder: Path, references: InstanceSet, predictions: InstanceSet, task: str, options: ScoringOptions
) -> None:
    """`matches.csv`: what became of every scored object, at the first threshold."""
    wanted, found = references.of_task(task), predictions.of_task(task)
    with (folder / "matches.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["image", "outcome", "prediction", "reference", "iou"])
        table.writeheader()
        for key, side in wanted.items():
            sides = scored_objects(found[key], options), scored_objects(side, options)
            outcome = match_objects(*sides, options.thresholds[0])
            table.writerows(outcome.rows(*sides, image=references.names[key]))


def plot_curve(path: Path, curves: Mapping[str, Mapping[str, float]], title: str) -> None:
    """AP against the IoU threshold, a line per name; the scores come with the extra "curve"."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
    for name, scores in curves.items():
        axes.plot(CURVE, [scores[f"ap{percent(t)}"] for t in CURVE], marker="o", label=name)
    axes.set(xlabel="IoU threshold", ylabel="AP = TP / (TP + FP + FN)", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_outcomes(
    folder: Path,
    references: InstanceSet,
    predictions: InstanceSet,
    task: str,
    options: ScoringOptions,
    images: Path | None,
) -> None:
    """One overlay per image: true positives green, false positives vermillion, missed references sky blue."""
    from PIL import Image

    from glioma_hf.data.images import read_image, to_uint8
    from glioma_hf.draw import draw_outlines

    wanted, found = references.of_task(task), predictions.of_task(task)
    for key, side in wanted.items():
        p, r = scored_objects(found[key], options), scored_objects(side, options)
        outcome = match_objects(p, r, options.thresholds[0])
        name = Path(references.names[key]).name
        grey = to_uint8(read_image(images / name)) if images else np.full(side.size, 40, np.uint8)
        if grey.shape != side.size:
            raise InputError(f"{images}/{name} is of size {list(grey.shape)}, its references of {list(side.size)}")
        picture = Image.fromarray(np.repeat(grey[..., None], 3, 2))
        hit, lost = set(outcome.pairs[:, 0].tolist()), set(outcome.pairs[:, 1].tolist())
        draw_outlines(
            picture, r.select([j not in lost for j in range(len(r))]), [OUTCOMES["fn"]] * (len(r) - len(lost))
        )
        draw_outlines(picture, p, [OUTCOMES["tp" if i in hit else "fp"] for i in range(len(p))])
        picture.save(folder / f"{Path(name).stem}_outcomes.png")


def agree(
    sources: Mapping[str, InstanceSet], task: str, with_consensus: Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """Agreement of several annotations of the same images, pooled and per image (Table 3).

    Args:
        sources: by name; all hold the same images.
        task: of the paper.
        with_consensus: names whose majority vote joins as one more source, "consensus".
        options: of `overlap_ap`.

    Returns {"pooled": matrix, "images": {file name: matrix}}; a matrix is [source][reference]["ap50"].
    """
    first = next(iter(sources.values()))
    keys: list[ImageKey] = list(first.instances)
    for name, source in sources.items():
        if set(source.instances) != set(keys):
            raise InputError(
                f"{name} holds other images than the first source: {sorted(map(str, source.instances))[:3]} ..."
            )
    sides: dict[str, list[Instances]] = {}
    for name, source in sources.items():
        chosen = source.of_task(task)
        sides[name] = [chosen[key] for key in keys]
    if with_consensus:
        missing = [name for name in with_consensus if name not in sides]
        if missing:
            raise InputError(f"the consensus asks for {missing[0]}, which isn't among {', '.join(sides)}")
        sides[CONSENSUS] = [consensus([sides[name][i] for name in with_consensus]) for i in range(len(keys))]
    per_image = {
        first.names[key]: agreement({name: [side[i]] for name, side in sides.items()}, **options)
        for i, key in enumerate(keys)
    }
    return {"pooled": agreement(sides, **options), "images": per_image}


def plot_agreement(path: Path, matrix: Mapping[str, Mapping[str, Mapping[str, float]]], score: str, title: str) -> None:
    """The matrix of one score as a picture with its numbers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(matrix)
    values = np.array([[matrix[a][b][score] for b in names] for a in names])
    side = 1.6 + 0.9 * len(names)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    shown = axes.imshow(values, vmin=0, vmax=1, cmap="cividis")
    for i, j in np.ndindex(values.shape):
        colour = "white" if values[i, j] < 0.55 else "black"
        axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title)
    figure.colorbar(shown, label=score.upper())
    figure.savefig(path, dpi=150)
    plt.close(figure)
