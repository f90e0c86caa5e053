"""What the tabs share: visitors' files, models and work that can be stopped."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import gradio as gr
import numpy as np

from glioma_hf import InputError, Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.data.images import read_image
from glioma_hf.data.sources.coco import check_coco
from glioma_hf.models import EMBEDDED as EMBEDDED_BASE
from glioma_hf.models import FAMILIES, get_family, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.models.saved import ModelFolder
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

try:  # on ZeroGPU hardware a function asks for its seconds of GPU; elsewhere nothing changes
    from spaces import GPU as gpu
except ImportError:

    def gpu(function: Any = None, **_: Any) -> Any:
        """Without ZeroGPU, nothing."""
        return function if function is not None else lambda wrapped: wrapped


EMBEDDED = "Embedded model"
OTHER = "SAM from the Hub"
SAMPLES = ("Sparse cells", "Crowded cells", "Flat cells")
_HUB_NAME = r"[\w.-]+/[\w.-]+"


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


def complain(error: Exception | str, *paths: str | None) -> gr.Error:
    """A sentence for the visitor, in which their own file's name stands for its path on the server."""
    text = str(error)
    for path in paths:
        if path:
            text = text.replace(path, Path(path).name)
    return gr.Error(re.sub(r"/\S*/", "", text), print_exception=False, title="That didn't work")


def read_upload(path: str) -> np.ndarray:
    """Pixels of an uploaded image; what is wrong is said in a sentence."""
    try:
        return read_image(path)
    except InputError as error:
        raise complain(error, path) from None


def read_outlines(path: str, size: tuple[int, int]) -> Instances:
    """Instances from an uploaded COCO file, COCO results or ImageJ ROI zip, for an image of (height, width)."""
    name, data = Path(path).name, Path(path).read_bytes()
    try:
        if data[:2] == b"PK":
            return read_rois(data, size, name)
        try:
            content = json.loads(data)
        except ValueError as error:
            raise InputError(f"{name} is neither COCO JSON nor a zip of ImageJ regions ({error})") from None
        if isinstance(content, dict):
            content = check_coco(content, name)["annotations"]
        if not isinstance(content, list) or not all(isinstance(a, dict) for a in content):
            raise InputError(f"{name} isn't a list of COCO results")
        ids = {a.get("image_id") for a in content}
        if len(ids) > 1:
            raise InputError(f"{name} is of {len(ids)} images; give the outlines of one")
        # Every category of a visitor's file is a cell.
        outlines = [{**a, "id": i, "category_id": 0} for i, a in enumerate(content, start=1)]
        return Instances.from_coco(outlines, size)
    except InputError as error:
        raise complain(error, path) from None


def models() -> dict[str, str]:
    """Models to start from that come with the installation: how the page calls them, and `load_segmenter`."""
    names = {}
    for name in FAMILIES:
        for base in get_family(name).bases:
            names[EMBEDDED if base == EMBEDDED_BASE else f"{name}: {base}"] = f"{name}:{base}"
    return names


def choose_model(
    model: str, hub_name: str, adapter_file: str | None, adapter_name: str, taught: str | None
) -> Segmenter:
    """The segmenter of the choices on the page: a base, and an adapter that was taught here, uploaded or on the Hub."""
    try:
        base = models().get(model, "")
        if not base:
            base = hub_name.strip()
            if not re.fullmatch(_HUB_NAME, base):
                raise InputError(
                    f"{base or 'nothing'!r} isn't the name of a model on the Hub, such as facebook/sam-vit-base"
                )
        adapter_name = adapter_name.strip()
        if adapter_file:
            with tempfile.TemporaryDirectory() as folder:
                return load_segmenter(base, ModelFolder.unpack(adapter_file, folder, FAMILIES).path)
        if adapter_name:
            if not re.fullmatch(_HUB_NAME, adapter_name):
                raise InputError(f"{adapter_name!r} isn't the name of an adapter on the Hub, such as USER/NAME")
            return load_segmenter(base, adapter_name)
        return load_segmenter(base, taught) if taught else _kept(base)
    except InputError as error:
        raise complain(error, adapter_file) from None


@functools.lru_cache(maxsize=2)
def _kept(base: str) -> Segmenter:
    return load_segmenter(base)


def new_folder() -> Path:
    """A folder for one visitor's downloads, of a name that can't be guessed; Gradio deletes its copies by itself."""
    return Path(tempfile.mkdtemp(prefix="glioma-demo-"))


def forget(folder: str | Path | None) -> None:
    """Delete a visitor's folder."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


class Stopped(Exception):
    """The visitor cancelled."""


def run_stoppable(job: Callable[[Callable[[Any], None]], Any]) -> Iterator[tuple[str, Any]]:
    """Run `job(tell)` in a thread: yields ("told", what it told) while it runs, then ("done", what it returned).

    When the iteration is given up, as Gradio does on Cancel, the job is stopped at its next `tell`.
    """
    told: Queue[tuple[str, Any]] = Queue()
    given_up = threading.Event()

    def tell(what: Any) -> None:
        if given_up.is_set():
            raise Stopped
        told.put(("told", what))

    def run() -> None:
        try:
            told.put(("done", job(tell)))
        except Stopped:
            pass
        except BaseException as error:
            told.put(("failed", error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, what = told.get(timeout=0.5)
            except Empty:
                continue
            if kind == "failed":
                raise what
            yield kind, what
            if kind == "done":
                return
    finally:
        given_up.set()
