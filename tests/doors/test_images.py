"""The door for images: one scene in every form that people save it, given by every reader as the same pixels."""

from __future__ import annotations

import io
import itertools
import json

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from glioma_hf import InputError
from glioma_hf.data.images import decode_image, image_size, is_litter, pixels_of, read_image
from glioma_hf.data.row_images import row_image
from glioma_hf.data.windows import WindowReader
from glioma_hf.models.base import check_image

HEIGHT, WIDTH = 47, 65
RNG = np.random.default_rng(0)
DEEP = np.round(1000 + 3000 * RNG.random((HEIGHT, WIDTH))).astype(np.uint16)
GREY = (DEEP // 16).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DEEP_COLOUR = COLOUR.astype(np.uint16) * 257
BITS = DEEP > 2500
FULL8, FULL16 = np.full_like(GREY, 255), np.full_like(DEEP, 65535)
GREYS = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)
INVERTED = GREYS[:, ::-1].copy()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def pillow(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def pyramid() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, ome=False) as file:
        file.write(DEEP, tile=(32, 32))
        file.write(DEEP[::2, ::2], subfiletype=1, tile=(32, 32))
    return buffer.getvalue()


def thumbnail_first() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(GREY[::4, ::4], subfiletype=1)
        file.write(GREY)
    return buffer.getvalue()


def grey_of_three(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, 2)


