"""Scores as pictures; matplotlib is loaded when one is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf.errors import InputError


@contextmanager
def drawing(path: str | Path | None, axes: Any, size: tuple[float, float]) -> Iterator[Any]:
    """Matplotlib axes to draw into, saved at `path` (where one is given) when the block ends.

    Without `axes` there is a new figure of `size` inches: one of pyplot's where there is no path either, so that
    a notebook shows it. Raises `InputError` where matplotlib isn't installed.
    """
    if axes is None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise InputError("plots need matplotlib, which isn't here: pip install 'glioma_hf[plots]'") from None
        if path is None:
            from matplotlib import pyplot

            axes = pyplot.figure(figsize=size, layout="constrained").subplots()
        else:  # no state that is shared with the caller's own plots
            axes = Figure(figsize=size, layout="constrained").subplots()
    yield axes
    if path is not None:
        axes.figure.savefig(path, dpi=150)


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
