"""TIFF files of several images: how many there are, what they are called, and one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glioma_hf.data.images import whole_levels
from glioma_hf.data.one_image import check_pixels
from glioma_hf.errors import InputError

MOST_PLANES = 10_000
_WORDS = {"T": "time", "Z": "slice", "C": "channel", "I": "image", "Q": "page", "S": "channel", "R": "region"}


@dataclass(frozen=True)
class Stack:
    """The planes of a file.

    Attributes:
        shape: how many along each axis that isn't the image's height, width or colours.
        axes: what they are in words, "channel", "slice", "time" ...
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @property
    def planes(self) -> int:
        """How many images there are."""
        return math.prod(self.shape)

    def name(self, plane: int) -> str:
        """What an image is called, counted from 0: "channel 2, slice 1"."""
        places = np.unravel_index(plane, self.shape)
        return ", ".join(f"{word} {int(place) + 1}" for word, place in zip(self.axes, places, strict=True))


def read_stack(path: str | Path) -> Stack | None:
    """The planes of a TIFF; None where it is one image, or no TIFF that can be read."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return _stack(file.series[0])[0]
    except Exception:  # what a damaged header leads to can't be listed; reading it as an image says more
        return None


def read_plane(path: str | Path, plane: int) -> np.ndarray:
    """One image of a stack, (H, W) or (H, W, 3), as `read_image` gives one; planes are counted from 0.

    Raises `InputError` that names the file for a plane that isn't there and for damage.
    """
    import tifffile

    path = Path(path)
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            stack, last = _stack(series)
            if stack is None or not 0 <= plane < stack.planes:
                raise InputError(f"{path}: it has no page {plane + 1}; choose one that it has")
            sizes = dict(zip(series.axes, series.shape, strict=True))
            check_pixels((sizes["X"], sizes["Y"]), str(path))
            if len(series.pages) == stack.planes:
                pixels = np.asarray(series.pages[plane].asarray())
            else:
                everything = series.asarray()
                if last:  # channels behind the pixels, that are no colours
                    everything = np.moveaxis(everything, -1, 0)
                pixels = everything.reshape(stack.planes, *everything.shape[len(stack.shape) :])[plane]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: the TIFF is damaged ({error}); save it again") from None
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise InputError(f"{path}: it has pixels that are no numbers; replace them and save the image again")
        return pixels
    return whole_levels(pixels[..., :3] if pixels.ndim == 3 else pixels, str(path))


def _stack(series: object) -> tuple[Stack | None, bool]:
    """(the planes, whether they are channels behind the pixels) of tifffile's series."""
    axes, shape = series.axes, series.shape  # type: ignore[attr-defined]
    sizes = dict(zip(axes, shape, strict=True))
    if not {"Y", "X"} <= sizes.keys():
        return None, False
    last = axes.endswith("S") and sizes["S"] not in (3, 4)
    leading = [axis for axis in axes if axis not in "YX" and (axis != "S" or last)]
    stack = Stack(tuple(sizes[a] for a in leading), tuple(_WORDS.get(a, "page") for a in leading))
    return (stack if 1 < stack.planes <= MOST_PLANES else None), last
