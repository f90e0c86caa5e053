"""Training flows on a few annotated images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.errors import InputError
from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.flows.crops import Crops
from glioma_hf.models.flows.dynamics import GAIN, check_installed
from glioma_hf.models.flows.manet import MediarNetwork
from glioma_hf.models.flows.mediar_crops import MediarCrops
from glioma_hf.models.flows.network import FlowNetwork
from glioma_hf.models.flows.recipe import FlowsRecipe, MediarAugmentation
from glioma_hf.models.vision.averaged import fit_averaged
from glioma_hf.models.vision.composed import with_composed


def train(
    network: FlowNetwork | MediarNetwork,
    images: Sequence[LabelledPixels],
    recipe: FlowsRecipe,
    run: Run,
    pretrained: bool = True,
    predicts: Callable[[Any], Any] = lambda network: network,
) -> Any:
    """A network trained on annotated images; returned in evaluation mode.

    Args:
        network: to start from, trained in place.
        images: with their instances; label maps are made of them by the recipe's `priority`.
        run: see `models.training.fit`.
        pretrained: whether its encoder has learned anything before, so that it is changed with care.
        predicts: makes of a network what `run.validate` is given.

    Raises `InputError` for an image without cells, a batch that the processes can't share, and where `cellpose` isn't
    installed; `WorkStopped`, which leaves the checkpoints, where memory runs out or the loss isn't finite.
    """
    check_installed()
    steps = recipe.steps(len(images))
    crops = crops_of(network, recipe)(
        with_composed(images, recipe.composed, recipe.overlaps, recipe.seed),
        steps * recipe.batch * recipe.accumulation,
        recipe.augmentation,
        recipe.crop,
        recipe.priority,
        recipe.seed,
        network.config.classes,
    )
    if pretrained and isinstance(network, FlowNetwork):
        network.encoder.freeze(recipe.frozen_blocks)
    rate = recipe.encoder_rate if pretrained else 1.0
    return fit_averaged(
        network,
        crops,
        recipe,
        run,
        steps,
        _batch_loss,
        collate,
        "cells",
        f", or lower crop ({recipe.crop})",
        rate,
        predicts,
    )


def crops_of(network: FlowNetwork | MediarNetwork, recipe: FlowsRecipe) -> type[Crops]:
    """The crops that a network learns from. Raises `InputError` where the recipe draws those of the other network."""
    if isinstance(network, MediarNetwork) != isinstance(recipe.augmentation, MediarAugmentation):
        decoder = network.config.decoder
        raise InputError(f'the recipe\'s augmentation isn\'t one for "decoder": "{decoder}"; give both in one recipe')
    return MediarCrops if isinstance(network, MediarNetwork) else Crops


def flows_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor], flow_weight: float) -> Tensor:
    """Cross-entropy of cells, and the squared error of flows against `GAIN` times unit vectors (Cellpose's loss)."""
    cells = F.binary_cross_entropy_with_logits(outputs["cells"], batch["cells"])
    return cells + flow_weight * F.mse_loss(outputs["flows"], GAIN * batch["flows"])


def collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of crops, and what is learned of them."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _batch_loss(model: Any, batch: dict[str, Tensor], recipe: FlowsRecipe) -> Tensor:
    crops = batch["crops"].contiguous(memory_format=torch.channels_last)
    return flows_loss(model(crops), batch, recipe.flow_weight)
