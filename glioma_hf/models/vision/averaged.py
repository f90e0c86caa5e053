"""The running mean of a network's weights over training, which is what is kept of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset

from glioma_hf.models.base import Run
from glioma_hf.models.device import best_device
from glioma_hf.models.training import Trainable, fit

WEIGHTS = "model.safetensors"  # of a checkpoint, as `Trainer` looks for it


class Averaged(nn.Module):
    """A network that learns, and the running mean of its weights, which predicts. Both lie in checkpoints."""

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.network, self.decay = network, decay
        self.mean = copy.deepcopy(network).requires_grad_(False).eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
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


def save_averaged(averaged: Averaged, folder: str) -> None:
    """Both of them, into a checkpoint's folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in averaged.state_dict().items()}
    save_file(tensors, Path(folder) / WEIGHTS)


def fit_averaged(
    network: nn.Module,
    crops: Dataset,
    recipe: Any,
    run: Run,
    steps: int,
    loss: Callable[..., Any],
    collate: Callable[..., Any],
    label: str,
    on_memory: str,
    encoder_rate: float,
    predicts: Callable[[Any], Any],
) -> Any:
    """The running mean of a network that is trained on crops, in evaluation mode.

    Args:
        recipe: a `TrainerRecipe` with `average`; `loss` takes it by that name beside the model and a batch.
        run, steps, collate, label, on_memory: see `models.training`.
        encoder_rate: learning rate of the encoder, relative to the rest's.
        predicts: makes of a network what `run.validate` is given.
    """
    averaged = Averaged(network, recipe.average).to(best_device())
    averaged.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    validate = run.validate
    trainable = Trainable(
        model=averaged,
        dataset=crops,
        steps=steps,
        loss=partial(loss, recipe=recipe),
        save=save_averaged,
        collate=collate,
        label=label,
        on_memory=on_memory,
        rate_of=lambda name: encoder_rate if ".encoder." in name else 1.0,
        after_step=averaged.update,
    )
    if validate is not None:
        run = replace(run, validate=lambda model: validate(predicts(model.mean)))
    fit(trainable, recipe, run)
    return averaged.mean
