"""The one door to matplotlib, which the light package comes without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glioma_hf.extras import missing_libraries_named


@contextmanager
def drawing(path: str | Path | None, axes: Any, size: tuple[float, float]) -> Iterator[Any]:
    """Matplotlib axes to draw into, saved at `path` (where one is given) when the block ends.

    Without `axes` there is a new figure of `size` inches: one of pyplot's where there is no path either, so that
    a notebook shows it. Raises `InputError` where matplotlib isn't installed.
    """
    if axes is None:
        with missing_libraries_named():
            from matplotlib.figure import Figure
        if path is None:
            from matplotlib import pyplot

            axes = pyplot.figure(figsize=size, layout="constrained").subplots()
        else:  # no state that is shared with the caller's own plots
            axes = Figure(figsize=size, layout="constrained").subplots()
    yield axes
    if path is not None:
        axes.figure.savefig(path, dpi=150)


def pyplot() -> Any:
    """`matplotlib.pyplot`, drawing into files alone. Raises `InputError` where matplotlib isn't installed."""
    with missing_libraries_named():
        import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a figure as a picture of 150 pixels an inch and close it."""
    figure.savefig(path, dpi=150)
    pyplot().close(figure)
