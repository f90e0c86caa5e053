"""Training centres and their masks on a few annotated images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor, nn

from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.centres.adapter import unwrap
from glioma_hf.models.centres.crops import Crops, collate
from glioma_hf.models.centres.losses import training_loss
from glioma_hf.models.centres.network import CentreNetwork
from glioma_hf.models.centres.recipe import CentresRecipe
from glioma_hf.models.device import best_device
from glioma_hf.models.training import Trainable, fit
from glioma_hf.synthetic.compose import lay_over

WEIGHTS = "model.safetensors"  # of a checkpoint, as `Trainer` looks for it


class Averaged(nn.Module):
    """A network that learns, and the running mean of its weights, which predicts. Both lie in checkpoints."""

    def __init__(self, network: CentreNetwork | PeftModel, decay: float):
        super().__init__()
        self.network, self.decay = network, decay
        self.mean = copy.deepcopy(network).requires_grad_(False).eval()

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """As the network that learns."""
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> Averaged:
        """As any module; the mean only ever predicts."""
        super().train(mode)
        self.mean.eval()
        return self

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the mean towards what was learned in step number `step`, from 1; early steps count for more."""
        decay = min(self.decay, step / (step + 9))
        pairs = zip(self.mean.state_dict().values(), self.network.state_dict().values(), strict=True)
        means, values = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
        torch._foreach_lerp_(means, values, 1 - decay)


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
        with_composed(images, recipe),
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
    averaged = Averaged(network, recipe.average).to(best_device())
    averaged.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    validate = run.validate
    trainable = Trainable(
        model=averaged,
        dataset=crops,
        steps=recipe.max_steps,
        loss=partial(_batch_loss, recipe=recipe),
        save=_save,
        collate=collate,
        label="masks",
        on_memory=f", or lower max_cells ({recipe.max_cells})",
        rate_of=lambda name: rate if ".encoder." in name else 1.0,
        after_step=averaged.update,
    )
    if validate is not None:
        run = replace(run, validate=lambda model: validate(predicts(model.mean)))
    fit(trainable, recipe, run)
    return averaged.mean


def with_composed(images: Sequence[LabelledPixels], recipe: CentresRecipe) -> list[LabelledPixels]:
    """The images, and of each so many copies as the recipe says with cells of all of them laid over its own."""
    copies = [
        lay_over(image, cells, images, recipe.seed + number * recipe.composed + copy_, recipe.overlaps)
        for number, (image, cells) in enumerate(images)
        for copy_ in range(recipe.composed)
    ]
    return [*images, *copies]


def _batch_loss(model: Any, batch: dict[str, Tensor], recipe: CentresRecipe) -> Tensor:
    crops = batch["crops"].contiguous(memory_format=torch.channels_last)
    outputs = model(crops, batch["cells"], batch["owners"], batch["kinds"])
    return training_loss({name: value.float() for name, value in outputs.items()}, batch, recipe)


def _save(averaged: Averaged, folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in averaged.state_dict().items()}
    save_file(tensors, Path(folder) / WEIGHTS)
