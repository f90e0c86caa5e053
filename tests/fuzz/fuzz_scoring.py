"""What people give to be scored: results, COCO files, run-length strings, outlines, arrays, zips of regions."""

from __future__ import annotations

import io
import json
import random
import tempfile
import warnings
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from glioma_hf import Instances
from glioma_hf.benchmark.scoring import evaluate_files
from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.data.exports import read_rois
from glioma_hf.metrics.inputs import pair_of_instances
from glioma_hf.metrics.overlap_ap import overlap_ap
from tests.fuzz.harness import mutated
from tests.strategies import square

SIZE = (60, 80)
CELLS = [square(5, 5, 12), square(16, 7, 12), square(40, 30, 15)]
# What a value of JSON is replaced by.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, -1e308, 1e30, 2e9, 2**31, 2**53, 2**63, 2**70, 10**400, "", "1",
    "1.0", "x", "é", "\ud800", "../x", "a.tif", [], [[]], {}, [None], [1], ["1"], {"a": 1}, [[1, 2, 3, 4, 5, 6]],
    {"size": [60, 80], "counts": [4800]}, {"size": [60, 80], "counts": "0"}, {"size": [80, 60], "counts": [1e9]},
    float("nan"), float("inf"),
)  # fmt: skip


def read(data: bytes) -> None:
    """The first byte says which door."""
    warnings.simplefilter("ignore")
    door, data = data[:1], data[1:]
    if door == b"z":
        read_rois(data, SIZE, "a.zip")
    elif door == b"a":
        array = array_of(data)
        overlap_ap([pair_of_instances(array, reference_cells())])
        pair_of_instances(list(array) if array.ndim else array, array.tolist())
    elif door == b"s":
        rle = [{"segmentation": {"size": list(SIZE), "counts": data}}]
        overlap_ap([(Instances.from_coco(rle, SIZE), reference_cells())], keep_outcomes=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "p.json"
            path.write_bytes(data)
            if door == b"r":
                read_references(path)
                evaluate_files(path, references())
            evaluate_files(references(), path, extras=["panoptic"])


TYPES = ("?", "u1", "i2", "i8", "f2", "f8", "c8", "S2", "M8[s]")


def array_of(data: bytes) -> np.ndarray:
    """An array whose type and shape the first bytes tell, filled with the others again and again."""
    head, data = (data + bytes(6))[:6], data[6:] or b"\0"
    shapes = (SIZE, (3, *SIZE), (*SIZE, 3), (3, 1, *SIZE), (1, 3, *SIZE), tuple(head[2 : 2 + head[5] % 5]))
    shape = shapes[head[1] % len(shapes)]
    kind = np.dtype(TYPES[head[0] % len(TYPES)])
    count = min(int(np.prod(shape, dtype=int)), 2**20)
    filled = np.frombuffer((data * (1 + count * kind.itemsize // len(data)))[: count * kind.itemsize], kind)
    return filled.reshape(shape) if filled.size == np.prod(shape, dtype=int) else filled


@cache
def reference_cells() -> Instances:
    """What is compared with."""
    return Instances.from_polygons(CELLS, SIZE)


@cache
def references() -> Path:
    """A good file of references; its folder goes with the process."""
    folder = tempfile.TemporaryDirectory()
    _kept.append(folder)
    path = Path(folder.name) / "r.json"
    path.write_text(json.dumps(good_coco()))
    return path


_kept: list[Any] = []


def good_coco() -> dict[str, Any]:
    """Two images, a crowd among the objects."""
    images = [{"id": i, "file_name": f"{n}.tif", "width": 80, "height": 60} for i, n in ((1, "a"), (2, "sub/b"))]
    annotations = [
        {"id": 10 * i + j, "image_id": i, "category_id": 1, "segmentation": s, "iscrowd": int(j == 2), "area": 144,
         "bbox": [5, 5, 12, 12]}
        for i in (1, 2) for j, s in enumerate(CELLS)
    ]  # fmt: skip
    categories = [{"id": 1, "name": "cell", "supercategory": "cell"}, {"id": 2, "name": "soma"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def good_results() -> list[dict[str, Any]]:
    """Polygons and both kinds of RLE."""
    rles = [{"size": list(SIZE), "counts": r["counts"].decode()} for r in reference_cells().rles]
    segmentations = [*CELLS, *rles, {"size": list(SIZE), "counts": [100, 50, 4650]}]
    return [{"image_id": 1, "category_id": 1, "segmentation": s, "score": 0.5} for s in segmentations]


def seeds() -> list[bytes]:
    """Good inputs of each door."""
    import roifile

    zipped = io.BytesIO()
    points = np.array([[5, 5], [17.5, 5], [17, 17], [5, 17]], np.float32)
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            region = roifile.ImagejRoi.frompoints(points + 9 * number)
            region.subpixel_coordinates = points if number == 1 else None
            archive.writestr(f"{number}.roi", region.tobytes())
    labels = reference_cells().to_label_map().astype("i8").tobytes()
    arrays = [bytes([kind, shape, 60, 80, 1, 2]) + labels for kind in (0, 1, 3, 5) for shape in (0, 1)]
    counts = [rle["counts"] for rle in reference_cells().rles]
    return [
        b"j" + json.dumps(good_results()).encode(),
        b"j" + json.dumps(good_coco()).encode(),
        b"r" + json.dumps(good_coco()).encode(),
        b"z" + zipped.getvalue(),
        *(b"a" + array for array in arrays),
        *(b"s" + string for string in counts),
    ]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Values of JSON replaced, left out or doubled; bytes changed, of all else and sometimes of JSON."""
    door, data = data[:1], data[1:]
    if door == b"a":
        return door + mutated(rng, data[:64]) + data[64:]
    if door not in b"jr" or rng.random() < 0.2:
        return door + mutated(rng, data)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(rng, value)
    return door + json.dumps(value).encode("utf-8", "surrogatepass")


def _change(rng: random.Random, value: Any) -> None:
    """One change somewhere within a list or dict."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], list | dict) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        kind = rng.random()
        if kind < 0.7:
            value[key] = rng.choice(VALUES)
        elif kind < 0.8:
            del value[key]
        elif isinstance(value, list):
            value.extend([value[key]] * rng.choice((1, 1, 300)))
        else:
            value[rng.choice(("id", "image_id", "iscrowd", "score", "size", "x"))] = rng.choice(VALUES)
        return
