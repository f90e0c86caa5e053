"""The losses of centres, their masks, and what is told of both."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.models.centres.recipe import CentresRecipe


def training_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor], recipe: CentresRecipe) -> Tensor:
    """The weighted sum, see `CentreNetwork.forward` and `crops.Crops` for the two sides."""
    masks, targets, inside = outputs["masks"], batch["masks"], batch["inside"]
    weights = thinness(targets * inside, recipe.thin)
    return (
        heat_loss(outputs["heat"], batch["heat"])
        + recipe.dice_weight * _mean(weights * dice_loss(masks, targets, inside))
        + recipe.pixel_weight * _mean(weights * pixel_loss(masks, targets, inside))
        + recipe.iou_weight * _mean(quality_loss(outputs["quality"], mask_iou(masks, targets, inside)))
        + recipe.surface_weight * surface_loss(outputs["surface"], batch["surface"])
    )


def heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of a heat map whose ones are the centres and whose slopes count less (CenterNet, eq. 1)."""
    centre = heat == 1
    chance = torch.sigmoid(logits)
    hit = F.logsigmoid(logits) * (1 - chance) ** 2 * centre
    miss = F.logsigmoid(-logits) * chance**2 * (1 - heat) ** 4 * ~centre
    return -(hit + miss).sum() / centre.sum().clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """1 - soft Dice, with squares below, of each mask where `inside` is 1: (K, w, w) -> (K,)."""
    chance = torch.sigmoid(logits) * inside
    shared, total = (chance * target).sum((1, 2)), (chance**2 + target**2).sum((1, 2))
    return 1 - (2 * shared + 1) / (total + 1)


def pixel_loss(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Cross-entropy of each mask where `inside` is 1, summed and divided by some four times its area: (K,)."""
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * inside
    return each.sum((1, 2)) / (4 * target.sum((1, 2)) + 50)


def thinness(target: Tensor, most: float) -> Tensor:
    """How much each mask counts, 1 in the mean: by its outline's length over that of the disc of its area: (K,).

    Arms of thin cells are few pixels, which the losses of whole masks hardly feel. 1 to `most` before the mean is
    taken out; outlines are counted in steps along the axes, which a disc has 4 / pi times as many of as its outline is
    long.
    """
    area = target.sum((1, 2)).clamp(min=1)
    steps = target.diff(dim=1).abs().sum((1, 2)) + target.diff(dim=2).abs().sum((1, 2))
    thin = (steps * math.pi / 4 / (2 * (math.pi * area).sqrt())).clamp(1, most)
    return thin / thin.mean() if len(thin) else thin


def mask_iou(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """IoU of thresholded masks where `inside` is 1: (K, w, w) -> (K,), without gradient."""
    with torch.no_grad():
        mask, truth = (logits > 0) & (inside > 0), target > 0.5
        return (mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2)).clamp(min=1)


def quality_loss(logits: Tensor, iou: Tensor) -> Tensor:
    """Cross-entropy of the IoU that is told against the one that was reached: (K,)."""
    return F.binary_cross_entropy_with_logits(logits, iou, reduction="none")


def surface_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and half of 1 - soft Dice of foreground and boundary (B, 2, h, w)."""
    chance = torch.sigmoid(logits)
    shared, total = (chance * target).sum((0, 2, 3)), (chance + target).sum((0, 2, 3))
    return F.binary_cross_entropy_with_logits(logits, target) + 0.5 * (1 - (2 * shared + 1) / (total + 1)).mean()


def _mean(values: Tensor) -> Tensor:
    """0 for none, with a gradient, as processes that share a batch need it."""
    return values.sum() / max(1, len(values))
