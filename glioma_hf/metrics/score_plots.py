"""Scores as pictures, drawn into axes of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def draw_curves(axes: Any, curves: Mapping[str, Mapping[float, float]], title: str = "") -> None:
    """AP against the IoU threshold, a line per name; `curves[name]` maps threshold to AP."""
    for name, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), marker="o", label=name)
    axes.set(xlabel="IoU threshold", ylabel="AP = TP / (TP + FP + FN)", ylim=(0, 1))
    if title:
        axes.set_title(title)
    axes.grid(True, alpha=0.3)
    if len(axes.get_lines()) > 1:
        axes.legend()


def draw_matrix(axes: Any, names: Sequence[str], values: np.ndarray, label: str, title: str = "") -> None:
    """A square matrix of scores, 0 ... 1, as a picture with its numbers. values: float (N, N), rows first."""
    shown = axes.imshow(values, vmin=0, vmax=1, cmap="cividis")
    for i, j in np.ndindex(values.shape):
        colour = "white" if values[i, j] < 0.55 else "black"
        axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title)
    axes.figure.colorbar(shown, ax=axes, label=label)
