"""Training a U-Net on annotated images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.files import write_text
from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.device import best_device
from glioma_hf.models.training import Trainable, fit, is_out_of_memory
from glioma_hf.models.unet.crops import OUTSIDE, Pairs, collate
from glioma_hf.models.unet.network import UNet
from glioma_hf.models.unet.pixels import padding_told
from glioma_hf.models.unet.recipe import UNetRecipe
from glioma_hf.progress import OnProgress, Progress

BATCH = "batch.json"  # in a work folder: the batch that was found to fit, so that a run goes on with it
MOMENTUM = 0.1  # of batch norms' statistics: encoders come with a tenth of it, too slow for runs of some hundred steps
CHECKPOINT_WEIGHTS = "model.safetensors"  # as `Trainer` looks for it


def train(
    network: UNet,
    images: Sequence[LabelledPixels],
    recipe: UNetRecipe,
    run: Run,
    predicts: Callable[[Any], Any] = lambda network: network,
) -> UNet:
    """A network trained on annotated images, in place; returned in evaluation mode.

    Args:
        images: with their instances, whose foreground is learned.
        run: see `models.training.fit`.
        predicts: makes of a network what `run.validate` is given.

    Raises `InputError` for an image without cells, masks of another size, and a batch that the processes can't share;
    `WorkStopped`, which leaves the checkpoints, where memory runs out or the loss isn't finite.
    """
    network = network.to(best_device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = MOMENTUM
    pairs = Pairs(images, 1, recipe, network.design.percentiles)
    if told := padding_told(recipe.resolution) if recipe.resolution is not None else "":
        run.on_progress(Progress(told))
    recipe = recipe.model_copy(update={"batch": _batch(network, pairs, recipe, run)})
    steps = recipe.steps(len(images))
    pairs.length = steps * recipe.batch * recipe.accumulation
    trainable = Trainable(
        model=network,
        dataset=pairs,
        steps=steps,
        loss=batch_loss,
        save=_save,
        collate=collate,
        label="masks",
        on_memory="" if recipe.resolution is None else f", or lower the resolution ({recipe.resolution})",
        fixed_rate=True,
    )
    if (validate := run.validate) is not None:
        run = replace(run, validate=lambda model: validate(predicts(model)))
    fit(trainable, recipe, run)
    return network.eval()


def batch_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The loss of a batch of images and masks."""
    return loss_of(model(batch["images"].contiguous(memory_format=torch.channels_last)), batch["masks"])


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and 1 - soft Dice over the pixels of a batch (B, h, w) that are images', see `pixel_loss`."""
    inside = (masks != OUTSIDE).float()
    target = masks * inside
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    chance = logits.sigmoid() * inside
    dice = (2 * (chance * target).sum() + 1) / (chance.sum() + target.sum() + 1)
    return (entropy * inside).sum() / inside.sum().clamp(min=1) + 1 - dice


def largest_batch(batch: int, attempt: Callable[[int], None], on_progress: OnProgress) -> int:
    """The largest of `batch`, half of it, a quarter ... that `attempt` can do; told where it isn't the first.

    Raises what `attempt` raises where not even one image fits, or for another reason.
    """
    while True:
        try:
            attempt(batch)
            return batch
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
            batch //= 2
            on_progress(Progress(f"memory holds no batch of {batch * 2}: {batch} instead"))


def _batch(network: UNet, pairs: Pairs, recipe: UNetRecipe, run: Run) -> int:
    """The recipe's, or on a GPU the largest that fits; kept in the work folder."""
    device = next(network.parameters()).device
    if device.type != "cuda" or not recipe.largest_batch:
        return recipe.batch
    kept = None if run.work is None else Path(run.work) / BATCH
    if kept is not None and kept.is_file():
        return int(json.loads(kept.read_text()))
    items = [pairs[index] for index in range(len(pairs.images))]

    def attempt(batch: int) -> None:
        some = collate((items * batch)[:batch])
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision != "fp32"):
            loss = batch_loss(network.train(), {name: each.to(device) for name, each in some.items()})
        loss.backward()
        network.zero_grad()

    state = {name: value.clone() for name, value in network.state_dict().items()}  # batch norms count what they saw
    found = largest_batch(recipe.batch, attempt, run.on_progress)
    network.load_state_dict(state)
    torch.cuda.empty_cache()
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(found))
    return found


def _save(network: UNet, folder: str) -> None:
    """The weights into a checkpoint's folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, Path(folder) / CHECKPOINT_WEIGHTS)
