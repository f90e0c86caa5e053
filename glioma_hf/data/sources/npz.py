"""Arrays of an npz file read image by image: training files of DeepCell hold gigabytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from glioma_hf.data.sources.zip_member import MemberStream, member_name, open_zip
from glioma_hf.errors import InputError
from glioma_hf.instances import MAX_PIXELS

MAX_ARRAY_BYTES = 2**40  # read image by image
MAX_HEADER = 10_000  # bytes, as NumPy itself allows
MAX_IMAGE_BYTES = 2**31


class NpzArray:
    """One array of an npz, whose first axis counts images.

    Attributes:
        shape: of the whole array.
        dtype: of its values.
    """

    def __init__(self, stream: MemberStream, where: str):
        self._stream, self._where = stream, where
        self.shape, fortran, self.dtype = _header(stream, where)
        if (
            fortran
            or self.dtype.kind not in "buif"
            or len(self.shape) not in (3, 4)
            or min(self.shape[1:]) < 1
            or self.shape[0] < 0
        ):
            raise InputError(
                f"{where}: an array of images (N, H, W[, C]) of numbers is needed, this one is {self.dtype} "
                f"of shape {self.shape}{', its axes the other way round' if fortran else ''}; pickled objects are "
                "never read"
            )
        pixels = np.prod(self.shape[1:], dtype=float)
        if pixels > MAX_PIXELS or pixels * self.dtype.itemsize > MAX_IMAGE_BYTES:
            raise InputError(f"{where}: images of {self.shape[1:]} are more than {MAX_PIXELS} pixels")

    def images(self, start: int = 0) -> Iterator[np.ndarray]:
        """Each image (H, W, C) in turn, from number `start` on."""
        shape = (*self.shape[1:], 1) if len(self.shape) == 3 else self.shape[1:]
        size = int(np.prod(shape)) * self.dtype.itemsize
        for number in range(self.shape[0]):
            data = self._stream.read(size)
            if len(data) != size:
                raise InputError(f"{self._where}: ends at image {number} of {self.shape[0]}; get the file again")
            if number >= start:
                yield np.frombuffer(data, self.dtype).reshape(shape)


@contextmanager
def open_npz(path: Path, *names: str) -> Iterator[list[NpzArray]]:
    """The arrays of these names, to be read side by side. Raises `InputError` where one is missing, or is twice."""
    with open_zip(path, str(path), "npz file") as file:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in file.infolist():
            name = member_name(info).removesuffix(".npy")
            if name in members:
                raise InputError(f"{path}: the array {name!r} is in it twice; keep one")
            members[name] = info
        for name in names:
            if name not in members:
                known = ", ".join(sorted(members)[:20])
                raise InputError(f"{path}: no array {name!r} in it (it has {known})")
        arrays = []
        for name in names:
            where = f"{path}: {name}"
            arrays.append(NpzArray(MemberStream(file, members[name], where, MAX_ARRAY_BYTES), where))
        counts = {array.shape[0] for array in arrays}
        if len(counts) > 1:
            raise InputError(f"{path}: {' and '.join(names)} hold different numbers of images: {counts}")
        yield arrays


def _header(stream: MemberStream, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of an array, from the first bytes of its file."""
    try:
        start = stream.read(min(8, stream.size))
        version = np.lib.format.read_magic(io.BytesIO(start))
        width = 2 if version == (1, 0) else 4
        length = stream.read(width)
        if int.from_bytes(length, "little") > MAX_HEADER:
            raise InputError(f"{where}: not a readable array (its header is too long); get the file again")
        header = io.BytesIO(length + stream.read(int.from_bytes(length, "little")))
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = reader(header)
    except InputError:
        raise
    except Exception as error:  # NumPy parses the header as Python, and raises what that raises
        said = " ".join(str(error).split())[:100]
        raise InputError(f"{where}: not a readable array ({said}); get the file again") from None
    return tuple(int(side) for side in shape), fortran, dtype


def whole_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Labels as int64; raises `InputError` for values that aren't whole numbers from 0 on."""
    whole = labels.astype(np.int64)
    if (labels.dtype.kind == "f" and not np.array_equal(whole, labels)) or (whole.size and whole.min() < 0):
        raise InputError(f"{where}: labels are whole numbers from 0 on, these aren't")
    return whole
