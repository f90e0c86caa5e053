"""From a TIFF's samples to grey levels and colours: inks, colours multiplied by alpha, few bits."""

from __future__ import annotations

import numpy as np


def from_cmyk(inks: np.ndarray, most: int) -> np.ndarray:
    """Red, green and blue of (..., 4) inks; `most` is a full one."""
    wide = np.uint32 if most < 2**16 else np.uint64
    paper = most - inks[..., 3:4].astype(wide)
    covered = (inks[..., :3] * paper + most // 2) // most
    return (paper - np.minimum(covered, paper)).astype(inks.dtype)


def straight(colours: np.ndarray, alpha: np.ndarray, most: int) -> np.ndarray:
    """Colours (..., C) that were multiplied by alpha (...), as they were before; where alpha is 0, as stored."""
    if (alpha == most).all():
        return colours
    divided = np.minimum(colours.astype(np.uint64) * most // np.maximum(alpha, 1)[..., None], most)
    return np.where(alpha[..., None] > 0, divided, colours).astype(colours.dtype)


def stretched(levels: np.ndarray, most: int) -> np.ndarray:
    """Levels 0 ... `most` of fewer than 8 bits as 0 ... 255; others as they are."""
    return levels if most >= 255 else (levels.astype(np.uint16) * 255 // most).astype(np.uint8)
