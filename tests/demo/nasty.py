"""Files that took the page from everyone: each function writes one into a folder and returns its path."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import roifile

from tests.strategies import square

FAR = [[10, 10, 1e9, 10, 20, 20]]
SIZE = {"width": 640, "height": 480}


def coco(folder: Path, segmentations: list, name: str = "outlines.json", **size: int) -> Path:
    """A COCO file of one image with these segmentations."""
    image = {"id": 1, "file_name": "a.tif", **SIZE, **size}
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": s}
        for i, s in enumerate(segmentations, start=1)
    ]
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def results(folder: Path, segmentations: list) -> Path:
    """COCO results of that image."""
    rows = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": s} for s in segmentations]
    (folder / "results.json").write_text(json.dumps(rows))
    return folder / "results.json"


def far_json(folder: Path) -> Path:
    return coco(folder, [FAR])


def far_rois(folder: Path) -> Path:
    region = roifile.ImagejRoi.frompoints(np.array([[10, 10], [2**30, 10], [20, 20]], np.float32))
    with zipfile.ZipFile(folder / "far.zip", "w") as packed:
        packed.writestr("far.roi", region.tobytes())
    return folder / "far.zip"


def many_rois(folder: Path) -> Path:
    """37 MB of members in a small zip."""
    region = roifile.ImagejRoi.frompoints(np.array([[10, 10], [30, 10], [20, 20]], np.float32)).tobytes()
    with zipfile.ZipFile(folder / "many.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for i in range(2000):
            packed.writestr(f"{i}.roi", region + bytes(18_500))
    return folder / "many.zip"


def deep_json(folder: Path) -> Path:
    (folder / "deep.json").write_text("[" * 200_000 + "]" * 200_000)
    return folder / "deep.json"


def long_number(folder: Path) -> Path:
    (folder / "number.json").write_text('[{"image_id": 1, "segmentation": [[1, 2, 3, 4, 5, ' + "9" * 400 + "]]}]")
    return folder / "number.json"


def long_rle(folder: Path) -> Path:
    """A run-length string of 40 MB."""
    row = '[{"image_id": 1, "category_id": 1, "segmentation": {"size": [480, 640], "counts": "%s"}}]'
    (folder / "rle.json").write_text(row % ("0" * 40_000_000))
    return folder / "rle.json"


def huge_header(folder: Path) -> Path:
    """A PNG that says it is of 100,000 x 100,000 pixels, in a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (folder / "huge.png").write_bytes(data)
    return folder / "huge.png"


def large_png(folder: Path) -> Path:
    """A whole PNG of 16,384 x 16,384 pixels in little space."""
    import imagecodecs

    (folder / "large.png").write_bytes(imagecodecs.png_encode(np.zeros((2**14, 2**14), np.uint8), level=1))
    return folder / "large.png"


def crowd(number: int, side: int) -> list:
    """Outlines of so many cells."""
    across = int(np.ceil(np.sqrt(number)))
    step = side / across
    return [square(int(i % across * step) + 3, int(i // across * step) + 3, 6) for i in range(number)]
