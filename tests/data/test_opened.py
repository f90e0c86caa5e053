"""Images that are opened, not decoded: their windows are those of the whole, and little is held."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from glioma_hf import InputError
from glioma_hf.data import opened
from glioma_hf.data.images import read_image
from glioma_hf.data.on_disk import FileBytes, SegmentCache
from glioma_hf.data.opened import OpenedImage, open_large, reduced
from glioma_hf.data.tiff import SIGNATURES
from glioma_hf.instances import MAX_RUN_PIXELS
from glioma_hf.models.base import check_image
from tests.doors.test_images import COLOUR, DEEP, FORMS, GREY, HEIGHT, WIDTH, pillow, tiff, turned

BY_PILLOW = ("fax",)
LAYOUTS = {name: data for name, (data, _) in FORMS.items() if data[:4] in SIGNATURES and name not in BY_PILLOW}
LAYOUTS |= {f"turned {value}": turned(value, "TIFF") for value in range(2, 9)}
LAYOUTS |= {
    "floats": tiff(DEEP.astype(np.float64) / 7),
    "floats in tiles": tiff(DEEP.astype(np.float32), compression="zlib", tile=(16, 32)),
    "JPEG in tiles": tiff(COLOUR, photometric="rgb", compression="jpeg", tile=(16, 16)),
    "BigTIFF in tiles": tiff(DEEP, bigtiff=True, compression="zlib", tile=(32, 16)),
    "planes apart in strips": tiff(
        COLOUR.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", compression="lzw", rowsperstrip=5
    ),
}
WINDOWS = st.tuples(*[st.integers(-3, side + 9) for side in (HEIGHT, HEIGHT, WIDTH, WIDTH)])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    for number, data in enumerate(LAYOUTS.values()):
        (folder / f"{number}.tif").write_bytes(data)
    return {name: folder / f"{number}.tif" for number, name in enumerate(LAYOUTS)}


@pytest.mark.parametrize("cached", [0, 700, 2**20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_are_those_of_the_whole(layout, cached, files, monkeypatch):
    monkeypatch.setattr(opened, "CACHED", cached)
    whole = read_image(files[layout])

    @settings(max_examples=15, deadline=None)
    @given(st.lists(WINDOWS, min_size=1, max_size=4))
    def same(windows):
        for top, bottom, left, right in windows:
            part = image[top:bottom, left:right]
            assert np.array_equal(part, whole[top:bottom, left:right])
            assert (part.dtype, part.ndim) == (whole.dtype, whole.ndim)

    with open_large(files[layout], 1) as image:
        assert (image.shape, image.dtype, image.ndim) == (whole.shape, whole.dtype, whole.ndim)
        same()


def test_what_is_small_or_no_such_tiff_is_decoded_whole(tmp_path):
    (tmp_path / "grey.tif").write_bytes(tiff(GREY))
    assert open_large(tmp_path / "grey.tif", GREY.size) is None
    with open_large(tmp_path / "grey.tif", GREY.size - 1) as image:
        assert isinstance(image, OpenedImage)
    (tmp_path / "fax.tif").write_bytes(FORMS["fax"][0])
    (tmp_path / "grey.png").write_bytes(pillow(GREY, "PNG"))
    (tmp_path / "empty.tif").write_bytes(b"")
    for name in ("fax.tif", "grey.png", "empty.tif", "missing.tif", "."):
        assert open_large(tmp_path / name, 1) is None


def test_strips_too_large_to_be_decoded_for_a_window(tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(tiff(DEEP, compression="zlib", rowsperstrip=HEIGHT))
    (tmp_path / "b.tif").write_bytes(tiff(DEEP, rowsperstrip=HEIGHT))  # uncompressed: what is asked for is read
    monkeypatch.setattr(opened, "MOST_SEGMENT", DEEP.nbytes - 1)
    assert open_large(tmp_path / "a.tif", 1) is None
    with open_large(tmp_path / "b.tif", 1) as image:
        assert np.array_equal(image[5:9, :], DEEP[5:9])
    monkeypatch.setattr(opened, "MAX_PIXELS", DEEP.size - 1)
    with pytest.raises(InputError, match=r"a\.tif: 65 x 47 .* strips of 65 x 47 pixels are too large; save it in t"):
        open_large(tmp_path / "a.tif", 1)


def claimed(path, side: int, tile: bytes) -> None:
    """A TIFF that says it is `side` x `side`, each tile of the same few bytes."""
    tiles = (-(-side // 4096)) ** 2
    tifffile.imwrite(
        path,
        iter([tile] * tiles),
        shape=(side, side),
        dtype=np.uint8,
        tile=(4096, 4096),
        compression="zlib",
        photometric="minisblack",
    )


def test_bombs_are_refused(tmp_path):
    claimed(tmp_path / "bomb.tif", 20_000, b"x\x9c\x03\0\0\0\0\x01")
    with pytest.raises(InputError, match=r"bomb\.tif: the image is damaged \(8 bytes can't hold the 16777216 that"):
        open_large(tmp_path / "bomb.tif")
    claimed(tmp_path / "huge.tif", 23_171, b"x\x9c\x03\0\0\0\0\x01")
    with pytest.raises(InputError, match=f"huge.tif: 23171 x 23171 is more than {MAX_RUN_PIXELS} pixels; crop"):
        open_large(tmp_path / "huge.tif")


def test_damage_is_told_where_it_is_met(tmp_path):
    data = tiff(DEEP, compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, count = (values[-1] for values in (file.pages[0].dataoffsets, file.pages[0].databytecounts))
    (tmp_path / "a.tif").write_bytes(data[:start] + b"\xff" * count + data[start + count :])
    with open_large(tmp_path / "a.tif", 1) as image:
        assert np.array_equal(image[:16, :16], DEEP[:16, :16])
        with pytest.raises(InputError, match=r"a\.tif: the image is damaged"):
            image[40:, 60:]
    floats = DEEP.astype(np.float32)
    floats[40, 60] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", floats)
    with open_large(tmp_path / "nan.tif", 1) as image:
        assert np.array_equal(image[:40, :], floats[:40])
        with pytest.raises(InputError, match=r"nan\.tif: it has pixels that are no numbers"):
            image[40:, :]


def test_who_needs_the_whole_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", DEEP)
    with open_large(tmp_path / "a.tif", 1) as image:
        for whole in (np.asarray, check_image):
            with pytest.raises(InputError, match=r"a\.tif: an image that is read window by window can't be had as a"):
                whole(image)


def test_what_is_kept_is_bounded_and_was_used_last():
    cache = SegmentCache(100)
    for index in range(12):
        cache.put(index, np.full(10, index, np.uint8))
        assert cache.get(0) is not None  # used each time, so that it stays
        assert cache.held <= 100
    assert cache.get(1) is cache.get(2) is None
    assert cache.get(11)[0] == 11
    cache.put(99, np.zeros(101, np.uint8))
    assert (cache.held, cache.get(99)) == (0, None)


def test_a_strip_is_decoded_once_for_windows_beside_each_other(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, compression="zlib", rowsperstrip=16)
    decoded = []
    put = SegmentCache.put
    monkeypatch.setattr(
        SegmentCache, "put", lambda cache, index, part: decoded.append(index) or put(cache, index, part)
    )
    with open_large(tmp_path / "a.tif", 1) as image:
        for left in range(0, WIDTH, 8):
            assert np.array_equal(image[10:40, left : left + 8], DEEP[10:40, left : left + 8])
    assert sorted(decoded) == [0, 1, 2]


@pytest.mark.parametrize("factor", [1, 3, 10])
@pytest.mark.parametrize("layout", ["8 bits", "colour", "floats", "turned 6"])
def test_reduced_is_the_mean_of_squares(layout, factor, files, monkeypatch):
    monkeypatch.setattr(opened, "_STEP", 20)
    whole = read_image(files[layout]).astype(np.float64)
    grey = whole.mean(2) if whole.ndim == 3 else whole
    grey = np.pad(grey, [(0, -length % factor) for length in grey.shape], mode="edge")
    expected = grey.reshape(len(grey) // factor, factor, -1, factor).mean((1, 3))
    with open_large(files[layout], 1) as image:
        small = reduced(image, factor)
    assert small.dtype == read_image(files[layout]).dtype
    np.testing.assert_allclose(small, expected, atol=0.51 if small.dtype.kind == "u" else 0.01)


def test_bytes_of_a_file_are_those_of_bytes(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(50)))
    data = FileBytes((tmp_path / "a").open("rb"))
    assert len(data) == 50
    for part in (slice(4), slice(3, 9), slice(40, 70), slice(60, 70), slice(9, 3)):
        assert data[part] == bytes(range(50))[part]
    data.close()
