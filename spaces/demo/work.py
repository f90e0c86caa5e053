"""What the tabs share: visitors' files, models and work that can be stopped."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import gradio as gr
import numpy as np

from glioma_hf import InputError, Instances
from glioma_hf.data.exports import read_rois
from glioma_hf.data.images import read_image
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.coco import check_coco
from glioma_hf.models.sam.generate import SamSegmenter
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from glioma_hf.workflows.training import open_segmenter

try:  # on ZeroGPU hardware a function asks for its seconds of GPU; elsewhere nothing changes
    from spaces import GPU as gpu
except ImportError:

    def gpu(function: Any = None, **_: Any) -> Any:
        """Without ZeroGPU, nothing."""
        return function if function is not None else lambda wrapped: wrapped


EMBEDDED = "Embedded model"
OTHER = "SAM from the Hub"
SAMPLES = ("Sparse cells", "Crowded cells", "Flat cells")
MOST_ADAPTER_BYTES = 64 * 2**20
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "generation.json", "training.json", "README.md")
_HUB_NAME = r"[\w.-]+/[\w.-]+"


@functools.cache
def sample(name: str) -> tuple[np.ndarray, Instances]:
    """A generated image and its cells and somata: nothing of anyone's data is shipped with the page."""
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


def choose_model(
    kind: str, hub_name: str, adapter_file: str | None, adapter_name: str, taught: str | None
) -> SamSegmenter:
    """The segmenter of the choices on the page: a base, and an adapter that was taught here, uploaded or on the Hub."""
    try:
        base = "embedded"
        if kind == OTHER:
            base = hub_name.strip()
            if not re.fullmatch(_HUB_NAME, base):
                raise InputError(
                    f"{base or 'nothing'!r} isn't the name of a model on the Hub, such as facebook/sam-vit-base"
                )
        if adapter_file:
            with tempfile.TemporaryDirectory() as folder:
                return open_segmenter(base, unpack_adapter(adapter_file, Path(folder)))
        if adapter_name.strip():
            return open_segmenter(base, _adapter_of_hub(adapter_name.strip()))
        if taught:
            return open_segmenter(base, taught)
        return _kept(base)
    except InputError as error:
        raise complain(error, adapter_file) from None


@functools.lru_cache(maxsize=2)
def _kept(base: str) -> SamSegmenter:
    return open_segmenter(base)


def unpack_adapter(path: str, folder: Path) -> Path:
    """The files of an adapter from a zip, as Teach gives it; nothing else of it is written."""
    with Archive(path) as archive:
        found = {Path(name).name: name for name in archive.names if Path(name).name in ADAPTER_FILES}
        if "adapter_config.json" not in found or "adapter_model.safetensors" not in found:
            raise InputError(f"{Path(path).name}: no adapter_config.json and adapter_model.safetensors in it")
        for name, member in found.items():
            data = archive.read(member)
            if len(data) > MOST_ADAPTER_BYTES:
                raise InputError(f"{Path(path).name}: {name} holds {len(data)} bytes, too many for an adapter")
            (folder / name).write_bytes(data)
    return folder


def pack_adapter(folder: str | Path, target: Path) -> str:
    """A zip of an adapter's files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ADAPTER_FILES:
            if (Path(folder) / name).is_file():
                archive.write(Path(folder) / name, name)
    return str(target)


def _adapter_of_hub(name: str) -> str:
    if not re.fullmatch(_HUB_NAME, name):
        raise InputError(f"{name!r} isn't the name of an adapter on the Hub, such as USER/NAME")
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(name, allow_patterns=list(ADAPTER_FILES))
    except Exception as error:  # the network, the Hub and its client fail in many ways
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"the adapter {name} can't be fetched from the Hub ({reason})") from None


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
