"""Arrays of an npz file read image by image: training files of DeepCell hold gigabytes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from glioma_hf.data.images import MAX_PIXELS
from glioma_hf.errors import InputError


class NpzArray:
    """One array of an npz, whose first axis counts images.

    Attributes:
        shape: of the whole array.
        dtype: of its values.
    """

    def __init__(self, stream: IO[bytes], where: str):
        self._stream, self._where = stream, where
        try:
            version = np.lib.format.read_magic(stream)
            reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            self.shape, fortran, self.dtype = reader(stream)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, OSError) as error:
            raise InputError(f"{where}: not a readable array ({error}); get the file again") from None
        if fortran or self.dtype.kind not in "buif" or len(self.shape) not in (3, 4):
            raise InputError(
                f"{where}: an array of images (N, H, W[, C]) of numbers is needed, this one is {self.dtype} "
                f"of shape {self.shape}; pickled objects are never read"
            )
        if np.prod(self.shape[1:], dtype=float) > MAX_PIXELS:
            raise InputError(f"{where}: images of {self.shape[1:]} are more than {MAX_PIXELS} pixels")

    def images(self, start: int = 0) -> Iterator[np.ndarray]:
        """Each image (H, W, C) in turn, from number `start` on."""
        shape = (*self.shape[1:], 1) if len(self.shape) == 3 else self.shape[1:]
        size = int(np.prod(shape)) * self.dtype.itemsize
        for number in range(self.shape[0]):
            try:
                data = self._stream.read(size)
            except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
                raise InputError(f"{self._where}: damaged at image {number} ({error}); get the file again") from None
            if len(data) != size:
                raise InputError(f"{self._where}: ends at image {number} of {self.shape[0]}; get the file again")
            if number >= start:
                yield np.frombuffer(data, self.dtype).reshape(shape)


@contextmanager
def open_npz(path: Path, *names: str) -> Iterator[list[NpzArray]]:
    """The arrays of these names, to be read side by side. Raises `InputError` where one is missing."""
    try:
        with zipfile.ZipFile(path) as file:
            known = {member.filename.removesuffix(".npy") for member in file.infolist()}
            for name in names:
                if name not in known:
                    raise InputError(f"{path}: no array {name!r} in it (it has {', '.join(sorted(known))})")
            streams: list[Any] = [file.open(f"{name}.npy") for name in names]
            arrays = [NpzArray(stream, f"{path}: {name}") for stream, name in zip(streams, names, strict=True)]
            counts = {array.shape[0] for array in arrays}
            if len(counts) > 1:
                raise InputError(f"{path}: {' and '.join(names)} hold different numbers of images: {counts}")
            yield arrays
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a whole npz file ({error}); get it again") from None


def whole_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Labels as int64; raises `InputError` for values that aren't whole numbers from 0 on."""
    whole = labels.astype(np.int64)
    if (labels.dtype.kind == "f" and not np.array_equal(whole, labels)) or (whole.size and whole.min() < 0):
        raise InputError(f"{where}: labels are whole numbers from 0 on, these aren't")
    return whole
