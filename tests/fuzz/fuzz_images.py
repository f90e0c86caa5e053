"""Images and label maps in every format that is read, changed."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from glioma_hf.data.images import decode_image, image_size
from glioma_hf.data.label_maps import decode_labels
from glioma_hf.data.on_disk import FileBytes
from glioma_hf.data.opened import _opened
from glioma_hf.data.windows import WindowReader
from glioma_hf.errors import InputError


def read(data: bytes) -> None:
    """Everything that reads an image; what one refuses the others are given still."""
    readers = (
        lambda: decode_image(data, "cells.tif"),
        lambda: image_size(data, "cells.tif"),
        lambda: decode_labels(data, "cells.tif"),
        lambda: WindowReader(data, "cells.tif").read(3, 5, 16, 12),
        lambda: windows(data),
    )
    refused = None
    for reader in readers:
        try:
            reader()
        except InputError as error:
            refused = error
    if refused is not None:
        raise refused


def windows(data: bytes) -> None:
    """Windows of a TIFF that is opened, as it is where the image is large."""
    image = _opened(FileBytes(io.BytesIO(data)), "cells.tif", 0)
    for top in (3, 16, 10**6) if image is not None else ():
        image[top : top + 16, 5:17]


def seeds() -> list[bytes]:
    """Small images of every kind."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (24, 32), np.uint8)
    deep, colour = grey.astype(np.uint16) * 200, rng.integers(0, 256, (24, 32, 3), np.uint8)
    palette = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)
    tiffs = [
        (grey, {}),
        (deep, {"byteorder": ">", "rowsperstrip": 5}),
        (deep, {"bigtiff": True, "compression": "lzw", "predictor": True, "rowsperstrip": 7}),
        (grey, {"compression": "zlib", "tile": (16, 16)}),
        (deep, {"compression": "zstd"}),
        (grey, {"compression": "lzma"}),
        (grey, {"compression": "packbits"}),
        (colour, {"photometric": "rgb", "compression": "jpeg", "tile": (16, 16)}),
        (colour.transpose(2, 0, 1).copy(), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.dstack([deep] * 4), {"photometric": "separated", "compression": "zlib"}),
        (grey, {"photometric": "palette", "colormap": palette}),
        (grey.astype(np.float32), {"compression": "zlib", "predictor": 3}),
        (grey.astype(np.int64), {"photometric": "minisblack"}),
        (grey > 100, {"photometric": "miniswhite"}),
        (np.stack([grey] * 3), {"imagej": True, "metadata": {"axes": "ZYX"}}),
        (deep, {"extratags": [(274, "H", 1, 6, True)]}),
    ]
    made = []
    for pixels, options in tiffs:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, **options)
        made.append(buffer.getvalue())
    exif = Image.Exif()
    exif[274] = 6
    pillow = [
        (grey, "PNG", {}),
        (deep, "PNG", {"exif": exif}),
        (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}),
        (grey, "JPEG", {}),
        (colour, "BMP", {}),
        (grey > 100, "TIFF", {"compression": "group4"}),
    ]
    for pixels, kind, options in pillow:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        made.append(buffer.getvalue())
    for mode, kind in (("P", "PNG"), ("P", "BMP"), ("LA", "PNG"), ("CMYK", "JPEG"), ("YCbCr", "TIFF"), ("LAB", "TIFF")):
        buffer = io.BytesIO()
        image = Image.fromarray(colour)
        (image if mode != "LA" else image.convert("L")).convert(mode).save(buffer, kind) if mode != "LAB" else (
            Image.frombytes("LAB", (32, 24), colour.tobytes()).save(buffer, kind)
        )
        made.append(buffer.getvalue())
    made += [imagecodecs.png_encode(np.dstack([deep] * 4)), imagecodecs.png_encode(np.dstack([deep] * 2))]
    return made
