"""Zips, folders and npz files that nobody vouches for: each answer is bytes, or a sentence with archive and member."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import socket
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from glioma_hf import InputError
from glioma_hf.data.prepare import prepare
from glioma_hf.data.sources import zip_member
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.npz import open_npz
from tests.data.sources.test_glioma_c6 import annotation, rows_of, tiff

TIFF = tiff(np.zeros((16, 20), np.uint8))
TEXT = b"some bytes " * 1000


def coco(file_name: str = "a.tif", **changes) -> bytes:
    base = {
        "images": [{"id": 1, "file_name": file_name, "width": 20, "height": 16}],
        "annotations": [annotation()],
        "categories": [{"id": 1, "name": "cell"}],
    }
    return json.dumps(base | changes, ensure_ascii=False).encode()


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def changed(path: Path, **fields: int) -> Path:
    """The zip with other values in its one member's entries: `flag`, `method`, `size`, `packed`, `crc`, `version`."""
    local = {"version": (4, "H"), "flag": (6, "H"), "method": (8, "H"), "crc": (14, "I"), "packed": (18, "I")}
    central = {name: (at + 2, kind) for name, (at, kind) in local.items()}
    local["size"], central["size"] = (22, "I"), (24, "I")
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\1\2")
    for name, value in fields.items():
        for start, places in ((0, local), (directory, central)):
            at, kind = places[name]
            struct.pack_into(f"<{kind}", data, start + at, value)
    path.write_bytes(data)
    return path


