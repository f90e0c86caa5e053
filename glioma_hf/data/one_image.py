"""What any encoded image must be, whatever its format: one image, and not too large."""

from __future__ import annotations

from glioma_hf.errors import InputError
from glioma_hf.instances import MAX_PIXELS


def check_pixels(size: tuple[int, int], name: str, most: int = MAX_PIXELS) -> None:
    """Raise `InputError` for an image of (width, height) `size` with more pixels than are read."""
    if max(size) > MAX_PIXELS or size[0] * size[1] > most:
        raise InputError(f"{name}: {size[0]} x {size[1]} is more than {most} pixels; crop the image")


def check_pages(number: int, name: str) -> None:
    """Raise `InputError` for a file of several images."""
    if number > 1:
        raise InputError(f"{name}: {number} pages in one image; save the one to use on its own")
