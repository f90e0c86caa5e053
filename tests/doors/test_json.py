"""The doors for JSON: `jsonfile` for small documents, `jsonstream` and `CocoFile` for long ones."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glioma_hf import InputError, jsonstream
from glioma_hf.data.sources import cocofile
from glioma_hf.data.sources.cocofile import CocoFile, ordered
from glioma_hf.jsonfile import MAX_BYTES, id_of, parse_json, read_json
from glioma_hf.jsonstream import JsonLists
from tests.conftest import ROOT

# What is refused, and a part of the sentence.
REFUSED = {
    "nothing": (b"", "isn't JSON"),
    "no JSON": (b"nonsense", "isn't JSON"),
    "packed by gzip": (gzip.compress(b"{}"), "isn't JSON but packed by gzip; unpack it first"),
    "packed by zip": (b"PK\x03\x04rest", "isn't JSON but packed by zip; unpack it first"),
    "cut": (b'{"a": [1, 2', "isn't JSON"),
    "junk behind the end": (b'{"a": 1} x', "isn't JSON"),
    "a second document": (b'{"a": 1}{"a": 2}', "isn't JSON"),
    "a name twice": (b'{"annotations": [], "annotations": []}', "has 'annotations' twice"),
    "an escaped name twice": (b'{"a": [], "\\u0061": []}', "has 'a' twice"),
    "a name twice, deep": (b'{"a": [{"b": {"c": 1, "d": ":", "c": 2}}]}', "has 'c' twice"),
    "a name twice, hidden by a colon": (b'{"a": [{"c": "\\u003a", "c": "\\u003a"}, {"c": 1}]}', "has 'c' twice"),
    "deep lists": (b"[" * 200_000, "nested too deeply"),
    "deep lists, closed": (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
    "deep in a list": (b'{"a": [{"b": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]}", "nested too deeply"),
    "half a character": (b'{"a": ["\\ud800"]}', "half a character"),
    "not UTF-8": (b'{"a": "\xff\xfe"}', "isn't JSON"),
    "cut UTF-16": ('{"a": 1}'.encode("utf-16")[:-1], "isn't JSON"),
    "a control character": (b'{"a": "\x01"}', "isn't JSON"),
    "no comma": (b'{"a": [{} {}]}', "isn't JSON"),
    "a comma too many": (b'{"a": [{},]}', "isn't JSON"),
    "a leading zero": (b'{"a": [01]}', "isn't JSON"),
    "quotes of another kind": (b"{'a': 1}", "isn't JSON"),
}


def stream(data: bytes, **options) -> list[tuple[str, object]]:
    return [(name, value) for name, _, _, value in JsonLists(io.BytesIO(data), "x.json", **options)]


@pytest.mark.parametrize("kind", REFUSED)
def test_both_doors_refuse_in_one_sentence(kind):
    data, says = REFUSED[kind]
    for read in (lambda: parse_json(data, "x.json"), lambda: stream(data)):
        with pytest.raises(InputError, match=says) as caught:
            read()
        assert str(caught.value).startswith("x.json ")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 400])
def test_small_documents_hold_finite_numbers(number):
    with pytest.raises(InputError, match="no number of JSON"):
        parse_json(f'{{"a": [{number}]}}'.encode(), "x.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_encodings(encoding, tmp_path):
    content = {"a": [{"name": "Präparat 細胞"}, {"b": 1}]}
    data = json.dumps(content, ensure_ascii=False).encode(encoding)
    assert parse_json(data, "x.json") == content
    assert stream(data) == [("a", entry) for entry in content["a"]]
    (tmp_path / "x.json").write_bytes(data)
    assert read_json(tmp_path / "x.json") == content


def test_small_documents_are_small(tmp_path):
    with pytest.raises(InputError, match="holds more than 4194304 bytes"):
        parse_json(b" " * (MAX_BYTES + 1), "x.json")
    for path in (tmp_path, tmp_path / "none.json", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"no such file"):
            read_json(path)


@pytest.mark.parametrize("window", [1, 7, 64, 2**20])
@pytest.mark.parametrize("form", ["list", "by id"])
def test_entries_and_their_places_don_t_depend_on_the_window(monkeypatch, window, form):
    monkeypatch.setattr(jsonstream, "WINDOW", window)
    entries = [
        {"id": 1, "s": "}, {"},
        {"id": 2, "deep": [{"a": 1}, {"b": 2}], "d": {"e": 1}},
        {"id": 3, "t": '\\"}, "x": {', "u": "ä細"},
        {"id": 4, "n": float("inf"), "long": [[k / 7 for k in range(300)]]},
        {"id": 5},
    ] * 5
    content = {
        "info": {"a": [1, {"b": ":"}]},
        "n": 1.5,
        "other": [1, "a", None, [], {}],
        "list": entries if form == "list" else {f"k{k}": entry for k, entry in enumerate(entries)},
        "empty": [],
    }
    for indent in (None, 1):
        data = json.dumps(content, indent=indent, ensure_ascii=indent is None).encode()
        lists = JsonLists(io.BytesIO(data), "x.json", by_name=("list",))
        items = [item for item in lists if item[0] == "list"]
        assert [value for *_, value in items] == entries
        assert lists.read([s for _, s, _, _ in items], [e for _, _, e, _ in items]) == entries
        kinds = {"info": dict, "n": object, "other": list, "list": list if form == "list" else dict, "empty": list}
        assert lists.kinds == kinds


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["}, {", '"}, {"', ":", "\\", "]"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab:,{}"\\', max_size=3), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text('ab:"', max_size=3), st.lists(json_values, max_size=6) | json_values, max_size=4),
    st.sampled_from([1, 5, 40, 2**20]),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_streams_give_what_python_s_own_reader_gives(monkeypatch, content, window, plain, indent):
    monkeypatch.setattr(jsonstream, "WINDOW", window)
    data = json.dumps(content, ensure_ascii=plain, indent=indent).encode()
    expected = [(name, entry) for name, entries in content.items() if isinstance(entries, list) for entry in entries]
    assert stream(data) == expected


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=6), st.integers(0, 400), st.integers(0, 12), st.sampled_from([1, 30, 2**20]))
def test_damaged_bytes_are_read_as_python_s_own_reader_does_or_refused(monkeypatch, junk, at, length, window):
    monkeypatch.setattr(jsonstream, "WINDOW", window)
    data = json.dumps(coco(), indent=1).encode()
    data = data[:at] + junk + data[at + length :]
    try:
        mine = stream(data)
    except InputError:
        return
    theirs = json.loads(data)
    if isinstance(theirs, dict):
        assert mine == [(n, e) for n, entries in theirs.items() if isinstance(entries, list) for e in entries]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[" + b"[]," * 10**7 + b"[]]", "isn't COCO"),
        (b'{"annotations": [' + b"[]," * 10**7 + b"[]]}", "annotations number 0 has no usable 'id'"),
        (b'{"annotations": [' + b"{}," * 10**7 + b"{}]}", "annotations number 0 has no usable 'id'"),
        (b'{"annotations": [{"a": [' + b"[]," * 10**7 + b"[]]}]}", "an entry of more than"),
        (b'{"annotations": [{"a": "' + b"x" * 3 * 10**7 + b'"}]}', "an entry of more than"),
        (b'{"info": [' + b"0," * 10**6 + b"0]}", "isn't COCO"),
    ],
)
def test_memory_stays_under_three_times_the_file(data, says):
    file = io.BytesIO(data)
    tracemalloc.start()
    with pytest.raises(InputError, match=says):
        CocoFile(file, "x.json")
    assert tracemalloc.get_traced_memory()[1] < max(3 * len(data), 2**25)
    tracemalloc.stop()


# -- COCO -------------------------------------------------------------------------------------


def coco(**changes) -> dict:
    images = [{"id": i, "file_name": f"{i}.tif", "width": 20, "height": 10} for i in (2, 1)]
    annotations = [
        {"id": k, "image_id": 1 + k % 2, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]} for k in (7, 4, 9)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]} | changes


def coco_file(content: object, **options) -> CocoFile:
    return CocoFile(io.BytesIO(json.dumps(content).encode()), "x.json", **options)


def test_annotations_come_by_image_in_the_file_s_order():
    read = coco_file(coco())
    assert [image.id for image in read.images.values()] == [2, 1]
    assert [number for number, _ in ordered(read.images.values())] == [1, 2]
    assert [a["id"] for a in read.annotations(2)] == [7, 9]
    assert [a["id"] for a in read.annotations(1)] == [4]
    assert read.annotations(5) == []
    assert len(read) == 3


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ((3, 5), (3, 5)),
        ((3.0, 5.0), (3, 5)),
        (("3", "5"), (3, 5)),
        (("3", 5), (3, 5)),
        ((0, -1), (0, -1)),
        (("3f2a-77", "5"), (1, 2)),
        (("007", "7"), (1, 2)),
        ((2**63 - 1, 1), (2**63 - 1, 1)),
    ],
)
def test_ids_are_read_whatever_they_are(ids, expected):
    content = coco()
    for image, key in zip(content["images"], ids, strict=True):
        image["id"] = key
    for annotation, key in zip(content["annotations"], (*ids, "last"), strict=True):
        annotation["id"], annotation["image_id"] = key, ids[0]
    read = coco_file(content)
    order = ordered(read.images.values())
    assert sorted(number for number, _ in order) == sorted(expected)
    assert [a["id"] for a in read.annotations(id_of(ids[0]))] == [1, 2, 3]  # for "last" is no number
    assert read.renumbered


@pytest.mark.parametrize("value", [None, True, False, "", 1.5, 1e300, float("nan"), 2**63, 10**300, [], {}, [1]])
@pytest.mark.parametrize("field", ["id", "image_id", "category_id"])
def test_what_is_no_id_is_named(field, value):
    content = coco()
    content["annotations"][1][field] = value
    with pytest.raises(InputError, match=f"x.json isn't COCO: annotations number 1 has no usable '{field}'"):
        coco_file(content)


@pytest.mark.parametrize("value", [None, True, "20", 1.5, float("inf"), [], "x"])
def test_what_is_no_width_is_named(value):
    content = coco()
    content["images"][1]["width"] = value
    with pytest.raises(InputError, match="images number 1 has no usable 'width'"):
        coco_file(content)


def test_a_width_that_is_whole_is_one():
    content = coco()
    content["images"][1]["width"] = 20.0
    assert coco_file(content).images[1].size == (20, 10)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": {}}, "the lists images, annotations and categories are needed"),
        ({"annotations": 3}, "the lists images, annotations and categories are needed"),
        ({"categories": None}, "the lists images, annotations and categories are needed"),
        ({"images": [[]]}, "images number 0 has no usable 'id'"),
        ({"images": [{"id": 1, "file_name": 3}]}, "images number 0 has no usable 'file_name'"),
        ({"categories": ["cell"]}, "categories number 0 has no usable 'id'"),
        ({"categories": [{"id": 1}, {"id": "1"}]}, "categories has the id 1 more than once"),
        ({"images": [{"id": 1, "file_name": "a", "width": 1, "height": 1}] * 2}, "images has the id 1 more than once"),
    ],
)
def test_what_is_no_coco_file_is_named(change, says):
    with pytest.raises(InputError, match=says):
        coco_file(coco(**change))


def test_ids_of_other_kinds_that_come_twice():
    content = coco()
    for annotation in content["annotations"][1:]:
        annotation["id"] = "twice"
    with pytest.raises(InputError, match="annotations has the id twice more than once"):
        coco_file(content)
    content["annotations"][1]["id"] = content["annotations"][0]["id"] = 4.0
    with pytest.raises(InputError, match=r"annotations has the id 4\.0 more than once"):
        coco_file(content)


@pytest.mark.parametrize("kept", [0, 100, 2**20])
def test_annotations_are_read_as_often_as_one_likes(monkeypatch, kept):
    """The first bytes' are kept from the index, until they are given away; the others are read again."""
    monkeypatch.setattr(cocofile, "KEPT", kept)
    content = coco()
    read = coco_file(content)
    for _ in range(3):
        for image in (1, 2):
            entries = read.annotations(image)
            assert entries == [a for a in content["annotations"] if a["image_id"] == image]
            for entry in entries:
                entry["category_id"] = 77  # the caller's own, whatever is done to it


