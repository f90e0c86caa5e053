"""The tab Explore: a data set's images with their polygons, and its statistics."""

from __future__ import annotations

import functools
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from viewer import COLOURS, payload, viewer
from work import SAMPLES, numbered, sample

from glioma_hf import Instances
from glioma_hf.data.features import ALL, CATEGORIES, instances_of
from glioma_hf.palette import CATEGORY_WORDS
from glioma_hf.shape import shape_table

GENERATED = "samples"
TYPES = {"all": CATEGORIES, "cells": ("cell", "cell_a", "cell_b"), "type A": ("cell_a",), "type B": ("cell_b",)}
TYPES |= {"somata": ("soma",)}
MOST_MEASURED = 40  # images measured for the plots of a part


class Library:
    """The generated samples and, where one is given, a prepared data set: a folder or a name on the Hub."""

    def __init__(self, name: str):
        self.name = name

    @functools.cached_property
    def splits(self) -> dict[str, Any]:
        """Rows by "part/split"; nothing is downloaded or opened before it is asked for."""
        if not self.name:
            return {}
        from datasets import get_dataset_config_names, load_dataset

        configs = [c for c in get_dataset_config_names(self.name) if c != "default"] or ["default"]
        return {
            f"{config}/{split}": rows for config in configs for split, rows in load_dataset(self.name, config).items()
        }

    def parts(self) -> list[str]:
        """What can be chosen."""
        return [GENERATED, *self.splits]

    def images(self, part: str) -> list[str]:
        """Names of a part's images."""
        if part == GENERATED:
            return list(SAMPLES)
        return list(self.splits[part]["file_name"])

    def open(self, part: str, number: int) -> tuple[np.ndarray, Instances]:
        """An image and all its objects."""
        if part == GENERATED:
            return sample(SAMPLES[number])
        row = self.splits[part][number]
        return np.asarray(row["image"]), numbered(instances_of(row, ALL))

    @functools.lru_cache(maxsize=16)  # noqa: B019  (there is one library, as long as the page)
    def measures(self, part: str) -> pd.DataFrame:
        """Shapes of the objects of a part, or of its first images."""
        if part == GENERATED:
            sets = [sample(name)[1] for name in SAMPLES]
        else:
            rows = self.splits[part].remove_columns("image").select(range(min(MOST_MEASURED, len(self.splits[part]))))
            sets = [numbered(instances_of(row, ALL)) for row in rows]
        table = pd.concat([shape_table(objects) for objects in sets], ignore_index=True)
        table["category"] = [CATEGORIES[c] for c in table["category"]]
        return table


def tab(data: str) -> list[tuple]:
    """Lay the tab out, for a prepared data set (folder or Hub name) beside the samples.

    Returns what is to run when the page loads: (function, inputs, outputs).
    """
    library = Library(data)

    def choose_part(part: str):
        names = library.images(part)
        return gr.update(choices=names, value=names[0]), gr.update(choices=list(TYPES), value="all")

    def show(part: str, name: str, kind: str):
        names = library.images(part)
        number = names.index(name) if name in names else 0
        pixels, objects = library.open(part, number)
        wanted = [CATEGORIES.index(c) for c in TYPES[kind]]
        objects = objects.select(np.isin(objects.categories, wanted))
        present = [c for c in CATEGORIES if CATEGORIES.index(c) in objects.categories]
        return payload(pixels, objects, legend=[(CATEGORY_WORDS[c], COLOURS[c]) for c in present])

    def statistics(part: str, kind: str):
        table = library.measures(part)
        table = table[table.category.isin(TYPES[kind])]
        counts = ", ".join(f"{n} {CATEGORY_WORDS[c]}" for c, n in table.category.value_counts().items())
        dots = table[["eccentricity", "solidity", "area", "category"]].round(4)
        return dots, table[["area", "category"]].assign(count=1), f"{counts or 'Nothing'} in {part}."

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            part = gr.Dropdown(library.parts(), value=GENERATED, label="Part and split", elem_id="explore-part")
            name = gr.Dropdown(list(SAMPLES), value=SAMPLES[0], label="Image", elem_id="explore-image")
            kind = gr.Radio(list(TYPES), value="all", label="Objects", elem_id="explore-kind")
            told = gr.Markdown("", elem_id="explore-status")
            if not data:
                gr.Markdown(
                    "These are generated images. To browse Glioma C6, prepare it (`glioma-hf data prepare`) and start "
                    "the page with `glioma-hf demo --data FOLDER`; a Space takes the variable `GLIOMA_HF_DATA`."
                )
        with gr.Column(scale=3, min_width=320):
            shown = viewer("explore-viewer", "Choose an image.")
            with gr.Row():
                dots = gr.ScatterPlot(
                    x="eccentricity",
                    y="solidity",
                    color="category",
                    color_map=COLOURS,
                    title="Solidity against eccentricity (short / long axis)",
                    height=260,
                    elem_id="explore-shapes",
                )
                areas = gr.BarPlot(
                    x="area",
                    x_bin=250,
                    y="count",
                    color="category",
                    color_map=COLOURS,
                    title="Areas, pixels",
                    height=260,
                )
    private = {"api_visibility": "private"}

    gr.on([name.change, kind.change], show, [part, name, kind], shown, **private)
    gr.on([part.change, kind.change], statistics, [part, kind], [dots, areas, told], **private)
    part.input(choose_part, part, [name, kind], **private)
    return [(show, [part, name, kind], shown), (statistics, [part, kind], [dots, areas, told])]
