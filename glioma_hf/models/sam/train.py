"""LoRA fine-tuning of SAM on a few annotated images, CellSeg1's recipe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F
from transformers import set_seed

from glioma_hf.models.adapters import save_weights
from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.sam import losses
from glioma_hf.models.sam.cell_model import CellModel
from glioma_hf.models.sam.lora import add_adapter
from glioma_hf.models.sam.prompt_crops import CELL, PADDING, PromptCrops, PromptCropSettings
from glioma_hf.models.sam.recipe import SamRecipe
from glioma_hf.models.training import Trainable, fit


def train(
    base: CellModel, images: Sequence[LabelledPixels], recipe: SamRecipe | None = None, run: Run | None = None
) -> PeftModel:
    """A LoRA adapter on `base`, trained on annotated images; returned in evaluation mode.

    Args:
        base: the model; its qkv layers are split in place, its weights stay as they are.
        images: with their instances; overlaps are used as they are.
        recipe: the paper's without it, on the base's own input size.
        run: see `models.training.fit`.

    Raises `InputError` for an image without cells and a batch that the processes can't share; `WorkStopped`, which
    leaves the checkpoints, where memory runs out or the loss isn't finite.
    """
    recipe = recipe or SamRecipe(tile=None)
    set_seed(recipe.seed)
    adapted = add_adapter(base, recipe.lora)
    if recipe.lora.centre_head:
        base.config.centres_trained = True
    steps = recipe.steps(len(images))
    crops = PromptCropSettings(base.tile, base.mask_side, base.heat_side, recipe.scale, max_cells=recipe.max_cells)
    trainable = Trainable(
        model=adapted,
        dataset=PromptCrops(images, steps * recipe.batch * recipe.accumulation, crops, recipe.seed),
        steps=steps,
        loss=partial(_batch_loss, recipe=recipe),
        save=save_weights,
        collate=trimmed_batch,
        label="masks",
        on_memory=f", or lower max_cells ({recipe.max_cells})",
    )
    fit(trainable, recipe, run or Run())
    return adapted.eval()


def _batch_loss(model: Any, batch: dict[str, Tensor], recipe: SamRecipe) -> Tensor:
    kind = batch["kind"]
    outputs = model(tiles=batch["tiles"], points=batch["points"], prompted=kind != PADDING, drawn=kind == CELL)
    return training_loss(outputs, batch, recipe)


def trimmed_batch(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of `PromptCrops` items without the points that are padding in each of them: nobody need decode those."""
    most = max(int((item["kind"] != PADDING).sum()) for item in items)
    per_point = ("points", "kind", "masks")
    return {
        name: torch.stack([item[name][:most] if name in per_point else item[name] for item in items])
        for name in items[0]
    }


def training_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor], recipe: SamRecipe) -> Tensor:
    """CellSeg1's loss: cross-entropy of the masks of cell points, squared error of the IoU head on all points.

    Beside it, where their weights are above zero: soft Dice of the masks and the heat map of cores. Each term is
    averaged within a crop and then over the crops of the batch, so that a batch split among processes or
    accumulated in parts gives the same gradient as a whole one.
    """
    cell = batch["kind"] == CELL
    prompted = batch["kind"] != PADDING
    logits, quality = outputs["logits"].float(), outputs["quality"].float()
    targets = batch["masks"][cell]
    goal = cell.float()
    if recipe.iou_target == "iou":
        goal = torch.zeros_like(quality).masked_scatter(cell, losses.mask_iou(logits, targets))
    loss = _mean_of_crops((quality - goal) ** 2, prompted)
    if len(targets):
        each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2))
        if recipe.dice_weight:
            each = each + recipe.dice_weight * losses.dice_loss(logits, targets)
        loss = loss + _mean_of_crops(torch.zeros_like(quality).masked_scatter(cell, each), cell)
    else:
        loss = loss + 0 * logits.sum()
    if recipe.heat_weight and recipe.lora.centre_head:
        heats = zip(outputs["heat"].split(1), batch["heat"].split(1), strict=True)
        loss = (
            loss + recipe.heat_weight * torch.stack([losses.heat_loss(heat, target) for heat, target in heats]).mean()
        )
    return loss


def _mean_of_crops(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the counted values (B, P) within each crop, then over the crops."""
    return ((values * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()
