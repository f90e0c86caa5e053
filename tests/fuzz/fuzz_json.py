"""JSON of all kinds: small documents, long lists, COCO files, results, provenance, recipes; as bytes and as values."""

from __future__ import annotations

import copy
import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from glioma_hf import InputError, jsonstream
from glioma_hf.data.prepared import PROVENANCE, Prepared, PreparedSplit, read_prepared
from glioma_hf.data.sources.cocofile import CocoFile, ordered
from glioma_hf.jsonfile import parse_json
from glioma_hf.jsonstream import JsonLists
from tests.fuzz.fuzz_scoring import VALUES
from tests.fuzz.harness import mutated
from tests.strategies import square


def read(data: bytes) -> None:
    """The first byte says how large the window is, the second which door."""
    jsonstream.WINDOW = 2 ** (data[0] % 20) if data else 1
    door, data = data[1:2], data[2:]
    if door == b"p":
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / PROVENANCE).write_bytes(data)
            read_prepared(folder)
        return
    if door == b"c":
        coco = CocoFile(io.BytesIO(data), "x.json", results=True)
        ordered(coco.images.values())
        assert sum(len(coco.annotations(image)) for image in coco.image_ids()) == len(coco)
        return
    try:
        expected = parse_json(data, "x.json")
    except InputError:
        expected = None
    entries = [(name, entry) for name, *_, entry in JsonLists(io.BytesIO(data), "x.json")]
    if isinstance(expected, dict):
        assert entries == [(n, e) for n, value in expected.items() if isinstance(value, list) for e in value]


def seeds() -> list[bytes]:
    """COCO files as lists and by id, results, and a provenance; each as one line and as many."""
    images = [{"id": i, "file_name": f"{i}.tif", "width": 80, "height": 60} for i in (1, 2)]
    annotations = [
        {
            "id": k,
            "image_id": 1 + k % 2,
            "category_id": 1,
            "segmentation": square(k, k, 5),
            "iscrowd": 0,
            "bbox": [1, 2],
        }
        for k in range(1, 6)
    ]
    annotations.append({"id": 9, "image_id": 1, "category_id": 1, "segmentation": {"size": [60, 80], "counts": ":0"}})
    coco = {
        "info": {"a": [{}]},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "}, {"}],
    }
    by_id = coco | {"annotations": {str(a["id"]): a for a in annotations}}
    split = PreparedSplit("spec", "test", ["data/a.parquet"], 3, {"cell": 9})
    provenance = Prepared("glioma_c6", "a.zip", [split], {"x": 1})
    contents: list[tuple[bytes, Any]] = [(b"j", coco), (b"c", coco), (b"c", by_id), (b"c", annotations)]
    contents.append((b"p", json.loads(json.dumps(provenance, default=vars))))
    return [
        bytes([window]) + door + json.dumps(content, indent=indent).encode()
        for door, content in contents
        for window, indent in ((19, None), (6, 1))
    ]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, or values replaced and names doubled."""
    if rng.random() < 0.5:
        return data[:2] + mutated(rng, data[2:])
    try:
        content = json.loads(data[2:])
    except ValueError:
        return data
    for _ in range(rng.choice((1, 1, 2))):
        place: Any = content
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if rng.random() < 0.4 or not isinstance(place[key], dict | list):
                place[key] = copy.deepcopy(rng.choice(VALUES))
                break
            place = place[key]
    text = json.dumps(content, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    if rng.random() < 0.1:
        text = text.replace('"bbox"', '"id"', 1)
    return bytes([rng.randrange(20)]) + data[1:2] + text.encode(rng.choice(("utf-8",) * 8 + ("utf-16",)), "replace")
