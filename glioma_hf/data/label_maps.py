"""Label maps: images whose pixels are the numbers of objects."""

from __future__ import annotations

import numpy as np

from glioma_hf.data.images import open_encoded
from glioma_hf.data.orientation import turn
from glioma_hf.data.png import PngImage
from glioma_hf.data.tiff import TiffImage
from glioma_hf.errors import InputError

_SAVE = "save it as a TIFF or PNG of one channel"


def decode_labels(data: bytes, name: str) -> np.ndarray:
    """Labels, int64 (H, W), of a TIFF or PNG of one channel of whole numbers, in any type.

    What is stored counts, not what is shown: MinIsWhite isn't inverted, and of a palette the indices are the
    labels, as in PASCAL VOC. A palette that has its black, and no object, elsewhere than at index 0 was put into
    another order by a program that saves space: it is refused. Orientation tags are applied as to images. Negative
    labels stay: they are StarDist's mark for what isn't to count, see `Instances.from_label_map`.

    Raises `InputError` that names the label map for anything else: colours, several channels or pages, fractions.
    """
    image = open_encoded(data, name)
    if not isinstance(image, TiffImage | PngImage):
        raise InputError(f"{name}: a label map of JPEG, BMP or a TIFF in a rare form; {_SAVE}")
    stored = image.stored()
    if stored.ndim != 2:
        raise InputError(
            f"{name}: a label map has one channel, this one has {stored.shape[2]} (colours?); {_SAVE} of numbers"
        )
    palette = image.palette()
    if palette is not None:
        _check_palette(stored, palette, name)
    stored = turn(stored, image.orientation)
    if stored.dtype.kind == "f" and not np.array_equal(np.floor(stored), stored):
        raise InputError(f"{name}: labels are whole numbers, this {stored.dtype} map has others; {_SAVE} of numbers")
    if stored.size and (stored.max() >= 2**53 or stored.min() <= -(2**53)):
        raise InputError(f"{name}: labels up to {stored.max()} are too large; number the objects anew")
    return stored.astype(np.int64)


def _check_palette(indices: np.ndarray, palette: np.ndarray, name: str) -> None:
    black = np.flatnonzero((palette == 0).all(1))
    if len(palette) and palette[0].any() and np.isin(black, indices).any():
        raise InputError(
            f"{name}: black is colour {black[0]} of its palette instead of 0, so the colours' numbers aren't the "
            f"labels; {_SAVE} of numbers"
        )
