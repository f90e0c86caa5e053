"""Training centres and their masks on a few annotated images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.centres.adapter import unwrap
from glioma_hf.models.centres.crops import Crops, collate
from glioma_hf.models.centres.losses import training_loss
from glioma_hf.models.centres.network import CentreNetwork
from glioma_hf.models.centres.recipe import CentresRecipe
from glioma_hf.models.vision.averaged import fit_averaged
from glioma_hf.models.vision.composed import with_composed


def train(
    network: CentreNetwork | PeftModel,
    images: Sequence[LabelledPixels],
    recipe: CentresRecipe,
    run: Run,
    pretrained: bool = True,
    predicts: Callable[[Any], Any] = lambda network: network,
) -> Any:
    """A network trained on annotated images; returned in evaluation mode.

    Args:
        network: to start from, trained in place: all of it, or its adapter alone where it has one.
        images: with their instances; overlaps are used as they are.
        run: see `models.training.fit`.
        pretrained: whether its encoder has learned anything before, so that it is changed with care.
        predicts: makes of a network what `run.validate` is given.

    Raises `InputError` for an image without cells and a batch that the processes can't share; `WorkStopped`, which
    leaves the checkpoints, where memory runs out or the loss isn't finite.
    """
    crops = Crops(
        with_composed(images, recipe.composed, recipe.overlaps, recipe.seed),
        recipe.max_steps * recipe.batch * recipe.accumulation,
        recipe.augmentation,
        recipe.crop,
        unwrap(network).config.reach,
        recipe.max_cells,
        recipe.jitter,
        recipe.seed,
        unwrap(network).config.classes,
    )
    whole = not isinstance(network, PeftModel)
    if pretrained and whole:
        unwrap(network).encoder.freeze(recipe.frozen_blocks)
    rate = recipe.encoder_rate if pretrained and whole else 1.0
    return fit_averaged(
        network,
        crops,
        recipe,
        run,
        recipe.max_steps,
        _batch_loss,
        collate,
        "masks",
        f", or lower max_cells ({recipe.max_cells})",
        rate,
        predicts,
    )


def _batch_loss(model: Any, batch: dict[str, Tensor], recipe: CentresRecipe) -> Tensor:
    crops = batch["crops"].contiguous(memory_format=torch.channels_last)
    outputs = model(crops, batch["cells"], batch["owners"], batch["kinds"])
    return training_loss({name: value.float() for name, value in outputs.items()}, batch, recipe)
