"""Losses of SAM on points, masks and the heat map of cores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of a heat map whose ones are the cores and whose slopes count less (CenterNet, eq. 1)."""
    logits = logits.float()
    core = heat > 0.999
    chance = torch.sigmoid(logits)
    hit = F.logsigmoid(logits) * (1 - chance) ** 2 * core
    miss = F.logsigmoid(-logits) * chance**2 * (1 - heat) ** 4 * ~core
    return -(hit + miss).sum() / core.sum().clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of each mask: (P, m, m) -> (P,)."""
    chance = torch.sigmoid(logits).flatten(1)
    target = target.flatten(1)
    return 1 - (2 * (chance * target).sum(1) + 1) / (chance.sum(1) + target.sum(1) + 1)


def window_weight(target: Tensor, margin: int) -> Tensor:
    """1 in each mask's box widened by `margin` pixels, 0.1 elsewhere: (P, m, m)."""
    inside = target > 0
    rows = inside.any(2).float()[:, None]
    columns = inside.any(1).float()[:, None]
    rows = F.max_pool1d(rows, 2 * margin + 1, 1, margin).transpose(1, 2)
    columns = F.max_pool1d(columns, 2 * margin + 1, 1, margin)
    return 0.1 + 0.9 * rows * columns


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of thresholded masks: (P, m, m) -> (P,), without gradient."""
    with torch.no_grad():
        mask, truth = (logits > 0).flatten(1), (target > 0.5).flatten(1)
        return (mask & truth).sum(1) / (mask | truth).sum(1).clamp(min=1)