def bomb(method: int, size: int) -> bytes:
    """Zeros as a zip has them by a method; a thousandth as long, or far less."""
    piece = bytes(2**20)
    if method == zipfile.ZIP_DEFLATED:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        head = b""
    elif method == zipfile.ZIP_BZIP2:
        squeeze, head = bz2.BZ2Compressor(), b""
    else:
        chain = [{"id": lzma.FILTER_LZMA1, "dict_size": 2**20, "lc": 3, "lp": 0, "pb": 2}]
        squeeze, head = (
            lzma.LZMACompressor(lzma.FORMAT_RAW, filters=chain),
            struct.pack("<HHBI", 9 + 4 * 256, 5, 93, 2**20),
        )
    return head + b"".join(squeeze.compress(piece) for _ in range(size // 2**20)) + squeeze.flush()


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_every_usual_compression_is_read(tmp_path, method):
    with Archive(packed(tmp_path / "a.zip", {"b": TEXT, "empty": b""}, method)) as archive:
        assert archive.read("b") == TEXT
        assert archive.read("empty") == b""
        assert archive.open("b").read() == TEXT


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("claimed", [1000, 2**20])
def test_what_grows_beyond_its_size_is_stopped_as_it_runs(tmp_path, method, claimed):
    import tracemalloc

    data = bomb(method, 64 * 2**20)
    path = packed(tmp_path / "a.zip", {"b": data}, zipfile.ZIP_STORED)
    changed(path, method=method, size=claimed)
    for read in (Archive.read, Archive.open):
        with Archive(path) as archive:
            tracemalloc.start()
            with pytest.raises(InputError, match=r"a\.zip: b can't be read \(it isn't what it says it is\)"):
                read(archive, "b")
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
            tracemalloc.stop()


CHANGES = [
    ({"size": 20_000}, "b ends after 11000 of 20000 bytes"),
    ({"size": 2**31}, "b holds 2147483648 bytes, more than the 536870912 allowed"),
    ({"size": 10_999}, "b can't be read"),
    ({"crc": 1}, "b can't be read"),
    ({"packed": 5}, "b "),
    ({"packed": 2**32 - 2}, "b "),
    ({"flag": 1}, "b is encrypted; pack it again without a password"),
    ({"method": 9}, r"b is compressed in a way that isn't read \(method 9\); pack it again"),
    ({"method": 93}, "method 93"),
    ({"method": 12}, "b "),
    ({"method": 14}, "b "),
    ({"flag": 0x20}, "b "),
    ({"flag": 0x40}, "b "),
]


@pytest.mark.parametrize(("change", "says"), CHANGES)
def test_what_a_zip_says_wrongly_is_named(tmp_path, change, says):
    path = changed(packed(tmp_path / "a.zip", {"b": TEXT}), **change)
    with pytest.raises(InputError, match=says) as caught, Archive(path) as archive:
        archive.read("b")
    assert str(caught.value).startswith(str(path))


def test_lzma_can_t_ask_for_all_memory(tmp_path):
    data = struct.pack("<HHBI", 9, 5, 93, 2**32 - 1) + bytes(100)
    path = changed(packed(tmp_path / "a.zip", {"b": data}, zipfile.ZIP_STORED), method=14, size=1000)
    with pytest.raises(InputError, match="b asks for 4294967295 bytes"), Archive(path) as archive:
        archive.read("b")


def test_every_damaged_byte_is_answered(tmp_path):
    whole = packed(tmp_path / "a.zip", {"b": TEXT, "c/d.txt": b"1"}).read_bytes()
    path = tmp_path / "b.zip"
    refused = []
    for at in range(len(whole)):
        for value in (0, 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                with Archive(path) as archive:
                    for name in archive.names:
                        archive.read(name)
            except InputError as error:
                refused.append(str(error))
    assert len(refused) > 200
    assert all(message.startswith(str(path)) for message in refused)


def named(path: Path, name: bytes) -> Path:
    """A zip whose one member has these bytes as its name."""
    data = packed(path, {"x" * len(name): b"1"}).read_bytes()
    path.write_bytes(data.replace(b"x" * len(name), name))
    return path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (b"a\0b", r"a member is called 'a\\x00b'"),
        (b"/etc/passwd", "leads out of the archive"),
        (b"C:/a.tif", "leads out of the archive"),
        (b"C:\\a.tif", "leads out of the archive"),
        (b"a/../../b", "leads out of the archive"),
        (b"a\\..\\..\\b", "leads out of the archive"),
    ],
)
def test_names_that_lead_astray_are_refused(tmp_path, name, says):
    with pytest.raises(InputError, match=says):
        Archive(named(tmp_path / "a.zip", name))


def test_a_member_without_a_name_is_refused(tmp_path):
    data = packed(tmp_path / "a.zip", {"xx": b""}).read_bytes()
    data = data.replace(b"xx", b"").replace(struct.pack("<H", 2) + struct.pack("<H", 0), bytes(4))
    end = data.index(b"PK\5\6")
    at = data.index(b"PK\1\2")
    tail = bytearray(data[end:])
    struct.pack_into("<II", tail, 12, end - at, at)
    (tmp_path / "a.zip").write_bytes(data[:end] + tail)
    with pytest.raises(InputError, match="a member is called ''"):
        Archive(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("Präparat.tif".encode(), "Präparat.tif"),  # as macOS writes it, without the flag
        ("Präparat.tif".encode("cp437"), "Präparat.tif"),
        (b"\xff\xfe.tif", b"\xff\xfe.tif".decode("cp437")),
        (b"dataset\\a.tif", "dataset/a.tif"),
        (b"x" * 300, "x" * 300),
    ],
)
def test_names_are_read_as_they_were_meant(tmp_path, stored, read):
    path = tmp_path / "a.zip"
    if stored == b"x" * 300:
        packed(path, {read: b"1"})
    else:
        named(path, stored)
    with Archive(path) as archive:
        assert archive.names == [read]
        assert archive.read(read) == b"1"


@pytest.mark.parametrize("other", ["b", "b\\", "B"])
def test_a_member_that_is_there_twice(tmp_path, other):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("b", b"1")
        with pytest.warns(UserWarning, match="Duplicate") if other == "b" else _nothing():
            file.writestr(other, b"2")
    if other == "B":
        with Archive(tmp_path / "a.zip") as archive:
            assert (archive.read("b"), archive.read("B")) == (b"1", b"2")
    elif other == "b":
        with pytest.raises(InputError, match=r"a\.zip: b is in it twice; keep one"):
            Archive(tmp_path / "a.zip")


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_a_link_in_a_zip_is_no_image(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("a.tif")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match=r"a\.tif is a link"), Archive(tmp_path / "a.zip") as archive:
        archive.read("a.tif")


def test_a_zip_of_endless_members_is_refused_before_they_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_member, "MAX_DIRECTORY", 5000)
    packed(tmp_path / "a.zip", {f"{k}": b"" for k in range(60)})
    assert len(Archive(tmp_path / "a.zip").names) == 60
    packed(tmp_path / "b.zip", {f"{k}": b"" for k in range(200)})
    with pytest.raises(InputError, match=r"b\.zip: its list of members takes \d+ bytes, at most 5000 are read"):
        Archive(tmp_path / "b.zip")


def test_zip64_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, file.open("b", "w", force_zip64=True) as member:
        member.write(TEXT)
    with Archive(tmp_path / "a.zip") as archive:
        assert archive.read("b") == TEXT