@pytest.mark.parametrize("members", [1, 3, 40])
def test_lists_behind_each_other_in_one_window(members):
    content = {f"list {k}": [{"id": j, "deep": [{"a": 1}, {"b": j}]} for j in range(k % 5)] for k in range(members)}
    lists = JsonLists(io.BytesIO(json.dumps(content).encode()), "x.json")
    found: dict[str, list] = {name: [] for name in content}
    items = list(lists)
    for name, _, _, value in items:
        found[name].append(value)
    assert found == content
    assert lists.read([s for _, s, _, _ in items], [e for _, _, e, _ in items]) == [value for *_, value in items]


def test_results_are_read_by_image():
    results = [{"image_id": "b", "segmentation": [], "score": 0.5}, {"image_id": 3.0}, {"image_id": "b"}]
    read = coco_file(results, results=True)
    assert read.is_results
    assert read.image_ids() == ["b", 3]
    assert read.annotations("b") == [results[0], results[2]]
    assert not coco_file(coco(), results=True).is_results
    with pytest.raises(InputError, match="isn't COCO"):
        coco_file(results)
    with pytest.raises(InputError, match=r"isn't a list of COCO results.*number 1 has no usable 'image_id'"):
        coco_file([results[0], {"segmentation": []}], results=True)
    with pytest.raises(InputError, match="isn't COCO"):
        coco_file(3, results=True)


