"""Table 1 and the shape figures (2 and 3) of the paper, from prepared data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glioma_hf.data.features import CATEGORIES, TASKS
from glioma_hf.data.prepared import read_prepared
from glioma_hf.data.splits import annotated_rows
from glioma_hf.errors import InputError
from glioma_hf.palette import CATEGORY_COLOURS, SERIES, hex_of
from glioma_hf.plots import pyplot, save_figure
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.shape import shape_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

AXIS_RATIO = "axis ratio (short / long axis; the paper's eccentricity)"
COLOURS = {name: hex_of(colour) for name, colour in CATEGORY_COLOURS.items()}


def measure_objects(folder: str | Path, on_progress: OnProgress = ignore) -> DataFrame:
    """One row per object of a prepared data set: where it is from, its category by name, and its shape.

    Images aren't read. Raises `InputError` where the folder is no prepared data set, holds other objects than it says,
    or none at all.
    """
    import pandas as pd

    tables: list[DataFrame] = []
    splits = read_prepared(folder).splits
    images = sum(split.images for split in splits)
    if not any(sum(split.objects.values()) for split in splits):
        raise InputError(f"{folder}: its images have no objects, there is nothing to measure")
    for row, objects in annotated_rows(folder):
        table = shape_table(objects).drop(columns="score")
        table["category"] = [CATEGORIES[c] for c in table["category"]]
        for position, name in enumerate(("subset", "split", "file_name")):
            table.insert(position, name, row[name])
        tables.append(table)
        line = f"{row['subset']}/{row['split']}: {row['file_name']}, {len(table)} objects"
        on_progress(Progress(line, len(tables), images))
    measured = pd.concat(tables, ignore_index=True)
    for name in CATEGORIES:
        said = sum(split.objects.get(name, 0) for split in splits)
        if (count := int((measured.category == name).sum())) != said:
            raise InputError(f"{folder}: it holds {count} objects of {name} instead of {said}; prepare it again")
    return measured


def overview(folder: str | Path) -> list[dict[str, Any]]:
    """The paper's Table 1: per part its images, its cells of either type and its somata."""
    parts: dict[str, dict[str, Any]] = {}
    for split in read_prepared(folder).splits:
        empty = {"part": split.subset, "images": 0, "cells": 0, **dict.fromkeys(CATEGORIES, 0)}
        part = parts.setdefault(split.subset, empty)
        part["images"] += split.images
        for name, count in split.objects.items():
            part[name] += count
            part["cells"] += count * (name in TASKS["cells"])
    return list(parts.values())


def plot_figures(objects: DataFrame, folder: Path, title: str) -> None:
    """Figure 2: `areas.png` (a), `shapes.png` (b) and `solidity.png` (c)."""
    plt = pyplot()
    present = [c for c in CATEGORIES if (objects.category == c).any()]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    bins = np.geomspace(max(objects.area.min(), 1), objects.area.max() + 1, 40)
    for name in present:
        axes.hist(
            objects.area[objects.category == name], bins, histtype="step", lw=1.8, color=COLOURS[name], label=name
        )
    axes.set(xscale="log", xlabel="area, pixels", ylabel="objects", title=title)
    axes.legend()
    save_figure(figure, folder / "areas.png")

    figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
    means = {name: objects[objects.category == name] for name in present}
    plot_means(axes, means, {name: COLOURS[name] for name in present})
    axes.set_title(f"{title}: means, disc area by mean object area")
    save_figure(figure, folder / "shapes.png")

    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    for name in present:
        chosen = objects[objects.category == name]
        style = {"s": 5, "alpha": 0.35, "color": COLOURS[name], "label": name, "linewidths": 0}
        panels[0].scatter(chosen.axis_ratio, chosen.solidity, **style)
        panels[1].scatter(chosen.area, chosen.solidity, **style)
    panels[0].set(xlabel=AXIS_RATIO, ylabel="solidity", xlim=(0, 1))
    panels[1].set(xlabel="area, pixels", xscale="log")
    panels[1].legend(markerscale=3)
    figure.suptitle(title)
    save_figure(figure, folder / "solidity.png")


def plot_comparison(sets: Mapping[str, DataFrame], folder: Path) -> None:
    """Figure 3, `comparison.png`: sizes (a), solidity against axis ratio (b) and means (c) of data sets' cells."""
    plt = pyplot()
    cells = {name: objects[objects.category != "soma"] for name, objects in sets.items()}
    colours = dict(zip(cells, map(hex_of, SERIES * len(cells)), strict=False))
    figure, panels = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for name, objects in cells.items():
        bins = np.geomspace(max(objects.area.min(), 1), objects.area.max() + 1, 40)
        weights = np.full(len(objects), 1 / len(objects))
        panels[0].hist(objects.area, bins, weights=weights, histtype="step", lw=1.8, color=colours[name], label=name)
        panels[1].scatter(objects.axis_ratio, objects.solidity, s=4, alpha=0.3, color=colours[name], linewidths=0)
    panels[0].set(xscale="log", xlabel="area, pixels", ylabel="share of the objects")
    panels[0].legend()
    panels[1].set(xlabel=AXIS_RATIO, ylabel="solidity", xlim=(0, 1))
    plot_means(panels[2], cells, colours)
    save_figure(figure, folder / "comparison.png")


def plot_means(axes: Axes, groups: Mapping[str, DataFrame], colours: Mapping[str, str]) -> None:
    """Mean axis ratio and solidity of each group, as discs whose area goes with the mean object area."""
    largest = max(float(group.area.mean()) for group in groups.values())
    for name, group in groups.items():
        x, y = group.axis_ratio.mean(), group.solidity.mean()
        axes.errorbar(x, y, group.solidity.std(), group.axis_ratio.std(), color=colours[name], lw=0.8, alpha=0.6)
        label = f"{name}: {group.area.mean():.0f} px"
        axes.scatter(x, y, s=900 * group.area.mean() / largest, color=colours[name], alpha=0.7, lw=0, label=label)
    for handle in axes.legend(fontsize=8).legend_handles:
        handle.set_sizes([60])  # type: ignore[union-attr]
    axes.set(xlabel=f"mean {AXIS_RATIO}", ylabel="mean solidity")
