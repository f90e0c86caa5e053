"""Images as rows of a data set hold them: `datasets`, which decodes them by Pillow, is to give the same pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from glioma_hf.data.images import EncodedImage, open_encoded, pixels_of, whole_levels
from glioma_hf.data.orientation import UPRIGHT, is_ambiguous, turn, turn_size
from glioma_hf.data.png import GREY_ALPHA, PngImage
from glioma_hf.data.tiff import DEFLATE, JPEG, LZW, MIN_IS_BLACK, NONE, OLD_DEFLATE, PACKBITS, RGB, TiffImage
from glioma_hf.errors import InputError


def row_image(data: bytes, name: str, said: tuple[int, int] | None = None) -> tuple[bytes, tuple[int, int]]:
    """Encoded image for a row, upright, and its (width, height).

    It is the image's own bytes, or a TIFF of its pixels where the file has an orientation tag or Pillow gives other
    pixels than `decode_image` (16 bits of MinIsWhite or with alpha, CMYK of 16 bits ...). Of colour with 16 bits
    Pillow gives the upper 8.

    Objects belong to the picture as it is shown, with its tag applied, or as it is stored: `said`, the (width, height)
    that their table or label map has, tells. Where it fits both (the tag turns upside down or mirrors, the image is
    square) nothing tells, which is refused; without objects (`said` None) the picture is the one shown.

    Raises `InputError` for this, for what `decode_image` refuses and for more pixels than Pillow decodes.
    """
    image = open_encoded(data, name)
    shown = turn_size(image.size, image.orientation)
    if said == shown and is_ambiguous(image.size, image.orientation):
        raise InputError(
            f"{name}: its orientation tag ({image.orientation}) turns it for viewers, and nothing says whether its "
            "objects were drawn on it turned or as stored; save it without the tag, the way the objects lie"
        )
    most = 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
    if image.size[0] * image.size[1] > most:
        raise InputError(f"{name}: more than {most} pixels, which `datasets` doesn't decode; crop the image")
    as_stored = said == image.size and said != shown
    pixels = turn(whole_levels(image.pixels(), name), UPRIGHT if as_stored else image.orientation)
    own = image.orientation == UPRIGHT and (_is_plain(image) or _pillow_agrees(data, image, pixels))
    return (data if own else _as_tiff(pixels)), (pixels.shape[1], pixels.shape[0])


def decoded_pixels(image: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """Pixels of a row's image that `datasets` decoded, in any of its formats, in the form of `decode_image`.

    Args:
        image: Pillow's, or an array or tensor (H, W), (H, W, C) or (C, H, W).
        size: (height, width) of the row.

    Raises `InputError` for an image of another size.
    """
    if isinstance(image, Image.Image):
        pixels = pixels_of(image, name)
    else:
        pixels = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
        if pixels.ndim == 3 and pixels.shape[1:] == size and pixels.shape[0] <= 4:
            pixels = pixels.transpose(1, 2, 0)
        if pixels.ndim == 3:
            pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
        pixels = whole_levels(pixels, name)
    if pixels.shape[:2] != size:
        raise InputError(
            f"{name}: the row says {size[1]} x {size[0]} pixels, its image has {pixels.shape[1::-1]}; prepare it again"
        )
    return pixels


def _is_plain(image: EncodedImage) -> bool:
    """Whether Pillow is known to give the same, which needn't be tried then."""
    if isinstance(image, PngImage):
        return image.bits < 16 or image.colour != GREY_ALPHA
    if not isinstance(image, TiffImage):
        return True  # Pillow it was
    page = image.page
    return (
        image.first
        and not page.parent.is_bigtiff
        and page.dtype in (np.uint8, np.uint16)
        and page.bitspersample in (8, 16)
        and page.photometric == image.photometric
        and (image.photometric, page.samplesperpixel) in ((MIN_IS_BLACK, 1), (RGB, 3))
        and image.compression in (NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS)
        and page.fillorder == 1
        and (page.planarconfig == 1 or page.samplesperpixel == 1)
    )


def _pillow_agrees(data: bytes, image: EncodedImage, pixels: np.ndarray) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            shown = pixels_of(opened)
    except Exception:  # what Pillow doesn't read
        return False
    if pixels.ndim == 3 and pixels.dtype == np.uint16 and shown.dtype == np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if isinstance(image, TiffImage) and image.compression == JPEG and shown.shape == pixels.shape:
        return bool(np.abs(shown.astype(int) - pixels).mean() < 1)  # two decoders may round differently
    return shown.dtype == pixels.dtype and np.array_equal(shown, pixels)


def _as_tiff(pixels: np.ndarray) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(buffer, pixels, photometric=photometric, compression="zlib", metadata=None, software=False)
    return buffer.getvalue()
