"""The synthetic images that the page brings."""

from __future__ import annotations

import functools

import numpy as np

from glioma_hf import Instances
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

SAMPLES = ("Sparse cells", "Crowded cells", "Flat cells")


@functools.cache
def sample(name: str) -> tuple[np.ndarray, Instances]:
    """A synthetic image and its cells and somata: nothing of anyone's data is shipped with the page."""
    share = {"Sparse cells": (40, 50), "Crowded cells": (170, 190), "Flat cells": (80, 100)}[name]
    flat = {"spheroids": 0.05, "spindles": 0.1} if name == "Flat cells" else {}
    config = SceneConfig(width=640, height=480, cells_per_megapixel=share, **flat)
    scene = generate_scene(11 + SAMPLES.index(name), config)
    cells = scene.instances(("cell", "cell_a", "cell_b", "soma"))
    return scene.image, numbered(cells)


def numbered(instances: Instances) -> Instances:
    """The same with the ids 1 ... N, by which the viewer tells them apart."""
    ids = np.arange(1, len(instances) + 1)
    return Instances.from_rles(instances.rles, instances.size, instances.categories, instances.scores, ids)
