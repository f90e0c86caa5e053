"""How large the cells of an image are, asked of a model that was trained on cells of one size.

A model that sees cells too small finds some of them, as large as they are; one that sees them too large finds pieces.
So each answer is a better question: the model looks at the middle of the image as if its cells were of its own size,
then as if they were as large as the median of what it found, until both agree.
"""

from __future__ import annotations

import numpy as np

from glioma_hf.models.base import Pixels, Segmenter
from glioma_hf.progress import OnProgress, Progress, ignore

SEEN = 25.0  # diameters: the side of the part that is looked at, so that a look costs the same at any size
SMALLEST_PART, LARGEST_PART = 256, 4096  # pixels
FARTHEST = 16  # times the model's own diameter: an image isn't shrunk further
FEWEST = 8  # cells that tell a size
SMALLEST = 4.0  # pixels across a cell
# Times the model's own diameter: where too little is found, cells may be far smaller or larger.
BEGINNINGS = (1.0, 0.4, 2.5)
ROUNDS = 5
AGREES = 1.15  # what is found may be this many times larger or smaller than what was asked for
# Nearer to a model's own diameter cells differ by themselves, and thresholds were chosen for it: it stays as it is.
NEAR = 1.5


def estimate_diameter(segmenter: Segmenter, image: Pixels, on_progress: OnProgress = ignore) -> float | None:
    """Pixels across a cell of an image (H, W[, channels]): the median over cells of the circle of the same area.

    None where the model has no diameter of its own, finds too few cells, or answers that don't agree.
    """
    diameter = segmenter.diameter
    if diameter is None:
        return None
    quick = segmenter.with_settings(views=1) if "views" in type(segmenter.settings).model_fields else segmenter
    for number, begin in enumerate(BEGINNINGS):
        on_progress(Progress("looking how large the cells are", number, len(BEGINNINGS)))
        count, found = _followed(quick, image, begin * diameter)
        if count >= FEWEST and found is not None:
            return round(found, 1)
        if begin == 1 and count and found is not None and diameter / NEAR <= found <= diameter * NEAR:
            return None  # a few cells, as large as they should be
    return None


def _followed(segmenter: Segmenter, image: Pixels, diameter: float) -> tuple[int, float | None]:
    """How many cells the last look found, and their diameter: where asking for what was found leads to.

    The diameter is None where the answers don't agree; where too few cells are found, it is that of those.
    """
    largest = max(min(min(image.shape[:2]) / 2, FARTHEST * (segmenter.diameter or SMALLEST)), SMALLEST)
    for _ in range(ROUNDS):
        found = segmenter.for_diameter(diameter).segment(_middle(image, SEEN * diameter))
        if not len(found):
            return 0, None
        asked, diameter = diameter, float(np.clip(2 * np.sqrt(np.median(found.areas) / np.pi), SMALLEST, largest))
        if len(found) < FEWEST or asked / AGREES <= diameter <= asked * AGREES:
            return len(found), diameter
    return len(found), None


def fitted(segmenter: Segmenter, image: Pixels, on_progress: OnProgress = ignore) -> tuple[Segmenter, float | None]:
    """The model for the cells of an image, and their estimated diameter in pixels.

    The model is as it was, and the diameter None, where the estimate is within `NEAR` of its own or there is none.

    Example:
        model, diameter = fitted(load_segmenter("centres"), image)
        cells = model.segment(image)
    """
    diameter = estimate_diameter(segmenter, image, on_progress)
    told = segmenter if diameter is None else suited(segmenter, diameter)
    return told, None if told is segmenter else diameter


def suited(segmenter: Segmenter, diameter: float) -> Segmenter:
    """The model for cells of a diameter in pixels: as it was where that is within `NEAR` of its own, or it has none."""
    own = segmenter.diameter
    return segmenter if own is None or own / NEAR <= diameter <= own * NEAR else segmenter.for_diameter(diameter)


def _middle(image: Pixels, side: float) -> np.ndarray:
    """The middle of an image, about `side` pixels wide and high."""
    size = int(np.clip(side, SMALLEST_PART, LARGEST_PART))
    height, width = image.shape[:2]
    top, left = max(height - size, 0) // 2, max(width - size, 0) // 2
    return np.asarray(image[top : min(top + size, height), left : min(left + size, width)])
