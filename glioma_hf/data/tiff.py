"""TIFF: a page chosen and its strips or tiles decoded by tifffile, with bounds, for the window that is asked for."""

from __future__ import annotations

import io
import logging
import math
from typing import Any

import numpy as np

from glioma_hf.data.jpeg import jpeg_size, lacks_rows
from glioma_hf.data.on_disk import FileBytes, SegmentCache
from glioma_hf.data.one_image import check_pages, check_pixels
from glioma_hf.data.orientation import UPRIGHT, Window, known
from glioma_hf.data.tiff_colours import from_cmyk, straight, stretched
from glioma_hf.errors import InputError
from glioma_hf.instances import MAX_PIXELS, MAX_RUN_PIXELS

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_BYTES = 8 * MAX_PIXELS  # of decoded pixels
NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD = 1, 5, 7, 8, 32946, 32773, 34925, 50000
READ = (NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD)
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, CMYK: 4}
_REDUCED, _MASK = 1, 4  # bits of the tag NewSubfileType
_MOST_PAGES = 64  # that are looked at; more are counted
_MOST_RATIO = 5000  # of unpacked to packed bytes, beyond what LZW, deflate and PackBits can do
_SAVE = "; save it as plain TIFF or PNG"
# What it has to say of a damaged file is said here in one sentence.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class TiffImage:
    """One image in a TIFF or BigTIFF; its page is checked, its pixels are decoded when asked for.

    Pages that are said to be smaller copies of another one or masks are passed over: of a pyramid the image is the
    one in full size.

    Args:
        data: bytes, or any buffer of them; a memory-mapped one isn't read where it isn't needed.
        name: of the image, in errors.
        cache: for decoded strips and tiles. With it the image is one to be read window by window, and may be larger.

    Attributes:
        page: tifffile's.
        first: whether it is the file's first one.
        size: (width, height) as stored.
        compression: the tag's value.
        photometric: the tag's value, or what is meant where it is missing or wrong.
        orientation: the tag's value, 1 to 8.

    Raises `InputError` for several images in one file, with their number (pages, or the planes of a stack in one
    page as ImageJ, tifffile and MetaMorph write them), for too many pixels and for a damaged header.
    """

    def __init__(self, data: Any, name: str, cache: SegmentCache | None = None):
        import tifffile

        self._data = data if isinstance(data, FileBytes) else memoryview(data).cast("B")
        self._name, self._cache = name, cache
        try:
            file = tifffile.TiffFile(_Buffer(self._data))
            count = len(file.pages)
            if not count:
                raise tifffile.TiffFileError("it has no page")
            pages: Any = [file.pages[number] for number in range(min(count, _MOST_PAGES))]
            full = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)] or pages[:1]
            self.page = page = full[0]
            images = max(len(full) + count - len(pages), _planes(file, page, len(self._data)))
            self.first = page is pages[0]
            self.size: tuple[int, int] = (int(page.imagewidth), int(page.imagelength))
            self._samples = int(page.samplesperpixel)
            self._extras = tuple(int(extra) for extra in page.extrasamples)
            self._separate = int(page.planarconfig) == 2 and self._samples > 1
            self.compression = int(page.compression)
            self.photometric = self._photometric()
            self.orientation = known(int(page.tags.valueof(274, UPRIGHT)))
        except Exception as error:  # what a damaged header leads to can't be listed
            why = f" ({error})" if isinstance(error, tifffile.TiffFileError) else ""
            raise InputError(f"{name}: the TIFF's header is damaged{why}; save the image again") from None
        check_pages(images, name)
        if min(*self.size, self._samples) < 1:
            raise InputError(f"{name}: the TIFF's header says {self.size[0]} x {self.size[1]} pixels; save it again")
        check_pixels(self.size, name, MAX_PIXELS if cache is None else MAX_RUN_PIXELS)

    def _photometric(self) -> int:
        said = self.page.photometric if 262 in self.page.tags else None
        if said is None:
            return RGB if self._samples in (3, 4) else MIN_IS_BLACK
        if (said, self._samples, self._separate) == (MIN_IS_BLACK, 3, False):
            return RGB  # written by programs that don't say it
        if (said, self._samples, self.compression) == (YCBCR, 3, JPEG) and not self._separate:
            return RGB  # that is how it is decoded
        return int(said)

    def problem(self) -> str:
        """Why the pixels can't be read here and what to do, to follow the image's name; empty where they can."""
        page, colours, dtype = self.page, _COLOURS.get(self.photometric), self.page.dtype
        if self.compression not in READ:
            method = getattr(page.compression, "name", self.compression)
            return f"it is a TIFF compressed by {method}, which isn't read here{_SAVE}"
        if colours is None:
            return f"its colours are of a kind (photometric interpretation {self.photometric}) not read here{_SAVE}"
        if self._samples < colours:
            return f"its header says {self._samples} samples a pixel for {colours} colours{_SAVE}"
        channels = self._samples - sum(1 for extra in self._extras if extra)
        if colours == 1 and channels > 1:
            return f"it has {channels} channels; save the one to use on its own"
        if dtype is None or dtype.kind not in "buif" or not isinstance(page.bitspersample, int):
            return f"it has pixels of {page.bitspersample} bits and the sample format {page.sampleformat!s}{_SAVE}"
        if self.compression == JPEG and dtype != np.uint8:
            return f"it holds JPEG of {page.bitspersample} bits, which isn't read here{_SAVE}"
        return ""

    def stored(self, window: Window | None = None) -> np.ndarray:
        """Samples as they are stored, (H, W) or (H, W, samples), of native byte order.

        Raises `InputError` for what `problem` names and for damage, missing strips and tiles among it.
        """
        problem, (width, height) = self.problem(), self.size
        if problem:
            raise InputError(f"{self._name}: {problem}")
        rows, columns = window or (slice(0, height), slice(0, width))
        wanted = width * height if self._cache is None else (rows.stop - rows.start) * (columns.stop - columns.start)
        wanted *= self._samples * self.page.dtype.itemsize
        if wanted > MOST_BYTES:
            raise InputError(f"{self._name}: its pixels take {wanted} bytes, more than {MOST_BYTES}; crop the image")
        try:
            pixels = self._contiguous(rows, columns) if self.page.is_contiguous else self._assembled(rows, columns)
        except MemoryError:
            raise InputError(f"{self._name}: its {wanted} bytes don't fit the memory; crop the image") from None
        except Exception as error:  # the decoders raise errors of their own
            raise InputError(f"{self._name}: the image is damaged ({error}); save it again") from None
        return pixels.view(np.uint8) if pixels.dtype == bool else pixels

    def pixels(self, window: Window | None = None) -> np.ndarray:
        """Grey (H, W) or colour (H, W, 3) as shown, without alpha; integers of 8 and more bits or floats."""
        page, stored = self.page, self.stored(window)
        if stored.dtype.kind == "f":
            return stored[..., :3] if self.photometric == RGB else _grey(stored)
        most = 2**page.bitspersample - 1
        if self.photometric == CMYK:
            return from_cmyk(stored, most)
        multiplied = self._extras[:1] == (1,) and stored.dtype.kind == "u"
        if self.photometric == RGB:
            colour = stored[..., :3]
            return stretched(straight(colour, stored[..., 3], most) if multiplied else colour, most)
        grey = _grey(stored)
        if self.photometric == PALETTE:
            palette = self.palette()
            assert palette is not None
            return palette[grey]
        if self.photometric == MIN_IS_WHITE and stored.dtype.kind == "u":
            grey = np.asarray(most, grey.dtype) - grey
        if multiplied:
            grey = straight(grey[..., None], stored[..., 1], most)[..., 0]
        return stretched(grey, most)

    def palette(self) -> np.ndarray | None:
        """uint8 (colours, 3) of a palette image, else None."""
        if self.photometric != PALETTE:
            return None
        try:
            colours = np.asarray(self.page.tags.valueof(320, ()), np.uint32).ravel()
        except ValueError:
            colours = np.zeros(0, np.uint32)
        if colours.size != 3 * 2**self.page.bitspersample:
            raise InputError(f"{self._name}: its palette has {colours.size} entries; save the image again")
        # Some programs write 8 bits where 16 are meant.
        return (colours // (256 if colours.max(initial=0) > 255 else 1)).astype(np.uint8).reshape(3, -1).T

    def _contiguous(self, rows: slice, columns: slice) -> np.ndarray:
        """The window of pixels that lie uncompressed one behind the other."""
        page, (width, height) = self.page, self.size
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        start, size = page.dataoffsets[0], width * height * self._samples * dtype.itemsize
        if start + size > len(self._data):
            raise ValueError(f"its last rows aren't in the file, which should have {start + size} bytes")
        if isinstance(self._data, FileBytes):
            return self._from_file(rows, columns, dtype)
        pixels = np.frombuffer(self._data, dtype, size // dtype.itemsize, start)
        if self._separate:
            pixels = pixels.reshape(self._samples, height, width)[:, rows, columns].transpose(1, 2, 0)
        elif self._samples > 1:
            pixels = pixels.reshape(height, width, self._samples)[rows, columns]
        else:
            pixels = pixels.reshape(height, width)[rows, columns]
        return np.array(pixels, page.dtype.newbyteorder("="), order="C")

    def _from_file(self, rows: slice, columns: slice, dtype: np.dtype) -> np.ndarray:
        """The same, row by row from the file."""
        assert isinstance(self._data, FileBytes)
        (width, height), layers = self.size, self._samples if self._separate else 1
        depth, wide = self._samples // layers, columns.stop - columns.start
        step = depth * dtype.itemsize
        out = np.empty((rows.stop - rows.start, wide, self._samples), dtype.newbyteorder("="))
        for layer in range(layers):
            for place, row in enumerate(range(rows.start, rows.stop)):
                at = self.page.dataoffsets[0] + ((layer * height + row) * width + columns.start) * step
                line = np.frombuffer(self._data[at : at + wide * step], dtype).reshape(wide, depth)
                out[place, :, layer * depth : (layer + 1) * depth] = line
        return out if self._samples > 1 else out[..., 0]

    def segment_shape(self) -> tuple[int, int, int]:
        """Rows, columns and samples of what is read at once: a strip, a tile, or a row of what isn't compressed."""
        page, (width, height) = self.page, self.size
        depth = 1 if self._separate else self._samples
        if page.is_tiled and not page.is_contiguous:
            return page.tilelength, page.tilewidth, depth
        return 1 if page.is_contiguous else min(page.rowsperstrip, height), width, depth

    def _assembled(self, rows: slice, columns: slice) -> np.ndarray:
        """The window from the strips or tiles that it meets."""
        page, (width, height) = self.page, self.size
        high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
        if min(high, wide) < 1 or max(high, wide) > 2**20:
            raise ValueError(f"tiles of {wide} x {high} pixels")
        down, across = -(-height // high), -(-width // wide)
        layers = self._samples if self._separate else 1
        if len(page.dataoffsets) < down * across * layers:
            raise ValueError(f"it has {len(page.dataoffsets)} strips or tiles instead of {down * across * layers}")
        top, left, depth = rows.start, columns.start, self._samples // layers
        out: np.ndarray | None = None
        for layer in range(layers):
            for row in range(top // high, -(-rows.stop // high)):
                for column in range(left // wide, -(-columns.stop // wide)):
                    index = (layer * down + row) * across + column
                    y, x = row * high, column * wide
                    segment = self._segment(index, high if page.is_tiled else min(high, height - y), wide, depth)
                    if out is None:  # not before something was decoded: a header may claim anything
                        out = np.empty((rows.stop - top, columns.stop - left, self._samples), segment.dtype)
                    y0, y1 = max(top, y), min(rows.stop, y + segment.shape[0])
                    x0, x1 = max(left, x), min(columns.stop, x + segment.shape[1])
                    place = out[y0 - top : y1 - top, x0 - left : x1 - left, layer * depth : (layer + 1) * depth]
                    place[:] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
        if out is None:
            out = np.empty((rows.stop - top, columns.stop - left, self._samples), page.dtype)
        return out if self._samples > 1 else out[..., 0]

    def _segment(self, index: int, high: int, wide: int, depth: int) -> np.ndarray:
        """A strip or tile (high, wide, depth); one at the border may be cut there."""
        if self._cache is not None and (kept := self._cache.get(index)) is not None:
            return kept
        page, what = self.page, f"{'tile' if self.page.is_tiled else 'strip'} {index + 1}"
        start = page.dataoffsets[index]
        count = page.databytecounts[index] if index < len(page.databytecounts) else 0
        size = -(-wide * depth * page.bitspersample // 8) * high
        if self.compression == NONE:
            count = size  # many programs write a wrong count
        if not start or not count or start + count > len(self._data):
            raise ValueError(f"{what} isn't in the file")
        data = bytes(self._data[start : start + count])
        tables = page.jpegtables if self.compression == JPEG else None
        if self.compression in (LZW, DEFLATE, OLD_DEFLATE, PACKBITS) and size > _MOST_RATIO * (len(data) + 16):
            raise ValueError(f"{len(data)} bytes can't hold the {size} that the header says")
        if self.compression == JPEG:
            said = jpeg_size(data)
            if said is None or said[0] > max(high, page.rowsperstrip) + 16 or said[1] > wide + 16:
                raise ValueError(f"{what} holds a JPEG of another size than {wide} x {high}")

        def decode(data: bytes) -> np.ndarray:
            segment = page.decode(data, index, jpegtables=tables)[0]
            return np.asarray(segment[0])

        segment = decode(data)
        if self.compression == JPEG and lacks_rows(data, segment, decode):
            raise ValueError(f"{what} holds a JPEG without its last rows")
        if self._cache is not None:
            self._cache.put(index, segment)
        return segment


def _planes(file: Any, page: Any, size: int) -> int:
    """How many images a page holds, one behind the other, by what the programs that do so write into it."""
    said = max(int(page.imagedepth), 1)
    if page.is_stk and 33629 in page.tags:  # MetaMorph: as many values as planes
        said = max(said, page.tags[33629].count)
    pixels = page.imagewidth * page.imagelength * page.samplesperpixel
    if page.is_imagej:
        facts = file.imagej_metadata or {}
        axes = math.prod(int(facts.get(axis, 1)) for axis in ("channels", "slices", "frames"))
        told = int(facts.get("images", axes))
    elif page.is_shaped and file.shaped_metadata:
        told = math.prod(file.shaped_metadata[0]["shape"]) // max(pixels, 1)
    else:
        told = 1
    # A text may be older than the file. What has two planes has the bytes of two.
    if told > 1 and page.compression == NONE and page.dataoffsets:
        plane = pixels * (page.dtype.itemsize if page.dtype is not None else 1)
        said = max(said, told if page.dataoffsets[0] + 2 * plane <= size else 1)
    return said


def _grey(stored: np.ndarray) -> np.ndarray:
    return stored[..., 0] if stored.ndim == 3 else stored


class _Buffer(io.RawIOBase):
    """A buffer as a file, without copying it."""

    def __init__(self, data: memoryview | FileBytes):
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, len(self._data))[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: Any) -> int:
        room = memoryview(target).cast("B")  # some versions of tifffile give arrays of larger items
        piece = self._data[self._at : self._at + len(room)]
        room[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
