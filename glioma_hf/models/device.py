"""On what models compute."""

from __future__ import annotations

import torch
from torch import nn


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth it there: tensor cores, or a CPU that multiplies in it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def lay_out(network: nn.Module) -> None:
    """Lay a network's weights out as a CPU convolves fastest; one that was trained and its saved copy then agree."""
    if next(network.parameters()).device.type == "cpu":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def device_name() -> str:
    """What models compute on, for tables: "NVIDIA H100", or "CPU, 2 threads"."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} thread{'' if torch.get_num_threads() == 1 else 's'}"
