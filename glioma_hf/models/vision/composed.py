"""Training images with further cells of all of them laid over their own."""

from __future__ import annotations

from collections.abc import Sequence

from glioma_hf.models.base import LabelledPixels
from glioma_hf.synthetic.compose import OverlapConfig, lay_over


def with_composed(
    images: Sequence[LabelledPixels], copies: int, overlaps: OverlapConfig, seed: int
) -> list[LabelledPixels]:
    """The images, and of each so many copies with cells of all of them laid over its own."""
    composed = [
        lay_over(image, cells, images, seed + number * copies + copy, overlaps)
        for number, (image, cells) in enumerate(images)
        for copy in range(copies)
    ]
    return [*images, *composed]
