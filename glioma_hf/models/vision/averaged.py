"""The running mean of a network's weights over training, which is what is kept of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

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