# -- folders ----------------------------------------------------------------------------------


def test_what_is_no_file_is_passed_over_or_named(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"1")
    os.mkfifo(folder / "pipe.tif")
    (folder / "deep" / "circle").symlink_to(folder)
    (folder / "round.tif").symlink_to("round.tif")
    (folder / "nowhere.tif").symlink_to("gone")
    (folder / "null.tif").symlink_to("/dev/null")
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(folder)  # the paths of sockets are short
    listening.bind("s.tif")
    os.chdir(here)
    with Archive(folder) as archive:
        assert archive.names == ["a.txt"]
    for path in (folder / "pipe.tif", folder / "s.tif", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"{path} is neither a file nor a folder"):
            Archive(path)
    listening.close()


def test_names_that_aren_t_utf_8_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff.tif")).write_bytes(b"1")
    with pytest.raises(InputError, match=r"'\\udcff\.tif' can't be written in UTF-8; rename the file"):
        Archive(tmp_path / "in")


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"])
def test_paths_that_can_t_be(path):
    with pytest.raises(InputError):
        Archive(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path):
    (tmp_path / "in" / "shut").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").touch(0)
    with pytest.raises(InputError, match=r"a\.txt can't be read"), Archive(tmp_path / "in") as archive:
        archive.read("a.txt")
    (tmp_path / "in" / "shut").chmod(0)
    with pytest.raises(InputError, match="shut: can't be read"):
        Archive(tmp_path / "in")


# -- which image a name means -----------------------------------------------------------------


def image(grey: int) -> bytes:
    return tiff(np.full((16, 20), grey, np.uint8))


def greys(path: Path) -> list[int]:
    import tifffile

    return [int(tifffile.imread(io.BytesIO(row["image"]["bytes"])).max()) for row in rows_of(path)]


def wells(*file_names: str, members: tuple[str, ...] = ("A1", "A2", "B1")) -> dict[str, bytes]:
    images = [{"id": i, "file_name": n, "width": 20, "height": 16} for i, n in enumerate(file_names, 1)]
    annotations = [annotation(id=i, image_id=i) for i in range(1, len(images) + 1)]
    inside = {f"images/{well}/f.tif": image(40 * k) for k, well in enumerate(members, 1)}
    return {"anno_test.json": coco(images=images, annotations=annotations)} | inside


def test_a_name_in_several_folders_means_its_own(tmp_path):
    assert greys(packed(tmp_path / "a.zip", wells("A1/f.tif", "A2/f.tif", "B1/f.tif"))) == [40, 80, 120]
    assert greys(packed(tmp_path / "b.zip", wells("x/B1/f.tif", "x\\A2\\f.tif", "./A1/f.tif"))) == [120, 80, 40]
    assert greys(packed(tmp_path / "c.zip", wells("A1/f.tif", "A1/f.tif"))) == [40, 40]


def test_a_name_that_may_be_several_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"image 1 \(f\.tif\) may be images/A1/f\.tif or images/A2/f\.tif"):
        rows_of(packed(tmp_path / "a.zip", wells("f.tif")))
    with pytest.raises(InputError, match=r"may be images/A1/f\.tif or images/A2/f\.tif"):
        rows_of(packed(tmp_path / "b.zip", wells("C7/f.tif")))


def test_one_file_is_never_two_images(tmp_path):
    with pytest.raises(InputError, match=r"image 2 \(A2/f\.tif\) would be images/A1/f\.tif, which A1/f\.tif is"):
        rows_of(packed(tmp_path / "a.zip", wells("A1/f.tif", "A2/f.tif", members=("A1",))))


def test_images_beside_the_coco_file_go_first(tmp_path):
    members = {
        "gen/images/a.tif": image(1),
        "spec/test/images/a.tif": image(2),
        "spec/test/other/a.tif": image(3),
        "spec/test/anno_test.json": coco(),
    }
    assert greys(packed(tmp_path / "a.zip", members)) == [2]


NFC = "Präparat_é.tif"
FILE_NAMES = [
    (NFC, NFC),
    (unicodedata.normalize("NFD", NFC), NFC),
    (NFC, unicodedata.normalize("NFD", NFC)),
    ("well A1 (2).tif", "well%20A1%20(2).tif"),
    ("100%25.tif", "100%25.tif"),
    ("a.tif", "images\\a.tif"),
    ("a.tif", "C:\\Users\\x\\a.tif"),
    ("a.tif", "/data/upload/1/a.tif"),
    ("a.TIF", "A.tif"),
    ("клетка 1.tif", "КЛЕТКА 1.tif"),
    ("a.tif", "./a.tif"),
]


