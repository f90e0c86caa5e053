"""The tab Explore: a data set's images with their polygons, and its statistics."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from samples import SAMPLES, numbered, sample
from shown import COLOURS, payload
from telling import status
from viewer import viewer

from glioma_hf import Instances
from glioma_hf.data.features import ALL, CATEGORIES, instances_of, named_categories
from glioma_hf.data.images import decode_image
from glioma_hf.data.parquet import image_bytes
from glioma_hf.palette import CATEGORY_WORDS
from glioma_hf.shape import shape_table

SYNTHETIC = "samples"
# What can be chosen, as far as a part has it: the word for people and the categories.
KINDS = {
    "all": CATEGORIES,
    "cells": ("cell", "cell_a", "cell_b"),
    "type A": ("cell_a",),
    "type B": ("cell_b",),
    "somata": ("soma",),
    "nuclei": ("nucleus",),
}
WORD_COLOURS = {CATEGORY_WORDS[name]: colour for name, colour in COLOURS.items()}
MOST_MEASURED = 40  # images measured for the plots of a part


class Library:
    """The synthetic samples and, where one is given, a prepared data set: a folder or a name on the Hub."""

    def __init__(self, name: str):
        self.name = name

    @functools.cached_property
    def splits(self) -> dict[str, Any]:
        """Rows by "part/split"; nothing is downloaded or opened before it is asked for."""
        if not self.name:
            return {}
        from datasets import Image, get_dataset_config_names, load_dataset

        encoded = Image(decode=False)  # decoding would follow a path or an address in place of an image
        configs = [c for c in get_dataset_config_names(self.name) if c != "default"] or ["default"]
        return {
            f"{config}/{split}": rows.cast_column("image", encoded)
            for config in configs
            for split, rows in load_dataset(self.name, config).items()
        }

    def parts(self) -> list[str]:
        """What can be chosen."""
        return [SYNTHETIC, *self.splits]

    def kinds(self, part: str) -> list[str]:
        """Which of `KINDS` a part may have, by the categories that it names."""
        names: Sequence[str] = CATEGORIES[:4]
        if part != SYNTHETIC:
            names = named_categories(self.splits[part].features)
        return [kind for kind, counted in KINDS.items() if set(counted) & set(names)]

    def images(self, part: str) -> list[str]:
        """Names of a part's images."""
        if part == SYNTHETIC:
            return list(SAMPLES)
        return list(self.splits[part]["file_name"])

    def open(self, part: str, number: int) -> tuple[np.ndarray, Instances]:
        """An image and all its objects."""
        if part == SYNTHETIC:
            return sample(SAMPLES[number])
        row = self.splits[part][number]
        pixels = decode_image(image_bytes(row, part), row["file_name"])
        return pixels, numbered(instances_of(row, ALL))

    @functools.lru_cache(maxsize=16)  # noqa: B019  (there is one library, as long as the page)
    def measures(self, part: str) -> pd.DataFrame:
        """Shapes of the objects of a part, or of its first images."""
        if part == SYNTHETIC:
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
        return gr.update(choices=names, value=names[0]), gr.update(choices=library.kinds(part), value="all")

    def show(part: str, name: str, kind: str):
        names = library.images(part)
        number = names.index(name) if name in names else 0
        pixels, objects = library.open(part, number)
        counted = [CATEGORIES.index(c) for c in KINDS[kind]]
        objects = objects.select(np.isin(objects.categories, counted))
        present = [c for c in CATEGORIES if CATEGORIES.index(c) in objects.categories]
        return payload(pixels, objects, legend=[(CATEGORY_WORDS[c], COLOURS[c]) for c in present])

    def statistics(part: str, kind: str):
        table = library.measures(part)
        table = table[table.category.isin(KINDS[kind])]
        table = table.assign(category=table.category.map(CATEGORY_WORDS))
        counts = ", ".join(f"{word}: {n}" for word, n in table.category.value_counts().items())
        dots = table[["axis_ratio", "solidity", "area", "category"]].round(4)
        return dots, table[["area", "category"]].assign(count=1), f"{counts or 'Nothing'} in {part}."

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            part = gr.Dropdown(library.parts(), value=SYNTHETIC, label="Part and split", elem_id="explore-part")
            name = gr.Dropdown(list(SAMPLES), value=SAMPLES[0], label="Image", elem_id="explore-image")
            kind = gr.Radio(library.kinds(SYNTHETIC), value="all", label="Objects", elem_id="explore-kind")
            told = status("explore-status")
            if not data:
                gr.HTML(
                    "These images are synthetic: computed, with cells whose outlines are known. Look how cells overlap "
                    "in them, and at their shapes; your own images go into <b>Segment</b>.",
                    elem_id="explore-help",
                )
        with gr.Column(scale=3, min_width=320):
            shown = viewer("explore-viewer", "Choose an image on the left.")
            with gr.Row():
                dots = gr.ScatterPlot(
                    x="axis_ratio",
                    x_title="axis ratio (short / long axis)",
                    y="solidity",
                    color="category",
                    color_map=WORD_COLOURS,
                    title="Solidity against axis ratio",
                    height=260,
                    elem_id="explore-shapes",
                )
                areas = gr.BarPlot(
                    x="area",
                    x_title="area (px²)",
                    x_bin=250,
                    y="count",
                    y_title="objects",
                    color="category",
                    color_map=WORD_COLOURS,
                    title="Areas",
                    height=260,
                )
    private = {"api_visibility": "private"}

    gr.on([name.change, kind.change], show, [part, name, kind], shown, **private)
    gr.on([part.change, kind.change], statistics, [part, kind], [dots, areas, told], **private)
    part.input(choose_part, part, [name, kind], **private)
    return [(show, [part, name, kind], shown), (statistics, [part, kind], [dots, areas, told])]
