"""Pictures of instances over their image, in colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from glioma_hf.instances import Instances
from glioma_hf.palette import ORANGE, PURPLE, SKY_BLUE, Colour
from glioma_hf.rle import contours

REFERENCE = SKY_BLUE
PREDICTION = ORANGE
OVERLAP = PURPLE


def overlay(
    image: np.ndarray,
    predictions: Instances | None = None,
    references: Instances | None = None,
    line: int = 2,
) -> Image.Image:
    """Outlines over a grey image: references sky blue, predictions orange, overlap of predictions purple.

    Args:
        image: uint8 (H, W).
        line: width of the outlines in pixels.
    """
    shown = np.repeat(image[..., None], 3, 2)
    main = predictions if predictions is not None else references
    if main is not None:
        tint(shown, overlap_map(main) >= 2, OVERLAP)
    picture = Image.fromarray(shown)
    for instances, colour in ((references, REFERENCE), (predictions, PREDICTION)):
        if instances is not None:
            draw_outlines(picture, instances, [colour] * len(instances), line)
    return picture


def draw_outlines(picture: Image.Image, instances: Instances, colours: Sequence[Colour], line: int = 2) -> None:
    """Draw each object's outline into `picture`."""
    pen = ImageDraw.Draw(picture)
    for (mask, corner), colour in zip(instances.box_masks(), colours, strict=True):
        for outline in contours(mask, corner):
            points = outline - 0.5
            pen.line([*map(tuple, points), tuple(points[0])], fill=colour, width=line, joint="curve")


def overlap_map(instances: Instances) -> np.ndarray:
    """How many objects cover each pixel: uint8 (H, W), at most 255."""
    count = np.zeros(instances.size, np.uint8)
    for mask, (top, left) in instances.box_masks():
        window = count[top : top + mask.shape[0], left : left + mask.shape[1]]
        window += mask & (window < 255)
    return count


def tint(picture: np.ndarray, where: np.ndarray, colour: Colour, strength: float = 0.45) -> None:
    """Colour the pixels of a picture, uint8 (H, W, 3), where a bool (H, W) says so, in place."""
    picture[where] = ((1 - strength) * picture[where] + strength * np.array(colour)).astype(np.uint8)
