"""Opening microscope images from files nobody vouches for."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from glioma_hf.errors import InputError
from glioma_hf.instances import MAX_PIXELS

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
_DIRECT_MODES = ("L", "RGB", "I;16", "I;16B", "I;16L", "I", "F")


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) of an encoded image, from its header alone. Raises `InputError` that names it."""
    with _open(data, name) as image:
        return image.size


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Pixels of an encoded image: uint8 or uint16, (H, W) or (H, W, 3).

    8 and 16 bit, grey, palette and colour (alpha is dropped), TIFF, PNG, JPEG and BMP. Raises `InputError`
    that names the image for anything else, several pages and broken files among them.
    """
    with _open(data, name) as image:
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{name}: the image is damaged ({error}); save it again") from None
        if image.mode == "RGB" and _bits(image, data) == 16:
            return _decode_deep_colour(data, image.format or "", name)
        pixels = np.asarray(image if image.mode in _DIRECT_MODES else image.convert("RGB"))
    if pixels.dtype.kind == "f":
        raise InputError(f"{name}: floating-point pixels; save the image with 8 or 16 bits")
    if pixels.dtype == np.int32:
        if pixels.min() < 0 or pixels.max() > 65535:
            raise InputError(f"{name}: 32-bit pixels; save the image with 8 or 16 bits")
        pixels = pixels.astype(np.uint16)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def decode_labels(data: bytes, name: str) -> np.ndarray:
    """A label map of 8, 16 or 32 bits, int64 (H, W). Raises `InputError` that names it for anything else."""
    with _open(data, name) as image:
        try:
            labels = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{name}: the label map is damaged ({error}); save it again") from None
    if labels.ndim != 2 or labels.dtype.kind == "f":
        raise InputError(
            f"{name}: a label map has one channel of whole numbers, this one is {labels.dtype} of shape {labels.shape}"
        )
    labels = labels.view(np.uint32) if labels.dtype == np.int32 else labels  # Pillow reads 32 bits as signed
    return labels.astype(np.int64)


def read_image(path: str | Path) -> np.ndarray:
    """`decode_image` of a file, or the floating-point pixels of a TIFF. Raises `InputError` where it can't be read.

    A data set has no floating-point images (`decode_image` refuses them); an image to be segmented may be one.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); give an image file") from None
    pixels = _decode_float_tiff(data, str(path))
    return decode_image(data, str(path)) if pixels is None else pixels


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Grey levels for showing: uint8 (H, W). 16 bits are stretched between the 0.1 and 99.9 percentiles."""
    grey = pixels.mean(2) if pixels.ndim == 3 else pixels
    if pixels.dtype == np.uint8:
        return np.asarray(np.round(grey), np.uint8)
    low, high = np.percentile(grey, [0.1, 99.9])
    return np.asarray(np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255, np.uint8)


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per channel in the file; Pillow brings 16-bit colour down to 8."""
    if image.format == "PNG":
        return data[24]
    tags = getattr(image, "tag_v2", {})
    return max(tags.get(258, (8,)))


def _decode_deep_colour(data: bytes, kind: str, name: str) -> np.ndarray:
    import imagecodecs
    import tifffile

    try:
        pixels = imagecodecs.png_decode(data) if kind == "PNG" else tifffile.imread(io.BytesIO(data))
    except Exception as error:  # these libraries raise errors of their own
        raise InputError(f"{name}: the image is damaged ({error}); save it again") from None
    return np.ascontiguousarray(pixels if pixels.shape[-1] == 3 else np.moveaxis(pixels, 0, -1))


def _decode_float_tiff(data: bytes, name: str) -> np.ndarray | None:
    """Float32 (H, W[, channels]) of a TIFF of one page with floating-point pixels, else None."""
    import tifffile

    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            if len(file.pages) != 1 or page.dtype is None or page.dtype.kind != "f":
                return None
            if page.imagewidth * page.imagelength > MAX_PIXELS or page.samplesperpixel > 4:
                raise InputError(f"{name}: {page.shape} is more than {MAX_PIXELS} pixels; crop the image")
            pixels = page.asarray()
    except InputError:
        raise
    except Exception:  # tifffile raises errors of its own; `decode_image` says what is wrong with the file
        return None
    if not np.isfinite(pixels).all():
        raise InputError(f"{name}: it has pixels that are no numbers; replace them and save the image again")
    return (pixels if pixels.ndim == 2 or pixels.shape[-1] <= 4 else np.moveaxis(pixels, 0, -1)).astype(np.float32)


def _open(data: bytes, name: str) -> Image.Image:
    if not data:
        raise InputError(f"{name}: the file is empty; give a TIFF, PNG, JPEG or BMP image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("TIFF", "PNG", "JPEG", "BMP"))
    except Image.DecompressionBombError:
        raise InputError(f"{name}: more than {MAX_PIXELS} pixels; crop the image") from None
    except (OSError, SyntaxError, ValueError, KeyError):
        raise InputError(f"{name}: not a readable image; give TIFF, PNG, JPEG or BMP") from None
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{name}: {image.width} x {image.height} is more than {MAX_PIXELS} pixels; crop the image")
    pages = getattr(image, "n_frames", 1)
    if pages != 1:
        raise InputError(f"{name}: {pages} pages in one image; save the one to use on its own")
    return image
