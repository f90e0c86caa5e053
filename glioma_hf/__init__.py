"""Glioma C6: overlapping cells as data set, metric and models on the Hugging Face stack.

What a user needs is here, and loaded when it is first used:

    from glioma_hf import load_segmenter, prepare, read_image, train

    prepare("archive.zip", "glioma_c6")
    train("glioma_c6", images=[1], out="adapter")
    cells = load_segmenter("adapter").segment(read_image("cells.tif"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# By name: the module that holds it.
_HOMES = {
    "CellCrops": "glioma_hf.data.crops",
    "Cropper": "glioma_hf.data.crops",
    "InputError": "glioma_hf.errors",
    "Instances": "glioma_hf.instances",
    "agreement": "glioma_hf.metrics.agreement",
    "collate": "glioma_hf.data.crops",
    "instances_of": "glioma_hf.data.features",
    "load_segmenter": "glioma_hf.models",
    "overlap_ap": "glioma_hf.metrics.overlap_ap",
    "overlay": "glioma_hf.draw",
    "predict": "glioma_hf.workflows.prediction",
    "prepare": "glioma_hf.data.prepare",
    "quickstart": "glioma_hf.workflows.quickstart",
    "read_image": "glioma_hf.data.images",
    "shape_table": "glioma_hf.shape",
    "synthesize": "glioma_hf.synthetic.archive",
    "train": "glioma_hf.workflows.training",
    "tune": "glioma_hf.workflows.training",
}
__all__ = [
    "CellCrops",
    "Cropper",
    "InputError",
    "Instances",
    "agreement",
    "collate",
    "instances_of",
    "load_segmenter",
    "overlap_ap",
    "overlay",
    "predict",
    "prepare",
    "quickstart",
    "read_image",
    "shape_table",
    "synthesize",
    "train",
    "tune",
]

if TYPE_CHECKING:
    from glioma_hf.data.crops import CellCrops, Cropper, collate
    from glioma_hf.data.features import instances_of
    from glioma_hf.data.images import read_image
    from glioma_hf.data.prepare import prepare
    from glioma_hf.draw import overlay
    from glioma_hf.errors import InputError
    from glioma_hf.instances import Instances
    from glioma_hf.metrics.agreement import agreement
    from glioma_hf.metrics.overlap_ap import overlap_ap
    from glioma_hf.models import load_segmenter
    from glioma_hf.shape import shape_table
    from glioma_hf.synthetic.archive import synthesize
    from glioma_hf.workflows.prediction import predict
    from glioma_hf.workflows.quickstart import quickstart
    from glioma_hf.workflows.training import train, tune


def __getattr__(name: str) -> Any:
    """The public name, from where it lives. A library that it lacks is named with the command that brings it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'glioma_hf' has no attribute {name!r}")
    from glioma_hf.extras import missing_libraries_named

    with missing_libraries_named():
        value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, "__version__"])