# -- memory -----------------------------------------------------------------------------------

LONG = """
import sys
from glioma_hf.data.sources.cocofile import CocoFile
with open(sys.argv[1], "rb") as file:
    coco = CocoFile(file, "long.json")
    count = sum(len(coco.annotations(image)) for image in coco.images)
with open("/proc/self/status") as status:
    most = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(count, int(most) // 1024)
"""


def test_a_file_of_160_megabytes_takes_no_more_than_a_small_one(tmp_path):
    """LIVECell's own is 1.2 GB; what is kept of it grows by 32 bytes an annotation, some 60 MB."""
    outline = [[round(k * 1.37 % 500, 2) for k in range(100)]]
    path, count = tmp_path / "long.json", 220_000
    with path.open("w") as file:
        images = [{"id": i, "file_name": f"{i}.tif", "width": 704, "height": 520} for i in range(500)]
        file.write(f'{{"images": {json.dumps(images)}, "categories": [{{"id": 1}}], "annotations": [')
        one = json.dumps({"segmentation": outline, "area": 9.5, "iscrowd": 0, "bbox": [1.0, 2.0, 3.0, 4.0]})[:-1]
        for k in range(count):
            file.write(f'{", " if k else ""}{one}, "image_id": {k % 500}, "category_id": 1, "id": {k}}}')
        file.write("]}")
    assert path.stat().st_size > 150 * 10**6
    done = subprocess.run(
        [sys.executable, "-c", LONG, path], capture_output=True, text=True, cwd=ROOT, check=True, timeout=120
    )
    read, megabytes = map(int, done.stdout.split())
    assert read == count
    assert megabytes < 150
