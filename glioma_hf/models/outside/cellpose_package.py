"""The package `cellpose`, version 3 or 4: which is there, its published files, its networks without their loader."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.extras import missing_libraries_named
from glioma_hf.models.outside.wrapped import SCRATCH, fetched

# By name: the major version of the package that has it, its file, and the file of its size model if it has one.
PUBLISHED: dict[str, tuple[int, str, str]] = {
    "cyto3": (3, "cyto3", "size_cyto3.npy"),
    "nuclei": (3, "nucleitorch_0", "size_nucleitorch_0.npy"),
    "cyto2": (3, "cyto2torch_0", "size_cyto2torch_0.npy"),
    "livecell_cp3": (3, "livecell_cp3", ""),
    "tissuenet_cp3": (3, "tissuenet_cp3", ""),
    "cpsam": (4, "cpsam", ""),
    "cpsam_v2": (4, "cpsam_v2", ""),
}


def library(major: int | None = None, base: str = "") -> Any:
    """The package, of a major version. Raises `InputError` that says in a sentence which one is wanted where."""
    extra = "cellpose4" if major == 4 else "cellpose"
    try:
        there = version("cellpose")
    except PackageNotFoundError:
        there = ""
    if major and there and int(there.split(".")[0]) != major:
        raise InputError(
            f"cellpose:{base} wants Cellpose {major}, and {there} is installed; "
            f"pip install 'glioma_hf[{extra}]' into an environment of its own"
        )
    with missing_libraries_named(cellpose=extra):
        import cellpose.dynamics
        import cellpose.metrics
        import cellpose.models
        import cellpose.train
        import cellpose.utils
    for name in ("dynamics", "models", "train"):
        logging.getLogger(f"cellpose.{name}").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Sparse invariant checks")
    return cellpose


def usual_bases() -> tuple[str, ...]:
    """Those of the version that is installed, of Cellpose 3 where none is."""
    try:
        major = int(version("cellpose").split(".")[0])
    except PackageNotFoundError:
        major = 3
    return ("cpsam",) if major == 4 else ("cyto3", "nuclei")


def new_net(major: int) -> Any:
    """A network of start values, or to load weights into."""
    if major == 4:
        from cellpose.vit import CPSAM

        return CPSAM()
    from cellpose.resnet_torch import CPnet

    return CPnet([2, 32, 64, 128, 256], 3, sz=3)


def new_model(major: Literal[3, 4]) -> Any:
    """The package's model around a network of start values."""
    library(major, SCRATCH)
    return model_of(new_net(major).to(device()), major)


def model_of(net: Any, major: Literal[3, 4]) -> Any:
    """The package's model around a network that we hold; its own way reads a file of pickles, or takes none."""
    kind = library(major).models.CellposeModel
    if major == 3:
        model = kind(device=net.device, mkldnn=False)
        model.diam_mean, model.diam_labels = float(net.diam_mean), float(net.diam_labels)
    else:
        model = kind.__new__(kind)
        model.device, model.gpu, model.backbone = net.device, net.device.type == "cuda", net.backbone
    model.net = net.eval()
    return model


def fetched_file(models: Any, base: str, file: str) -> Path:
    """Where a published file lies, fetched by the package if need be."""
    path = Path(models.MODEL_DIR) / file
    return Path(fetched(f"cellpose:{base}", path, lambda: models.cache_model_path(file)))


def flow_errors(labels: np.ndarray, flows: np.ndarray, on: Any) -> np.ndarray:
    """Mean squares of how flows (2, H, W) differ from those of the label map (H, W) that they made: one a label."""
    package = library()
    module = package.dynamics if hasattr(package.dynamics, "flow_error") else package.metrics  # Cellpose 4, 3
    errors: np.ndarray = module.flow_error(labels.astype(int), flows, on)[0]
    return errors


def device() -> Any:
    """On what it computes."""
    from glioma_hf.models.device import best_device

    return best_device()
