"""What visitors do in an hour, action by action, without a browser; and the memory that the page holds meanwhile."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import tifffile

from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.demo.visitor import Visitor

SAMPLES = ("Sparse cells", "Crowded cells", "Flat cells")
Action = tuple[str, Callable[[], object]]


def images(folder: Path, sizes: list[tuple[int, int]]) -> list[Path]:
    """Synthetic images of (width, height), as files."""
    made = []
    for number, (width, height) in enumerate(sizes):
        config = SceneConfig(width=width, height=height, cells_per_megapixel=(120, 140))
        made.append(folder / f"image{number}_{width}x{height}.tif")
        tifffile.imwrite(made[-1], generate_scene(number, config).image)
    return made


def rounds(address: str, files: list[Path], teach_steps: int = 10) -> Iterator[list[Action]]:
    """What one visitor after the other does, for ever: each opens, looks, corrects, takes home and leaves.

    Args:
        address: of the page.
        files: images that they bring, each another one first.
        teach_steps: of every fourth visitor, who teaches; 0 for none.
    """
    for number in itertools.count():
        visitor = Visitor(address)
        brought = [files[(number + i) % len(files)] for i in range(3)]
        teaches = teach_steps and number % 4 == 3
        yield [
            *_looks_at_a_sample(visitor, SAMPLES[number % 3]),
            *_brings_one(visitor, brought[0]),
            *_brings_several(visitor, brought),
            *_cancels_and_compares(visitor, brought[-1]),
            *(_teaches(visitor, SAMPLES[number % 3], int(teach_steps)) if teaches else []),
            ("leave", visitor.http.close),
        ]


def _model(visitor: Visitor, taught: bool = False) -> tuple:
    return visitor.first_model, "", None, "", taught


def _looks_at_a_sample(visitor: Visitor, name: str) -> list[Action]:
    def correct(**action: object) -> Callable[[], object]:
        return lambda: visitor.send("viewer", "edit", *_model(visitor), event_data={"key": "00", **action})

    return [
        ("open a sample", lambda: visitor.send("sample", "blur", name)),
        ("find", lambda: visitor.send("find", "click", *_model(visitor))),
        ("correct", correct(op="delete", ids=[1])),
        ("correct", correct(op="draw", outline=[10, 10, 60, 10, 60, 60, 10, 60])),
        ("correct", correct(op="undo")),
        ("slide", lambda: slide(visitor, 0.4)),
        ("slide", lambda: slide(visitor, 0.3)),
    ]


def slide(visitor: Visitor, threshold: float) -> None:
    """Move the slider, and take all files home."""
    told = visitor.send("viewer", "release", event_data={"threshold": threshold, "key": "00"})
    assert sum(visitor.take(file) for file in told["downloads"]) > 1000


def _brings_one(visitor: Visitor, path: Path) -> list[Action]:
    return [
        ("open one", lambda: visitor.send("segment-upload", "upload", [visitor.upload(path)])),
        ("find", lambda: visitor.send("find", "click", *_model(visitor))),
        ("pixel size", lambda: visitor.send("pixel", "change", 0.5, "")),
        ("slide", lambda: slide(visitor, 0.35)),
    ]


def _brings_several(visitor: Visitor, paths: list[Path]) -> list[Action]:
    return [
        ("open three", lambda: visitor.send("segment-upload", "upload", [visitor.upload(path) for path in paths])),
        ("find", lambda: visitor.send("find", "click", *_model(visitor))),
        *[
            ("look at one", lambda key=f"{i:02}": visitor.send("strip", "select", event_data={"key": key}))
            for i in range(len(paths))
        ],
        ("zip of all", lambda: visitor.take(visitor.send("zip-all", "click")["zipped"])),
    ]


def _cancels_and_compares(visitor: Visitor, path: Path) -> list[Action]:
    def compare() -> None:
        names = visitor.choices("compare-names")[:2]
        assert "Compared on" in visitor.send("compare-run", "click", names)["status"]

    return [
        ("open one", lambda: visitor.send("segment-upload", "upload", [visitor.upload(path)])),
        ("cancel", lambda: visitor.cancel("find", "cancel", *_model(visitor))),
        ("compare", compare),
    ]


def _teaches(visitor: Visitor, name: str, steps: int) -> list[Action]:
    def teach() -> None:
        assert "Taught in" in visitor.send("teach-run", "click", steps)["teach-status"]

    return [
        ("open a sample", lambda: visitor.send("teach-sample", "blur", name)),
        ("teach", teach),
        ("open a sample", lambda: visitor.send("sample", "blur", name)),
        ("find as taught", lambda: visitor.send("find", "click", *_model(visitor, taught=True))),
    ]


def processes(server: int) -> dict[str, int]:
    """The processes of a page by what they are: the server, those that read, the one with the models."""
    children = [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]
    children += [
        int(pid)
        for task in Path(f"/proc/{server}/task").iterdir()
        if task.name != str(server)
        for pid in (task / "children").read_text().split()
    ]
    workers = [pid for pid in sorted(children) if b"worker_main.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    with_models = [pid for pid in workers if b"libtorch" in Path(f"/proc/{pid}/maps").read_bytes()]
    readers = [pid for pid in workers if pid not in with_models]
    return (
        {"server": server}
        | {f"reader {i}": pid for i, pid in enumerate(readers, 1)}
        | {f"models {i}" if i > 1 else "models": pid for i, pid in enumerate(with_models, 1)}
    )


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
