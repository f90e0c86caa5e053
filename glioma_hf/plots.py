"""The one door to matplotlib, which the light package comes without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glioma_hf.extras import missing_libraries_named


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
