"""PNG: its chunks walked with bounds, its pixels decoded strictly and with all their levels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from glioma_hf.data.one_image import check_pages, check_pixels
from glioma_hf.data.orientation import UPRIGHT, known
from glioma_hf.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
_MOST_CHUNKS = 2**20
_MOST_RATIO = 1100  # of unpacked to packed bytes, beyond what deflate can do


class PngImage:
    """One PNG; its header is checked, its pixels are decoded when asked for.

    Attributes:
        size: (width, height) as stored.
        bits: per sample.
        colour: the specification's colour type.
        orientation: 1 to 8, from its metadata.

    Raises `InputError` for a damaged header, too many pixels and several frames.
    """

    def __init__(self, data: bytes, name: str):
        self._data, self._name = data, name
        if len(data) < 33 or data[12:16] != b"IHDR":
            raise self._damaged("it has no header")
        self.size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        self.bits, self.colour = data[24], data[25]
        if self.colour not in _SAMPLES or self.bits not in (1, 2, 4, 8, 16) or min(self.size) < 1:
            raise self._damaged(f"{self.size[0]} x {self.size[1]} pixels of colour type {self.colour}")
        check_pixels(self.size, name)
        self.orientation = self._walk()

    def _walk(self) -> int:
        """The orientation, by Pillow where there is metadata; checks what the chunks say."""
        data, at, packed, told, late = self._data, 8, 0, False, False
        for _ in range(_MOST_CHUNKS):
            length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            if kind == b"IDAT":
                packed += min(length, len(data) - at)
            elif kind == b"acTL":
                check_pages(int.from_bytes(data[at + 8 : at + 12], "big"), self._name)
            elif kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                start = data[at + 8 : at + 40]
                if kind == b"eXIf" or start.startswith((b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")):
                    told, late = True, late or packed > 0
            at += length + 12
            if kind == b"IEND" or at >= len(data):
                break
        else:
            raise self._damaged(f"over {_MOST_CHUNKS} chunks")
        wanted = self.size[0] * self.size[1] * self.bits * _SAMPLES[self.colour] // 8
        if wanted > _MOST_RATIO * (packed + 16):
            raise self._damaged(f"{packed} bytes can't hold the pixels that the header says")
        if not told:
            return UPRIGHT
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                # Metadata behind the pixels is read with them.
                value = (image if late else _Header(image)).getexif().get(274, 1)
        except Exception as error:  # libraries raise errors of their own
            raise self._damaged(error) from None
        return known(value)

    def stored(self) -> np.ndarray:
        """Samples, uint8 or uint16: (H, W) or (H, W, samples); a palette's indices; grey of few bits unstretched."""
        samples = self._decoded()
        if self.colour == PALETTE:
            try:
                with Image.open(io.BytesIO(self._data), formats=("PNG",)) as image:
                    return np.asarray(image)
            except Exception as error:  # libraries raise errors of their own
                raise self._damaged(error) from None
        if self.colour == GREY:
            grey = samples[..., 0] if samples.ndim == 3 else samples  # one transparent level makes an alpha channel
            return grey // (255 // (2**self.bits - 1)) if self.bits < 8 else grey
        return samples

    def pixels(self) -> np.ndarray:
        """Grey (H, W) or colour (H, W, 3), uint8 or uint16, without alpha."""
        samples = self._decoded()
        if samples.ndim == 2:
            return samples
        return np.ascontiguousarray(samples[..., :3] if samples.shape[2] > 2 else samples[..., 0])

    def palette(self) -> np.ndarray | None:
        """uint8 (colours, 3) of a palette image, else None."""
        at = self._data.find(b"PLTE")
        if self.colour != PALETTE or at < 0:
            return None
        length = int.from_bytes(self._data[at - 4 : at], "big")
        return np.frombuffer(self._data[at + 4 : at + 4 + length // 3 * 3], np.uint8).reshape(-1, 3)

    def _decoded(self) -> np.ndarray:
        import imagecodecs

        try:
            return np.asarray(imagecodecs.png_decode(self._data))
        except Exception as error:  # libraries raise errors of their own
            raise self._damaged(error) from None

    def _damaged(self, why: object) -> InputError:
        return InputError(f"{self._name}: the image is damaged ({why}); save it again")


class _Header:
    """An opened image whose pixels aren't decoded for its metadata."""

    def __init__(self, image: Image.Image):
        self._image = image

    def getexif(self) -> Image.Exif:
        return Image.Image.getexif(self._image)
