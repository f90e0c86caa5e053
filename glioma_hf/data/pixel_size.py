"""How large a pixel is, as image files say it: OME-XML, ImageJ's description, the resolution of TIFF and PNG."""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

_MICROMETRES = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "inch": 25400.0,
}
_PRINTED = 20.0  # micrometres; larger pixels are those of printers and screens (1,200 dots an inch are 21)


def pixel_size_of(image: bytes | Path) -> float:
    """Micrometres per pixel as an encoded image or its file says, 0 where it doesn't or only a printer's is given.

    A camera's or a program's default, such as 72 or 300 dots per inch, is no size of a pixel on the object. Pixels
    that aren't square have none here. Never raises: what can't be read says nothing.
    """
    if isinstance(image, Path) and not image.is_file():  # a pipe that nobody writes to would be waited for
        return 0.0
    with contextlib.suppress(Exception):  # what a damaged header leads to can't be listed
        with io.BytesIO(image) if isinstance(image, bytes) else image.open("rb") as file:
            kind = file.read(2)
            file.seek(0)
            size = _of_tiff(file) if kind in (b"II", b"MM") else _of_picture(file)
        if math.isfinite(size) and 0 < size < _PRINTED:
            return float(f"{size:.6g}")
    return 0.0


def _of_tiff(file: BinaryIO) -> float:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages[0]
        if tiff.ome_metadata:
            return _of_ome(tiff.ome_metadata)
        across, down = (_ratio(page.tags.valueof(tag)) for tag in (282, 283))
        if not across or abs(across - down) > 0.01 * across:
            return 0.0
        unit = page.tags.valueof(296, 1)
        if page.is_imagej:
            named = (tiff.imagej_metadata or {}).get("unit", "")
            return _MICROMETRES.get(_plain(str(named)), 0.0) / across
        return {2: 25400.0, 3: 1e4}.get(int(unit), 0.0) / across


def _of_ome(text: str) -> float:
    sizes = []
    for axis in "XY":
        found = re.search(rf'PhysicalSize{axis}="([^"]+)"', text)
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', text)
        if found is None:
            return 0.0
        sizes.append(float(found[1]) * _MICROMETRES.get(_plain(unit[1]) if unit else "um", 0.0))
    return sizes[0] if abs(sizes[0] - sizes[1]) <= 0.01 * sizes[0] else 0.0


def _of_picture(file: BinaryIO) -> float:
    from PIL import Image

    across, down = Image.open(file, formats=("PNG", "JPEG", "BMP")).info.get("dpi", (0, 0))
    return 25400.0 / float(across) if across and abs(across - down) <= 0.01 * across else 0.0


def _plain(unit: str) -> str:
    """A unit as ImageJ writes it, with its escapes undone."""
    return unit.replace("\\u00B5", "µ").replace("\\u00b5", "µ").strip().lower()


def _ratio(value: Any) -> float:
    return float(value[0]) / float(value[1]) if value and value[1] else 0.0
