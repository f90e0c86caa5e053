"""What visitors draw: checked before anything is made of it."""

from __future__ import annotations

import math
from typing import Any

from glioma_hf import InputError

MOST_NUMBERS = 400_000  # coordinates of all outlines that are drawn
MOST_OUTLINES = 5000
FARTHEST = 2**15  # pixels from the image's corner; a pencil may leave the image, but not by far


def check_drawn(outlines: Any) -> list[list[float]]:
    """Outlines that were drawn, as lists x0, y0, x1, y1 ... Raises `InputError` for anything else."""
    if not isinstance(outlines, list) or len(outlines) > MOST_OUTLINES:
        raise InputError(f"what was drawn isn't a list of at most {MOST_OUTLINES} outlines")
    left = MOST_NUMBERS
    for number, outline in enumerate(outlines, start=1):
        left -= len(outline) if isinstance(outline, list) else left + 1
        if left < 0:
            raise InputError(f"outline {number} isn't a list of numbers, or all are of over {MOST_NUMBERS}")
        for value in outline:
            check_coordinate(value, f"outline {number}")
    return outlines


def check_coordinate(value: Any, what: str) -> float:
    """A coordinate of something drawn. Raises `InputError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} has a coordinate that is no number; draw it again")
    if abs(value) > FARTHEST:
        raise InputError(f"{what} lies outside the image; draw it again")
    return float(value)


def checked(value: Any, least: float, most: float, what: str) -> float:
    """A number that a visitor gave, 0 for none. Raises `InputError` where it isn't one within bounds."""
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} is no number")
    if not least <= value <= most:
        raise InputError(f"{what} is a number from {least:g} to {most:g}")
    return float(value)