@pytest.mark.parametrize(("member", "file_name"), FILE_NAMES)
def test_spellings_of_a_name_come_to_its_file(tmp_path, member, file_name):
    path = packed(tmp_path / "a.zip", {"anno_test.json": coco(file_name), f"images/{member}": TIFF})
    assert len(rows_of(path)) == 1


@pytest.mark.parametrize(
    ("members", "file_name", "says"),
    [
        (["a.tif"], "1a2b3c4d-a.tif", r"isn't in the archive; the likest there is images/a\.tif"),
        (["a.tif"], "a.png", r"isn't in the archive; there are images/a\.tif"),
        (["a.tif"], "/data/local-files/?d=a.tif", r"the likest there is images/a\.tif"),
        ([], "a.tif", r"isn't in the archive; there are anno_test\.json \.\.\."),
        (["Präparat___.ti_"], "Präparat.tif", r"isn't in the archive; the likest there is images/Präparat___\.ti_"),
        (["A.tif", "a.TIF"], "a.tif", r"may be images/A\.tif or images/a\.TIF"),
        (["a.tif"], "../a.tif", "leads out of the archive"),
        (["a.tif"], "a.tif\0.png", "can't be written in UTF-8"),
        (["a.tif"], "/", "isn't in the archive"),
        (["a.tif"], ".", "isn't in the archive"),
    ],
)
def test_names_of_no_file_show_the_difference(tmp_path, members, file_name, says):
    files = {f"images/{member}": TIFF for member in members}
    with pytest.raises(InputError, match=says):
        rows_of(packed(tmp_path / "a.zip", {"anno_test.json": coco(file_name)} | files))


# -- what COCO files say of crowds, ids and coordinates ------------------------------------------


def test_crowds_are_kept_and_are_no_objects(tmp_path):
    from datasets import load_dataset

    from glioma_hf.data.features import ignored_of, instances_of

    region = {"size": [16, 20], "counts": [16 * 10, 64, 96]}
    annotations = [annotation(), annotation(id=2, iscrowd=1, segmentation=region), annotation(id=3, iscrowd=0)]
    path = packed(tmp_path / "a.zip", {"anno_test.json": coco(annotations=annotations), "a.tif": TIFF})
    prepared = prepare(path, tmp_path / "set", strict=True)
    assert prepared.splits[0].objects["cell"] == 2
    assert prepared.splits[0].ignored == 1
    (row,) = load_dataset(str(tmp_path / "set"), split="spec")
    assert instances_of(row).ids.tolist() == [1, 3]
    assert ignored_of(row).areas.tolist() == [64]
    assert len(ignored_of(row, "soma")) == 0
    assert len(ignored_of({k: v for k, v in row.items() if k != "ignored"})) == 0  # of folders prepared before


@pytest.mark.parametrize("value", [None, 0, False, "0", 0.0])
def test_what_is_no_crowd(tmp_path, value):
    data = coco(annotations=[annotation(iscrowd=value)])
    (row,) = rows_of(packed(tmp_path / "a.zip", {"anno_test.json": data, "a.tif": TIFF}))
    assert (len(row["objects"]), row["ignored"]) == (1, [])


@pytest.mark.parametrize("value", [2, "yes", [], 1.5])
def test_what_is_no_flag(tmp_path, value):
    data = coco(annotations=[annotation(iscrowd=value)])
    with pytest.raises(InputError, match="annotation 1 has the iscrowd"):
        rows_of(packed(tmp_path / "a.zip", {"anno_test.json": data, "a.tif": TIFF}))


@pytest.mark.parametrize("far", ["2.08e8", "-3.5e8", "1e10", "1e300", "1" * 400, "NaN", "-Infinity"])
def test_coordinates_out_of_all_proportion_are_cut_or_refused(tmp_path, far):
    data = coco(annotations=[annotation(segmentation=[[12, 4, 77777, 5, 3, 7]])]).replace(b"77777", far.encode())
    path = packed(tmp_path / "a.zip", {"anno_test.json": data, "a.tif": TIFF})
    if np.isfinite(float(far)):
        assert 0 < rows_of(path)[0]["objects"][0]["area"] < 320
        assert prepare(path, tmp_path / "set").repairs == {"outlines cut at the image's border": 1}
        return
    with pytest.raises(InputError, match=r"anno_test\.json: annotation 1: polygon 0 has a coordinate that isn't"):
        rows_of(path)


