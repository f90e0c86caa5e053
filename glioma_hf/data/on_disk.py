"""What lets a large file stay on the disk: its bytes are read when asked for, and a few decoded parts are kept."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import BinaryIO

import numpy as np


class FileBytes:
    """The bytes of an open file, as `len` and slices; each slice is read anew.

    A memory map would do the same, but what was read through one counts as memory held, and a file that shrinks
    meanwhile kills the process.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._length = file.seek(0, os.SEEK_END)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._length)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SegmentCache:
    """Decoded strips or tiles by number, those used last, together at most `most` bytes."""

    def __init__(self, most: int):
        self.most, self.held = most, 0
        self._segments: OrderedDict[int, np.ndarray] = OrderedDict()

    def get(self, index: int) -> np.ndarray | None:
        """The segment, if it is kept."""
        if index not in self._segments:
            return None
        self._segments.move_to_end(index)
        return self._segments[index]

    def put(self, index: int, segment: np.ndarray) -> None:
        """Keep a segment that isn't kept yet, in place of those not used for longest."""
        self._segments[index] = segment
        self.held += segment.nbytes
        while self.held > self.most:
            _, oldest = self._segments.popitem(last=False)
            self.held -= oldest.nbytes
