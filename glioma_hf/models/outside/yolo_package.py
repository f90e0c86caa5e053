"""The package `ultralytics`, kept from installing or telling anything by itself, and its published weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, cast

from glioma_hf.errors import InputError
from glioma_hf.extras import missing_libraries_named
from glioma_hf.models.outside.wrapped import SCRATCH, fetched

Network = Literal["yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg"]
NETWORKS: tuple[str, ...] = ("yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg")


def library() -> Any:
    """The package, told to fetch and install nothing by itself. Raises `InputError` where it isn't installed."""
    from huggingface_hub import constants

    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if constants.HF_HUB_OFFLINE:
        os.environ.setdefault("YOLO_OFFLINE", "true")
    with missing_libraries_named(ultralytics="yolo"):
        import ultralytics.nn.tasks
        import ultralytics.utils
    return ultralytics


def network_of(base: str) -> tuple[Network, bool]:
    """Which network a base is, and whether with published weights. Raises `InputError` for another name."""
    name = NETWORKS[0] if base == SCRATCH else base.removesuffix(".pt").removesuffix(".yaml")
    if name not in NETWORKS:
        known = ", ".join(f"{name}.pt" for name in NETWORKS)
        raise InputError(
            f"the model yolo:{base} isn't known; it is one of {known}, these names without .pt to train "
            f"from scratch, {SCRATCH}, or a folder that train wrote"
        )
    return cast("Network", name), base.endswith(".pt")


def new_net(name: str, classes: int) -> Any:
    """A network of start values, or to load weights into."""
    return library().nn.tasks.SegmentationModel(f"{name}.yaml", ch=3, nc=classes, verbose=False)


def published_weights(name: str) -> dict[str, Any]:
    """The package's own file of weights, a pickle, read by its loader that builds nothing but known layers."""
    package = library()
    tasks, path = package.nn.tasks, Path(package.utils.SETTINGS["weights_dir"]) / f"{name}.pt"
    if not getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False):
        raise InputError(
            f"the weights of yolo:{name}.pt are a pickle, and the installed ultralytics can't read it without running "
            "what it holds; pip install 'ultralytics>=8.4.190'"
        )
    checkpoint = fetched(f"yolo:{name}.pt", path, lambda: tasks.torch_safe_load(path, safe_only=True)[0])
    weights: dict[str, Any] = (checkpoint.get("ema") or checkpoint["model"]).float().state_dict()
    return weights


def on_device(net: Any) -> Any:
    """The network where it computes."""
    from glioma_hf.models.device import best_device

    return net.to(best_device())
