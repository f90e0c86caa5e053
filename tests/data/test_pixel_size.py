"""How large a pixel is, as files say it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf.data.pixel_size import pixel_size_of

PIXELS = np.zeros((20, 30), np.uint8)
OME = {"PhysicalSizeX": 650, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.65, "PhysicalSizeYUnit": "µm"}


def tiff(**options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, PIXELS, **options)
    return file.getvalue()


def picture(kind: str, dpi: float) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, dpi=(dpi, dpi))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (tiff(resolution=(2, 2), imagej=True, metadata={"unit": "um"}), 0.5),
        (tiff(resolution=(2, 2), imagej=True, metadata={"unit": "micron"}), 0.5),
        (tiff(resolution=(2, 2), imagej=True), 0),  # two pixels of what?
        (tiff(resolution=(20_000, 20_000), resolutionunit="CENTIMETER"), 0.5),
        (tiff(resolution=(25_400, 25_400), resolutionunit="INCH"), 1),
        (tiff(resolution=(300, 300), resolutionunit="INCH"), 0),  # a printer's
        (tiff(resolution=(20_000, 10_000), resolutionunit="CENTIMETER"), 0),
        (tiff(ome=True, metadata=OME), 0.65),
        (tiff(), 0),
        (picture("PNG", 50_800), 0.5),
        (picture("JPEG", 72), 0),
        (b"II*\0 no TIFF", 0),
        (b"", 0),
    ],
)
def test_the_file_says_it(data, size):
    assert pixel_size_of(data) == pytest.approx(size, rel=1e-3)
