"""What TissueNet and DynamicNuclearNet share: npz files, and images that must become files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.npz import open_npz
from glioma_hf.data.sources.rows import ArchiveSplit
from glioma_hf.errors import InputError


def npz_images(archive: Archive, split: ArchiveSplit, start: int) -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    """(number, where, X (H, W, C), y (H, W, C)) of each image of a split from number `start` on."""
    path = npz_path(archive, split)
    with open_npz(path, "X", "y") as (images, labels):
        pairs = zip(images.images(start), labels.images(start), strict=True)
        for number, (pixels, maps) in enumerate(pairs, start=start):
            yield number, f"{path}: image {number}", pixels, maps


def npz_path(archive: Archive, split: ArchiveSplit) -> Path:
    """The npz of a split on disk. Raises `InputError` for a zip: an npz in it can't be read image by image."""
    if not archive.path.is_dir():
        raise InputError(f"{archive.path}: give the folder that holds {split.member}, unpacked")
    return archive.member_path(split.member)


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 or uint16 (H, W), or uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def stretched(channel: np.ndarray, most: int, where: str) -> np.ndarray:
    """float64 (H, W): a channel between its 0.1 and 99.9 percentiles, spread over 0 ... `most`.

    Raises `InputError` for values that aren't finite.
    """
    if not np.isfinite(channel).all():
        raise InputError(f"{where}: a pixel isn't a finite number")
    low, high = np.percentile(channel, [0.1, 99.9])
    return np.round(np.clip((channel - low) / max(high - low, 1e-12), 0, 1) * most)