def test_ids_of_words_are_numbered(tmp_path):
    images = [{"id": name, "file_name": "a.tif", "width": 20, "height": 16} for name in ("x-1", "x-0")]
    annotations = [annotation(id=f"k{i}", image_id=name) for i, name in enumerate(("x-0", "x-1"))]
    data = coco(images=images, annotations=annotations)
    path = packed(tmp_path / "a.zip", {"anno_test.json": data, "a.tif": TIFF})
    rows = rows_of(path)
    assert [(row["image_id"], [o["id"] for o in row["objects"]]) for row in rows] == [(1, [2]), (2, [1])]
    prepared = prepare(path, tmp_path / "set")
    assert prepared.repairs == {"ids of images numbered anew": 1, "ids of annotations numbered anew": 1}
    with pytest.raises(InputError, match="image 'x-1' has no number as its id; without --strict"):
        prepare(path, tmp_path / "strict", strict=True)


# -- npz --------------------------------------------------------------------------------------


def npy(header: str | bytes, data: bytes = bytes(64), version: tuple[int, int] = (1, 0)) -> bytes:
    header = header if isinstance(header, bytes) else header.encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header + data


def said(shape: str, kind: str = "'<f4'", fortran: str = "False") -> str:
    return f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


ARRAYS = [
    (npy(said("(1, 4, 4)")), None),
    (npy(said("(2, 4, 4)")), "ends at image 1 of 2"),
    (npy(said("(10**18, 4, 4)")), "not a readable array"),
    (npy(said(f"({10**18}, 4, 4)")), "ends at image 1 of"),
    (npy(said(f"(1, {10**9}, {10**9})")), "are more than 268435456 pixels"),
    (npy(said(f"(1, 4, 4, {10**9})")), "are more than"),
    (npy(said("(1, -4, 4)")), "an array of images"),
    (npy(said("(-1, 4, 4)")), "an array of images"),
    (npy(said("(5, 0, 4)")), "an array of images"),
    (npy(said("()")), "an array of images"),
    (npy(said("(1, 4.5, 4)")), "not a readable array"),
    (npy(said("(1, 4, 4)", "'|O'")), "pickled objects are never read"),
    (npy(said("(1, 4, 4)", "'<U4'")), "an array of images"),
    (npy(said("(1, 4, 4)", "[('a', '<f4')]")), "an array of images"),
    (npy(said("(1, 4, 4)", "'<f99'")), "not a readable array"),
    (npy(said("(1, 4, 4)", fortran="True")), "its axes the other way round"),
    (npy("{"), "not a readable array"),
    (npy("(" * 9000), "not a readable array"),
    (npy("__import__('os').system('true')\n"), "not a readable array"),
    (npy(said("(1, 4, 4)") + " " * 20_000), "its header is too long"),
    (npy(said("(1, 4, 4)"), version=(2, 0)), None),
    (npy(said("(1, 4, 4)"), version=(9, 9)), "not a readable array"),
    (npy(b"\xff" * 64), "not a readable array"),
    (npy(said("(1, 4, 4)"))[:7], "not a readable array"),
    (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "its header is too long"),
    (b"", "not a readable array"),
]


@pytest.mark.parametrize(("data", "says"), ARRAYS)
def test_arrays_that_say_what_they_aren_t(tmp_path, data, says):
    path = packed(tmp_path / "a.npz", {"X.npy": data})
    if says is None:
        with open_npz(path, "X") as (array,):
            assert [one.shape for one in array.images()] == [(4, 4, 1)]
        return
    with pytest.raises(InputError, match=says) as caught, open_npz(path, "X") as (array,):
        list(array.images())
    assert str(caught.value).startswith(f"{path}: X")


def test_an_array_that_is_there_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("X.npy", ARRAYS[0][0])
        file.writestr("X", ARRAYS[0][0])
    with pytest.raises(InputError, match="the array 'X' is in it twice"), open_npz(tmp_path / "a.npz", "X"):
        pass


@pytest.mark.parametrize("method", METHODS[1:])
def test_arrays_that_grow_are_stopped(tmp_path, method):
    path = packed(tmp_path / "a.npz", {"X.npy": bomb(method, 32 * 2**20)}, zipfile.ZIP_STORED)
    changed(path, method=method, size=2000)
    with pytest.raises(InputError, match="not a readable array"), open_npz(path, "X"):
        pass
