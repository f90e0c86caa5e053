"""What the libraries that decode JPEG leave open: its size before it is decoded, and whether all of it is there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MISSING = 128  # the level that libjpeg gives blocks which aren't in the file
_PADDING = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()  # without the byte of markers, 255


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) by the frame's header; None where there is none."""
    at = data.find(b"\xff\xd8") + 2
    while 2 <= at <= len(data) - 9:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    return None


def lacks_rows(data: bytes, pixels: np.ndarray, decode: Callable[[bytes], np.ndarray]) -> bool:
    """Whether a JPEG ends before its last rows: libjpeg fills them with grey and says nothing.

    What ends in another grey is whole. Else bytes are put behind the last row's: one that lacks rows takes
    them for rows and looks different.

    Args:
        pixels: what `decode` gave for `data`, (H, W[, channels]).
    """
    corner = pixels[-8:, -8:]
    if corner.size == 0 or corner.min() != corner.max() or (corner.shape[2:] != (4,) and corner.max() != MISSING):
        return False
    end = data.rfind(b"\xff\xd9")
    end = len(data) if end < 0 else end
    try:
        return not np.array_equal(decode(data[:end] + _PADDING + b"\xff\xd9"), pixels)
    except Exception:  # libraries raise errors of their own
        return True