def multiplied(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours as a file with associated alpha holds them."""
    return np.dstack([np.round(colour * (alpha[..., None] / 255)), alpha]).astype(np.uint8)


FORMS: dict[str, tuple[bytes, np.ndarray]] = {
    "8 bits": (tiff(GREY), GREY),
    "16 bits": (tiff(DEEP), DEEP),
    "16 bits, most significant first": (tiff(DEEP, byteorder=">", rowsperstrip=5), DEEP),
    "BigTIFF": (tiff(DEEP, bigtiff=True), DEEP),
    "BigTIFF, most significant first, tiles": (tiff(DEEP, bigtiff=True, byteorder=">", tile=(16, 32)), DEEP),
    "LZW with a predictor": (tiff(DEEP, compression="lzw", predictor=True, rowsperstrip=7), DEEP),
    "deflate, tiles": (tiff(GREY, compression="zlib", tile=(16, 16)), GREY),
    "Zstandard": (tiff(DEEP, compression="zstd"), DEEP),
    "LZMA": (tiff(DEEP, compression="lzma"), DEEP),
    "PackBits": (tiff(DEEP, compression="packbits"), DEEP),
    "signed": (tiff(DEEP.astype(np.int16)), DEEP),
    "32 bits": (tiff(DEEP.astype(np.uint32)), DEEP),
    "64 bits": (tiff(DEEP.astype(np.uint64)), DEEP),
    "signed 64 bits": (tiff(DEEP.astype(np.int64)), DEEP),
    "MinIsWhite, 8 bits": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "MinIsWhite, 16 bits": (tiff(65535 - DEEP, photometric="miniswhite", compression="zlib"), DEEP),
    "1 bit": (pillow(BITS, "TIFF"), BITS * np.uint8(255)),
    "1 bit, MinIsWhite": (tiff(~BITS, photometric="miniswhite"), BITS * np.uint8(255)),
    "fax": (pillow(BITS, "TIFF", compression="group4"), BITS * np.uint8(255)),
    "colour": (tiff(COLOUR, photometric="rgb"), COLOUR),
    "colour, planes apart": (
        tiff(COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
        COLOUR,
    ),
    "colour, planes apart in tiles": (
        tiff(DEEP_COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", tile=(16, 32)),
        DEEP_COLOUR,
    ),
    "colour of 16 bits": (tiff(DEEP_COLOUR, photometric="rgb"), DEEP_COLOUR),
    "colour with alpha": (tiff(np.dstack([COLOUR, FULL8]), photometric="rgb", extrasamples=["unassalpha"]), COLOUR),
    "colour of 16 bits with alpha": (
        tiff(np.dstack([DEEP_COLOUR, DEEP]), photometric="rgb", extrasamples=["unassalpha"]),
        DEEP_COLOUR,
    ),
    "grey with alpha": (tiff(np.dstack([DEEP, FULL16]), photometric="minisblack", extrasamples=["unassalpha"]), DEEP),
    "palette": (tiff(GREY, photometric="palette", colormap=GREYS), grey_of_three(GREY)),
    "palette of another order": (tiff(255 - GREY, photometric="palette", colormap=INVERTED), grey_of_three(GREY)),
    "pyramid": (pyramid(), DEEP),
    "a thumbnail before it": (thumbnail_first(), GREY),
    "ImageJ": (tiff(DEEP, imagej=True), DEEP),
    "OME": (tiff(DEEP, ome=True, metadata={"axes": "YX"}), DEEP),
    "PNG": (pillow(GREY, "PNG"), GREY),
    "PNG of 16 bits": (pillow(DEEP, "PNG"), DEEP),
    "PNG of 1 bit": (pillow(BITS, "PNG"), BITS * np.uint8(255)),
    "PNG in colour": (pillow(COLOUR, "PNG"), COLOUR),
    "PNG in colour of 16 bits": (imagecodecs.png_encode(DEEP_COLOUR), DEEP_COLOUR),
    "PNG in colour of 16 bits with alpha": (imagecodecs.png_encode(np.dstack([DEEP_COLOUR, DEEP])), DEEP_COLOUR),
    "PNG, grey with alpha": (pillow(Image.fromarray(np.dstack([GREY, FULL8]), "LA"), "PNG"), GREY),
    "PNG, grey of 16 bits with alpha": (imagecodecs.png_encode(np.dstack([DEEP, FULL16])), DEEP),
    "PNG, palette": (pillow(Image.fromarray(GREY).convert("P"), "PNG"), grey_of_three(GREY)),
    "BMP": (pillow(GREY, "BMP"), GREY),
    "BMP in colour": (pillow(COLOUR, "BMP"), COLOUR),
}


def shown_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return pixels_of(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("form", FORMS)
def test_every_reader_gives_the_same_pixels(form, tmp_path):
    data, scene = FORMS[form]
    decoded = decode_image(data, "x")
    assert decoded.dtype == scene.dtype
    assert np.array_equal(decoded, scene)
    assert image_size(data, "x") == (WIDTH, HEIGHT)
    (tmp_path / "cells.tif").write_bytes(data)
    assert np.array_equal(read_image(tmp_path / "cells.tif"), scene)
    reader = WindowReader(data, "x")
    for top, left, height, width in [(0, 0, HEIGHT, WIDTH), (5, 17, 20, 30), (30, 40, 64, 64), (33, 1, 1, 1)]:
        window = reader.read(top, left, height, width)
        assert window.dtype == scene.dtype
        assert np.array_equal(window, scene[top : top + height, left : left + width])


@pytest.mark.parametrize("form", FORMS)
def test_rows_give_the_same_pixels_through_pillow(form):
    data, scene = FORMS[form]
    kept, size = row_image(data, "x")
    assert size == (WIDTH, HEIGHT)
    assert np.array_equal(decode_image(kept, "x"), scene)
    # Pillow, by which `datasets` decodes, has 8 bits for colours.
    assert np.array_equal(shown_by_pillow(kept), scene if scene.ndim == 2 else (scene >> 8 * (scene.itemsize - 1)))


def test_alpha_that_colours_were_multiplied_by_is_taken_out():
    alpha = np.full((HEIGHT, WIDTH), 128, np.uint8)
    data = tiff(multiplied(COLOUR, alpha), photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(decode_image(data, "x").astype(int) - COLOUR).max() <= 1


def test_inks_of_8_and_16_bits_are_colours_with_all_levels():
    inks = np.dstack([DEEP_COLOUR, np.zeros_like(DEEP)])
    assert np.array_equal(decode_image(tiff(inks, photometric="separated"), "x"), 65535 - DEEP_COLOUR)
    half = np.dstack([np.zeros_like(DEEP_COLOUR), DEEP])
    assert np.array_equal(decode_image(tiff(half, photometric="separated"), "x"), grey_of_three(65535 - DEEP))
    inks8 = np.dstack([COLOUR, np.zeros_like(GREY)])
    assert np.array_equal(decode_image(tiff(inks8, photometric="separated"), "x"), 255 - COLOUR)


def test_jpeg_in_any_container_is_close():
    smooth = np.round(np.hypot(*np.mgrid[:HEIGHT, :WIDTH]) * 2).astype(np.uint8)
    for data in (
        pillow(smooth, "JPEG", quality=95),
        pillow(smooth, "JPEG", quality=95, progressive=True),
        tiff(smooth, compression="jpeg"),
        tiff(grey_of_three(smooth), photometric="rgb", compression="jpeg", tile=(16, 16)),
        pillow(Image.fromarray(smooth).convert("CMYK"), "JPEG", quality=95),
    ):
        decoded = decode_image(data, "x")
        assert np.abs((decoded if decoded.ndim == 2 else decoded.mean(2)) - smooth.astype(float)).max() < 12
        kept, _ = row_image(data, "x")
        assert kept == data


@pytest.mark.parametrize("pixels", [DEEP.astype(np.float16), DEEP.astype(np.float32), DEEP.astype(np.float64)])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "zlib", "predictor": 3}])
def test_floats_are_for_predict_alone(pixels, options, tmp_path):
    data = tiff(pixels, **options)
    (tmp_path / "f.tif").write_bytes(data)
    floats = read_image(tmp_path / "f.tif")
    assert floats.dtype == np.float32
    assert np.array_equal(floats, pixels.astype(np.float32))
    check_image(floats)
    with pytest.raises(InputError, match="x: floating-point pixels; save the image with 8 or 16 bits"):
        decode_image(data, "x")


def stack(**options) -> bytes:
    return tiff(np.stack([DEEP + i for i in range(5)]), photometric="minisblack", **options)


def cut(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


def short_png() -> bytes:
    """48 rows by its header, 10 of them in it, and every checksum right."""
    import struct
    import zlib

    rows = b"".join(b"\0" + bytes([row] * 64) for row in range(10))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 64, 48, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "text": (b"just text", "not a readable image; give TIFF, PNG, JPEG or BMP"),
    "pages": (stack(), "5 pages in one image; save the one to use on its own"),
    "a stack of ImageJ": (stack(imagej=True, metadata={"axes": "ZYX"}), "5 pages in one image"),
    "a stack of ImageJ in one page": (stack(imagej=True, truncate=True, metadata={"axes": "ZYX"}), "5 pages in one"),
    "a stack of tifffile in one page": (stack(truncate=True), "5 pages in one image"),
    "a volume": (stack(volumetric=True, metadata=None, tile=(5, 16, 16)), "5 pages in one image"),
    "an animation": (
        pillow(Image.fromarray(GREY), "PNG", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
        "2 pages in one image",
    ),
    "two channels": (tiff(np.dstack([DEEP, DEEP]), photometric="minisblack", planarconfig="contig"), "it has 2 chann"),
    "channels apart": (tiff(np.stack([DEEP] * 3), photometric="minisblack", planarconfig="separate"), "3 channels"),
    "negative": (tiff(DEEP.astype(np.int16) - 2000), r"negative pixels \(down to -\d+\)"),
    "large": (tiff(DEEP.astype(np.uint32) * 1000), r"pixels up to \d+; save the image with 8 or 16 bits"),
    "complex": (tiff(DEEP.astype(np.complex64)), "pixels of 64 bits and the sample format"),
    "JPEG 2000 in TIFF": (tiff(DEEP, compression="jpeg2000"), "compressed by JPEG2000, which isn't read here"),
    "GIF": (pillow(GREY, "GIF"), "a GIF; give TIFF"),
    "WebP": (pillow(COLOUR, "WEBP"), "a WebP; give TIFF"),
    "JPEG 2000": (pillow(GREY, "JPEG2000"), "a JPEG 2000; give TIFF"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS"),
    "NumPy": (b"\x93NUMPY\x01\0", "a NumPy array"),
    "no page": (b"II*\0\0\0\0\0", "the TIFF's header is damaged"),
    "cut TIFF": (cut(tiff(DEEP)), "damaged"),
    "cut strips": (cut(tiff(DEEP, compression="zlib", rowsperstrip=8)), "damaged"),
    "cut PNG": (cut(pillow(GREY, "PNG")), "damaged"),
    "10 of 48 rows": (short_png(), "damaged"),
    "cut JPEG": (cut(pillow(COLOUR, "JPEG"), 0.5), "damaged"),
    "cut JPEG with its end": (cut(pillow(COLOUR, "JPEG"), 0.5) + b"\xff\xd9", "damaged"),
    "cut BMP": (cut(pillow(GREY, "BMP")), "damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_in_the_way_is_said(kind, tmp_path):
    data, says = REFUSED[kind]
    file = tmp_path / "cells.tif"
    file.write_bytes(data)
    readers = (
        lambda: decode_image(data, "cells.tif"),
        lambda: row_image(data, "cells.tif"),
        lambda: WindowReader(data, "cells.tif").read(0, 0, 1000, 1000),
        lambda: read_image(file),
    )
    for reader in readers:
        with pytest.raises(InputError, match=rf"cells\.tif: .*{says}|cells\.tif: {says}") as told:
            reader()
        assert "\n" not in str(told.value)


def test_a_text_older_than_the_file_doesnt_make_it_a_stack():
    text = b"ImageJ=1.54\nimages=5\nslices=5\n"
    assert np.array_equal(decode_image(tiff(DEEP, description=text, metadata=None), "x"), DEEP)


def turned(value: int, kind: str) -> bytes:
    if kind == "TIFF":
        return tiff(COLOUR, photometric="rgb", extratags=[(274, "H", 1, value, True)], metadata=None, rowsperstrip=8)
    exif = Image.Exif()
    exif[274] = value
    return pillow(COLOUR, kind, exif=exif)


@pytest.mark.parametrize(("value", "kind"), list(itertools.product(range(1, 9), ("TIFF", "PNG", "JPEG"))))
def test_orientation_is_applied_as_viewers_do(value, kind):
    data = turned(value, kind)
    decoded, upright = decode_image(data, "x"), decode_image(turned(1, kind), "x")
    with Image.open(io.BytesIO(data)) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert decoded.shape == shown.shape
    assert np.abs(decoded.astype(int) - shown).mean() < 1
    assert sorted(decoded.shape[:2]) == sorted(upright.shape[:2])
    assert image_size(data, "x") == shown.shape[1::-1]
    window = WindowReader(data, "x").read(5, 3, 20, 30)
    assert np.array_equal(window, decoded[5:25, 3:33])
    kept, size = row_image(data, "x")
    assert size == decoded.shape[1::-1]
    assert np.array_equal(decode_image(kept, "x"), decoded)
    assert np.array_equal(shown_by_pillow(kept), decoded)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_the_size_of_objects_tells_which_picture_they_belong_to(kind):
    stored, upright = decode_image(turned(1, kind), "x"), decode_image(turned(6, kind), "x")
    kept, size = row_image(turned(6, kind), "x", (WIDTH, HEIGHT))
    assert size == (WIDTH, HEIGHT)
    assert np.array_equal(decode_image(kept, "x"), stored)
    kept, size = row_image(turned(6, kind), "x", (HEIGHT, WIDTH))
    assert size == (HEIGHT, WIDTH)
    assert np.array_equal(decode_image(kept, "x"), upright)
    for value in (2, 3, 4):
        with pytest.raises(InputError, match=rf"x: its orientation tag \({value}\) .* save it without the tag"):
            row_image(turned(value, kind), "x", (WIDTH, HEIGHT))
    # One that says nothing is the image's own bytes.
    assert row_image(turned(1, kind), "x", (WIDTH, HEIGHT))[0] == turned(1, kind)


def test_prepared_rows_crops_and_masks_agree_on_turned_images(tmp_path):
    from datasets import Image as Encoded
    from datasets import load_dataset

    from glioma_hf.data.features import instances_of
    from glioma_hf.data.prepare import prepare

    scene = np.full((80, 120), 60, np.uint8)
    scene[10:30, 15:40] = 220
    images = tmp_path / "archive" / "images"
    images.mkdir(parents=True)
    exif = Image.Exif()
    exif[274] = 6
    (images / "a.png").write_bytes(pillow(scene, "PNG", exif=exif))
    (images / "b.tif").write_bytes(tiff(scene, extratags=[(274, "H", 1, 6, True)], metadata=None))
    (images / "._a.png").write_bytes(b"litter")
    as_stored = [15, 10, 40, 10, 40, 30, 15, 30]
    as_shown = [v for x, y in zip(as_stored[::2], as_stored[1::2], strict=True) for v in (80 - y, x)]
    coco = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 120, "height": 80},
            {"id": 2, "file_name": "b.tif", "width": 80, "height": 120},
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": [p], "area": 500, "iscrowd": 0}
            | {"bbox": [min(p[::2]), min(p[1::2]), max(p[::2]) - min(p[::2]), max(p[1::2]) - min(p[1::2])]}
            for i, p in ((1, as_stored), (2, as_shown))
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "archive" / "anno_test.json").write_text(json.dumps(coco))
    prepare(str(tmp_path / "archive"), str(tmp_path / "data"))
    rows = load_dataset(str(tmp_path / "data"), "spec", split="test", cache_dir=str(tmp_path / "cache"))
    assert [(row["width"], row["height"]) for row in rows] == [(120, 80), (80, 120)]
    for row, encoded in zip(rows, rows.cast_column("image", Encoded(decode=False)), strict=True):
        mask = next(iter(instances_of(row).to_masks()))
        for pixels in (np.asarray(row["image"]), decode_image(encoded["image"]["bytes"], "x")):
            assert (pixels[mask] == 220).all()
            assert (pixels[~mask] == 60).all()


@pytest.mark.parametrize(
    ("name", "litter"),
    [
        ("__MACOSX/cells/._a.tif", True),
        ("cells/.DS_Store", True),
        ("cells/Thumbs.db", True),
        ("cells/@eaDir/a.tif", True),
        ("cells/a.tif", False),
        ("../cells/a.tif", False),
        ("cells/Thumbs.tif", False),
    ],
)
def test_what_systems_leave_beside_files(name, litter):
    assert is_litter(name) is litter
