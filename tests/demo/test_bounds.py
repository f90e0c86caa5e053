"""One visitor can't take the page from the others: what killed or froze it once, with two visitors at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from tests.demo import nasty
from tests.demo.visitor import Told, Visitor, given
from tests.strategies import square

pytest.importorskip("gradio")
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def neighbour(server) -> Visitor:
    """Another visitor."""
    return Visitor(server)


@pytest.fixture
def visitor(server) -> Visitor:
    return Visitor(server)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """An adapter that was saved without being trained."""
    from glioma_hf.models import get_family
    from glioma_hf.models.sam.generate import SamSegmenter
    from glioma_hf.models.sam.lora import add_adapter, load_base
    from glioma_hf.models.saved import ModelFolder

    family = get_family("sam")
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    ModelFolder(folder).write(family, SamSegmenter(add_adapter(load_base())), "embedded", family.read_recipe())
    return folder


def packed(saved: Path, folder: Path, **changes: bytes | str) -> Path:
    """A zip of the adapter with some files changed: `thresholds` is that of thresholds.json."""
    with zipfile.ZipFile(folder / "mine.zip", "w") as target:
        for file in saved.iterdir():
            target.writestr(file.name, changes.get(file.stem, file.read_bytes()))
    return folder / "mine.zip"


NEXT = itertools.cycle(("Sparse cells", "Flat cells"))  # one that is open already stays


def served(visitor: Visitor) -> None:
    """The page answers this visitor: a sample and its outlines."""
    started = time.monotonic()
    shown = visitor.send("teach-sample", "blur", next(NEXT))
    assert "Its outlines are known." in shown["teach-status"]
    assert len(shown["teach-viewer"]["cells"]) > 5
    assert time.monotonic() - started < 15


def both(neighbour: Visitor, act) -> str:
    """What one visitor is told (or "") while another is served, meanwhile and afterwards."""
    told = []

    def run() -> None:
        try:
            told.append(act() and "")
        except Told as error:
            told.append(str(error))
        except Exception as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        served(neighbour)
        thread.join(1)
    served(neighbour)
    assert isinstance(told[0], str), told
    assert "/tmp" not in told[0]
    return told[0]


def lesson(visitor: Visitor, path: Path, sample: bool = True):
    """Give outlines to a sample in Teach."""
    visitor.send("teach-sample", "blur", "Sparse cells")
    return visitor.send("teach-outlines", "upload", visitor.upload(path))


@pytest.mark.parametrize(
    "make",
    [
        nasty.far_json,
        nasty.far_rois,
        nasty.many_rois,
        nasty.deep_json,
        nasty.long_number,
        nasty.long_rle,
    ],
    ids=lambda make: make.__name__,
)
def test_outlines(visitor, neighbour, tmp_path, make):
    told = both(neighbour, lambda: lesson(visitor, make(tmp_path)))
    assert told or make in (nasty.far_json, nasty.far_rois, nasty.many_rois)


@pytest.mark.parametrize(
    "outlines",
    [nasty.FAR, [[1e308, 1e308, 2, 3, 4, 5]], [["a"] * 6], {"a": 1}, None, [[1, 2, 3, 4, 5, 6]] * 6000, [[[]]]],
    ids=["far", "float", "text", "dict", "nothing", "many", "deep"],
)
def test_what_is_drawn(visitor, neighbour, outlines):
    visitor.send("teach-sample", "blur", "Sparse cells")
    told = both(neighbour, lambda: visitor.send("teach-viewer", "edit", event_data={"outlines": outlines}))
    assert told


@pytest.mark.parametrize("make", [nasty.huge_header, nasty.large_png], ids=lambda make: make.__name__)
def test_images(visitor, neighbour, tmp_path, make):
    assert both(neighbour, lambda: visitor.send("teach-upload", "upload", visitor.upload(make(tmp_path))))


def test_scores(visitor, neighbour, tmp_path):
    def score(references: Path, predictions: Path):
        files = visitor.upload(references), visitor.upload(predictions)
        return visitor.send("score-run", "click", *files, False, None)

    # A reference image of 16,384 pixels a side: answered.
    cell = square(5000, 5000, 2000)
    large = nasty.coco(tmp_path, [cell], width=2**14, height=2**14)
    assert both(neighbour, lambda: score(large, nasty.results(tmp_path, [cell]))) == ""
    # 20,000 objects a side: answered, or in a sentence why not.
    crowd = nasty.crowd(20_000, 2000)
    crowded = nasty.coco(tmp_path, crowd, "crowd.json", width=2000, height=2000)
    both(neighbour, lambda: score(crowded, nasty.results(tmp_path, crowd)))
    for make in (nasty.deep_json, nasty.long_number):
        assert both(neighbour, lambda make=make: score(large, make(tmp_path)))


LONG = json.dumps({"scales": [1.0] * 300_000})
ABSURD = json.dumps({"score_threshold": 1e308, "tile": 10**9})


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": LONG},
        {"thresholds": ABSURD},
        {"recipe": json.dumps({"tile": 10**9})},
        {"recipe": "[" * 100_000},
        {"adapter_config": json.dumps({"peft_type": "LORA", "target_modules": "((a|a|_|.)*)*$", "r": 4})},
        {"adapter_model": "nan"},
        {"adapter_model": "bomb"},
    ],
    ids=["long", "absurd", "tile", "deep", "expression", "nan", "bomb"],
)
def test_adapters(visitor, neighbour, saved, tmp_path, changes):
    if "nan" in changes.values():
        from safetensors.numpy import load_file, save

        tensors = load_file(saved / "adapter_model.safetensors")
        changes = {"adapter_model": save({name: np.full_like(a, np.nan) for name, a in tensors.items()})}
    archive = packed(saved, tmp_path, **changes)
    if "bomb" in changes.values():
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as target:
            for file in saved.iterdir():
                with target.open(file.name, "w", force_zip64=True) as member:
                    for _ in range(800 if file.suffix == ".safetensors" else 0):
                        member.write(bytes(2**20))
    file = visitor.upload(archive)
    assert both(neighbour, lambda: find(visitor, adapter=file))


def find(visitor: Visitor, hub: str = "", adapter=None, adapter_name: str = "", base: str = ""):
    """Press Find cells, on a sample."""
    visitor.send("sample", "blur", "Sparse cells")
    model = "another one from the Hub" if hub else base or visitor.first_model
    return visitor.send("find", "click", model, hub, adapter, adapter_name, False)


def test_afterwards_all_is_well(visitor):
    found = find(visitor)
    assert "Done in" in found["status"]
    assert len(found["viewer"]["cells"]) > 2
    assert len(found["downloads"]) == 9
    # Now that there is a result, what the slider says is checked, and of which image.
    for threshold in ("a", 1e308, -1, [1], True, {}):
        with pytest.raises(Told, match="threshold is"):
            visitor.send("viewer", "release", event_data={"threshold": threshold, "key": "00"})
    for key in (None, "", "..", "/etc", "../00", 3, "07"):
        with pytest.raises(Told, match="isn't open here"):
            visitor.send("viewer", "release", event_data={"threshold": 0.5, "key": key})
    assert len(visitor.send("viewer", "release", event_data={"threshold": 0.9, "key": "00"})["downloads"]) == 9


BAD_CORRECTIONS = [
    ({"op": "draw", "outline": nasty.FAR[0]}, "outside the image"),
    ({"op": "draw", "outline": ["a"] * 6}, "no number"),
    ({"op": "draw", "outline": [1, 2]}, "three points"),
    ({"op": "draw", "outline": None}, "isn't a list"),
    ({"op": "delete", "ids": "all"}, "Choose a cell"),
    ({"op": "delete", "ids": [10**9]}, "isn't there any more"),
    ({"op": "merge", "ids": [1]}, "two cells or more"),
    ({"op": "add", "x": "a", "y": 1}, "no number"),
    ({"op": "__import__"}, "isn't known"),
    ({"op": "undo"}, "no correction"),
]


def test_what_is_corrected(visitor):
    find(visitor)
    model = visitor.first_model, "", None, "", False
    for action, says in BAD_CORRECTIONS:
        with pytest.raises(Told, match=says):
            visitor.send("viewer", "edit", *model, event_data={"key": "00", **action})
    assert len(visitor.send("viewer", "release", event_data={"threshold": 0.5, "key": "00"})["downloads"]) == 9


@pytest.mark.parametrize(
    "name",
    ["../folder", "a/..", "../..", "/etc/passwd", "~/model", "a/b/c", "a", "https://example.org/a", "<b>x</b>", "."],
)
def test_names_are_names_never_paths(visitor, name):
    with pytest.raises(Told, match=r"isn't the name of a model on the Hub"):
        find(visitor, hub=name)
    with pytest.raises(Told, match=r"isn't the name of an adapter on the Hub"):
        find(visitor, adapter_name=name)


def test_what_is_no_name_is_told_without_markup(visitor):
    with pytest.raises(Told) as told:
        find(visitor, hub="<img src=x onerror=alert(1)>")
    assert "<" not in str(told.value)


def test_private_events_read_uploads_alone(visitor, server, tmp_path):
    mine = tmp_path / "mine.tif"
    tifffile.imwrite(mine, np.zeros((40, 50), np.uint8))
    for path in ("/etc/passwd", str(mine), "../../etc/passwd", str(Path(__file__))):
        with pytest.raises(Told, match=r"wasn't uploaded to this page"):
            visitor.send("teach-upload", "upload", given(path))
        with pytest.raises(Told, match=r"wasn't uploaded to this page"):
            visitor.send("segment-upload", "upload", [given(path)])
    for path in ("http://127.0.0.1:1/a.tif", "https://example.org/a.tif", "file:///etc/passwd", "ftp://a/b"):
        with pytest.raises(Told, match=r"uploaded, not named by an address|wasn't uploaded"):
            visitor.send("teach-upload", "upload", given(path))


def test_private_events_check_their_arguments(visitor):
    with pytest.raises(Told, match="not in the list of choices"):
        visitor.send("teach-sample", "blur", "../../etc/passwd")
    visitor.send("sample", "blur", "Sparse cells")
    with pytest.raises(Told, match="pixel size"):
        visitor.send("pixel", "change", 1e300, "")
    with pytest.raises(Told):
        visitor.send("find", "click", "No such model", "", None, "", False)
    # There is nothing to write without a result.
    for key in ("00", None):
        with contextlib.suppress(Told):
            assert not visitor.send("viewer", "release", event_data={"threshold": 0.5, "key": key})["downloads"]


def test_svg_pickles_and_html_in_names(visitor, tmp_path):
    for name, data in (
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("a.pkl", b"\x80\x04K\x01."),
        ("a.npy", b"\x93NUMPY"),
    ):
        (tmp_path / name).write_bytes(data)
        for upload in ("teach-upload", "segment-upload"):
            file = visitor.upload(tmp_path / name)
            with pytest.raises(Told, match=r"give TIFF, PNG, JPEG or BMP"):
                visitor.send(upload, "upload", file if upload == "teach-upload" else [file])
    (tmp_path / "<img src=x onerror=alert(1)>.tif").write_bytes(b"no image")
    file = visitor.upload(tmp_path / "<img src=x onerror=alert(1)>.tif")
    with pytest.raises(Told) as told:
        visitor.send("teach-upload", "upload", file)
    assert "<" not in str(told.value)


def test_requests_are_of_bounded_size(server):
    url = f"{server}/gradio_api"
    assert httpx.post(f"{url}/queue/join", content=b"[" * (9 * 2**20), timeout=60).status_code == 413

    def stream():
        for _ in range(10):
            yield b" " * 2**20

    with contextlib.suppress(httpx.HTTPError):  # broken off
        assert httpx.post(f"{url}/queue/join", content=stream(), timeout=60).status_code >= 400
    with socket.create_connection(server.removeprefix("http://").split(":")) as line:
        line.sendall(b"POST /gradio_api/upload HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % 2**30)
        assert b" 413 " in line.recv(100)
    assert httpx.get(server, timeout=10).status_code == 200


def test_four_first_visitors_at_once(server, saved):
    """In a fresh process too, where four threads load at once: see test_work.py."""
    told: list[str] = []

    def visit() -> None:
        told.append(find(Visitor(server))["status"])

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [text[:7] for text in told] == ["Done in"] * 4
