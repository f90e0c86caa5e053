"""Opening microscope images from files nobody vouches for: one reader for all that opens images here.

What an image's pixels are doesn't depend on who asks: `decode_image`, windows (`WindowReader`), rows that `datasets`
decoded (`pixels_of`), `prepare`, `predict` and the page give the same. That is

- the picture as viewers show it: orientation tags are applied (see `orientation`), MinIsWhite is inverted, CMYK
  and palettes become RGB, 1 bit becomes 0 and 255, fewer than 8 bits are stretched to 8;
- all levels: 9 to 16 bits are uint16 as stored, whole numbers of more bits too where they fit;
- without alpha;
- one image a file: stacks are refused with the number of pages, of a pyramid it is the one in full size.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from glioma_hf.data.jpeg import lacks_rows
from glioma_hf.data.one_image import check_pages, check_pixels
from glioma_hf.data.orientation import known, turn, turn_size
from glioma_hf.data.png import SIGNATURE, PngImage
from glioma_hf.data.tiff import MOST_BYTES, SIGNATURES, TiffImage
from glioma_hf.errors import InputError

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
_FORMATS = "TIFF, PNG, JPEG or BMP"
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
# What else people give, by how it begins.
_OTHERS = {
    b"GIF8": "a GIF",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"ZISRAWFILE": "a CZI",
    b"\xda\xce\xbe\x0a": "an ND2",
    b"<svg": "an SVG",
    b"<html": "an HTML page",
    b"<!DOCTYPE": "an HTML page",
    b"version https://git-lfs": "a pointer of Git LFS in place of the image",
}
_FARTHEST = 1e12  # a floating-point pixel from 0: squares of such, summed over an image, are still float32
_TOO_FAR = f"it has pixels beyond {_FARTHEST:g}, too large to reckon with; divide them and save the image again"
# Of TIFF that isn't read here, what Pillow decodes with 8 bits: CCITT, JPEG of the old kind, WebP; YCbCr and Lab.
_BY_PILLOW = ((2, 3, 4, 6, 50001), (6, 8))


class _PillowImage:
    """An image that Pillow decodes: JPEG and BMP, and what is rare among TIFF."""

    def __init__(self, data: bytes, name: str, kind: str, problem: str = ""):
        self._data, self._name = data, name
        self._problem = problem and f"{name}: {problem}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._image = Image.open(io.BytesIO(data), formats=(kind,))
                frames = getattr(self._image, "n_frames", 1) if kind != "TIFF" else 1
                # Pillow turns a TIFF by itself.
                value = 1 if kind == "TIFF" else self._image.getexif().get(274, 1)
        except Image.DecompressionBombError:
            raise InputError(f"{name}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; crop the image") from None
        except Exception as error:  # what a damaged header leads to can't be listed
            raise InputError(self._problem or f"{name}: a damaged {kind} ({error}); save it again") from None
        self.size, self.orientation = self._image.size, known(value)
        check_pixels(self.size, name)
        check_pages(frames, name)

    def pixels(self) -> np.ndarray:
        """Grey (H, W) or colour (H, W, 3)."""
        try:
            self._image.load()
            stored = np.asarray(self._image)
            cut = self._image.format in ("JPEG", "MPO") and lacks_rows(
                self._data, stored, lambda data: np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)))
            )
        except MemoryError:
            raise InputError(f"{self._name}: its pixels don't fit the memory; crop the image") from None
        except Exception as error:  # libraries raise errors of their own
            raise InputError(self._problem or f"{self._name}: the image is damaged ({error}); save it again") from None
        if cut:
            raise InputError(f"{self._name}: the image is damaged (its last rows are missing); save it again")
        return stored if self._image.mode in ("L", "RGB") else pixels_of(self._image, self._name)


EncodedImage = TiffImage | PngImage | _PillowImage


def open_encoded(data: bytes | memoryview, name: str) -> EncodedImage:
    """An encoded image, by its first bytes; only its header is read. Raises `InputError` as `decode_image` does."""
    if not data:
        raise InputError(f"{name}: the file is empty; give a TIFF, PNG, JPEG or BMP image")
    if bytes(data[:4]) in SIGNATURES:
        image = TiffImage(data, name)
        problem = image.problem()
        compressions, photometrics = _BY_PILLOW
        rare = image.compression in compressions or image.photometric in photometrics
        if not (problem and rare and image.page.bitspersample in (1, 8)):
            return image
        return _PillowImage(bytes(data), name, "TIFF", problem)
    data = bytes(data)
    if data[:8] == SIGNATURE:
        return PngImage(data, name)
    kind = "JPEG" if data[:3] == b"\xff\xd8\xff" else "BMP" if data[:2] == b"BM" else ""
    if kind:
        return _PillowImage(data, name, kind)
    start = bytes(data[:64]).lstrip()
    other = next((said for begin, said in _OTHERS.items() if start.startswith(begin)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        other = "a WebP"
    if data[4:8] == b"ftyp":
        other = "a HEIC, AVIF or video file"
    raise InputError(f"{name}: {other or 'not a readable image'}; give {_FORMATS}")


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) of an encoded image as shown, from its header alone. Raises `InputError` that names it."""
    image = open_encoded(data, name)
    return turn_size(image.size, image.orientation)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Pixels of an encoded image: uint8 or uint16, (H, W) or (H, W, 3); see the module.

    TIFF (also BigTIFF; tiles, strips, planes apart; uncompressed, LZW, deflate, Zstandard, LZMA, PackBits, JPEG),
    PNG, JPEG and BMP. Raises `InputError` that names the image and what is in the way: floating-point, negative
    or too large numbers, several pages, several channels that aren't colours, damage, rows that are missing.
    """
    image = open_encoded(data, name)
    return turn(whole_levels(image.pixels(), name), image.orientation)


def read_image(path: str | Path) -> np.ndarray:
    """`decode_image` of a file, or the floating-point pixels of a TIFF as float32, (H, W) or (H, W, 3).

    A data set has no floating-point images (`decode_image` refuses them); an image to be segmented may be one.
    Raises `InputError` where it can't be read.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: {'a folder' if path.is_dir() else 'not a file'}; give an image file")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes, more than {MOST_BYTES}; crop the image")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); give an image file") from None
    image = open_encoded(data, str(path))
    return turn(levels_or_floats(image.pixels(), str(path)), image.orientation)


