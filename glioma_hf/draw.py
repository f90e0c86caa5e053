"""Pictures of instances over their image, in colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glioma_hf.instances import Instances, check_size
from glioma_hf.palette import BLACK, ORANGE, PURPLE, SKY_BLUE, Colour
from glioma_hf.rle import contours

REFERENCE = SKY_BLUE
PREDICTION = ORANGE
OVERLAP = PURPLE
_WINDOW = 2048  # pixels: about the side of windows in which a large image is drawn
WHITE: Colour = (255, 255, 255)


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


def reduced_overlay(image: np.ndarray, predictions: Instances, factor: int, line: int = 1) -> Image.Image:
    """`overlay` of predictions in an image too large to hold, of which `image`, uint8, is `factor` times smaller.

    Nothing of the image's own size is made: overlaps are drawn window by window.
    """
    picture = Image.fromarray(image).convert("RGB")
    side = max(1, _WINDOW // factor) * factor
    height, width = predictions.size
    for top in range(0, height, side):
        for left in range(0, width, side):
            near = predictions.crop(top, left, min(side, height - top), min(side, width - left))
            doubled = overlap_map(near)[::factor, ::factor] >= 2
            if doubled.any():
                x, y = left // factor, top // factor
                part = np.array(picture.crop((x, y, x + doubled.shape[1], y + doubled.shape[0])))
                tint(part, doubled, OVERLAP)
                picture.paste(Image.fromarray(part), (x, y))
    draw_outlines(picture, predictions, [PREDICTION] * len(predictions), line, factor)
    return picture


def draw_outlines(
    picture: Image.Image, instances: Instances, colours: Sequence[Colour], line: int = 2, factor: int = 1
) -> None:
    """Draw each object's outline into `picture`, which is `factor` times smaller than their image."""
    pen = ImageDraw.Draw(picture)
    for (mask, corner), colour in zip(instances.box_masks(), colours, strict=True):
        for outline in contours(mask, corner):
            points = outline / factor - 0.5
            pen.line([*map(tuple, points), tuple(points[0])], fill=colour, width=line, joint="curve")


def overlap_map(instances: Instances) -> np.ndarray:
    """How many objects cover each pixel: uint8 (H, W), at most 255."""
    count = np.zeros(check_size(instances.size), np.uint8)
    for mask, (top, left) in instances.box_masks():
        window = count[top : top + mask.shape[0], left : left + mask.shape[1]]
        window += mask & (window < 255)
    return count


def tint(picture: np.ndarray, where: np.ndarray, colour: Colour, strength: float = 0.45) -> None:
    """Colour the pixels of a picture, uint8 (H, W, 3), where a bool (H, W) says so, in place."""
    picture[where] = ((1 - strength) * picture[where] + strength * np.array(colour)).astype(np.uint8)


def scale_bar(picture: Image.Image, pixel_size: float) -> None:
    """Draw a bar of a round length, with its words, into the lower right corner of `picture`.

    Args:
        pixel_size: micrometres per pixel; 0 where it isn't known: the bar then counts pixels.
    """
    unit = pixel_size or 1.0
    length = round_length(picture.width * unit / 5)
    text = f"{length:g} {'µm' if pixel_size else 'px'}"
    margin, thick = max(picture.width // 50, 4), max(picture.height // 150, 2)
    font = ImageFont.load_default(size=max(picture.height // 40, 10))
    pen = ImageDraw.Draw(picture)
    right, bottom = picture.width - margin, picture.height - margin
    left = right - length / unit
    pen.rectangle((left, bottom - thick, right, bottom), fill=WHITE, outline=BLACK)
    middle = ((left + right) / 2, bottom - 2 * thick)
    pen.text(middle, text, WHITE, font, anchor="mb", stroke_width=1, stroke_fill=BLACK)


def round_length(most: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is at most `most`.

    >>> round_length(37), round_length(0.3)
    (20.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(most))
    return float(f"{max(times * power for times in (1, 2, 5) if times * power <= most * (1 + 1e-9)):g}")