def pixels_of(image: Image.Image, name: str = "the image") -> np.ndarray:
    """Pixels of an image that Pillow decoded, such as `row["image"]`, in the form that `decode_image` gives."""
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode.startswith(("I", "F")):
        return whole_levels(np.asarray(image), name)
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB"))


def whole_levels(pixels: np.ndarray, name: str) -> np.ndarray:
    """Pixels as uint8 or uint16 of native byte order. Raises `InputError` for others than whole numbers to 65535."""
    if pixels.dtype.kind == "f":
        raise InputError(f"{name}: floating-point pixels; save the image with 8 or 16 bits")
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    low, high = (int(pixels.min()), int(pixels.max())) if pixels.size else (0, 0)
    if low < 0:
        raise InputError(f"{name}: negative pixels (down to {low}); add what makes them 0 and more, and save it again")
    if high > 65535:
        raise InputError(f"{name}: pixels up to {high}; save the image with 8 or 16 bits")
    return pixels.astype(np.uint8 if pixels.dtype.itemsize == 1 else np.uint16)


def levels_or_floats(pixels: np.ndarray, name: str) -> np.ndarray:
    """`whole_levels`, or floating-point pixels as float32, bounded. Raises `InputError` for others."""
    if pixels.dtype.kind != "f":
        return whole_levels(pixels, name)
    with np.errstate(over="ignore"):
        floats = pixels.astype(np.float32)
    if not np.isfinite(floats).all():
        if np.isfinite(pixels).all():
            raise InputError(f"{name}: {_TOO_FAR}")
        raise InputError(f"{name}: it has pixels that are no numbers; replace them and save the image again")
    if max(floats.max(initial=0), -floats.min(initial=0)) > _FARTHEST:
        raise InputError(f"{name}: {_TOO_FAR}")
    return floats


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Grey levels for showing: uint8 (H, W). 16 bits are stretched between the 0.1 and 99.9 percentiles."""
    grey = pixels.mean(2) if pixels.ndim == 3 else pixels
    if pixels.dtype == np.uint8:
        return np.asarray(np.round(grey), np.uint8)
    low, high = np.percentile(grey, [0.1, 99.9])
    shown = np.empty(grey.shape, np.uint8)
    for top in range(0, len(grey), 256):  # so that no floats of the whole are held
        band = slice(top, top + 256)
        shown[band] = np.clip((grey[band] - low) / max(high - low, 1e-6), 0, 1) * 255
    return shown


def is_litter(name: str) -> bool:
    """Whether a path with forward slashes is what systems leave beside files: hidden, macOS, Windows, Synology.

    >>> is_litter("__MACOSX/cells/._a.tif"), is_litter("cells/Thumbs.db"), is_litter("cells/a.tif")
    (True, True, False)
    """
    parts = PurePosixPath(name).parts
    hidden = any((part.startswith(".") and part != "..") or part in ("__MACOSX", "@eaDir") for part in parts)
    return hidden or (bool(parts) and parts[-1].lower() in _LITTER)
