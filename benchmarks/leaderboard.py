"""The leaderboard at size: its table's query and page over models, and its scores against the report's double loop.

PYTHONPATH=. python benchmarks/leaderboard.py --models 500 1000 2000
PYTHONPATH=. python -m tests.postgres python benchmarks/leaderboard.py --models 2000
PYTHONPATH=. python benchmarks/leaderboard.py --models --images 50
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import insert, select

from glioma_hf import Instances
from glioma_hf.leaderboard.board import Board
from glioma_hf.leaderboard.catalogue import begin
from glioma_hf.leaderboard.metrics import COLUMNS, EXTRAS
from glioma_hf.leaderboard.standings import Asked, standings
from glioma_hf.leaderboard.tables import DataSet, Developer, Model, Performance, Scoring, Task, new_id, next_version
from glioma_hf.metrics.best_match import best_match
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

TASKS, IMAGES, RUNS = 12, 11, 7


def filled(folder: Path, database: str | None, models: int) -> Board:
    """A leaderboard of so many models, scored on all tasks in one mode; not by its record, which would take longer."""
    board = Board.open(folder, database)
    begin(board)
    rng = np.random.default_rng(0)
    with board.database.writing() as session:
        who, cells = Developer(name=f"many-{models}"), DataSet(name=f"many-{models}", title="Many")
        session.add_all([who, cells])
        session.flush()
        facts = {"data_set_id": cells.id, "split": "test", "objects": "cells", "num_images": IMAGES}
        tasks = [Task(name=f"many-{models}, {n}", **facts) for n in range(TASKS)]
        session.add_all(tasks)
        session.flush()
        ids = [new_id() for _ in range(models)]
        plain = {"backbone": "", "learning_method": "", "licence": "MIT", "paper_url": "", "code_url": "", "card": ""}
        own = {"developer_id": who.id, "published": True, "zero_shot": False, "source": "here", **plain}
        rows = [{"id": i, "name": f"model {n}", "version": next_version(None), **own} for n, i in enumerate(ids)]
        session.execute(insert(Model), [row | {"upload_time": who.created} for row in rows])
        for task in tasks:
            key = {"task_id": task.id, "mode": "overlapping", "version": 1}
            scores = rng.random((models, len(COLUMNS)))
            session.execute(
                insert(Performance),
                [
                    {"model_id": i, "metric_name": c.name, "score": float(s), **key}
                    for i, own_scores in zip(ids, scores, strict=True)
                    for c, s in zip(COLUMNS, own_scores, strict=True)
                ],
            )
            found = rng.integers(50, 180, (models, IMAGES))
            session.execute(
                insert(Scoring),
                [
                    {"model_id": i, "low": 0.4, "high": 0.6, "row": {"images": [_image(int(n)) for n in own]}, **key}
                    for i, own in zip(ids, found, strict=True)
                ],
            )
    return board


def _image(found: int) -> dict[str, object]:
    return {"file_name": "a.tif", "tp": [found] * 3, "fp": [180 - found] * 3, "fn": [180 - found] * 3}


def milliseconds(work: Callable[[], object]) -> str:
    """Medians of some runs, of time and of this process's work; the first, which may fill caches, isn't counted."""
    took, worked = [], []
    for _ in range(RUNS + 1):
        started, busy = time.perf_counter(), time.process_time()
        work()
        took.append(1000 * (time.perf_counter() - started))
        worked.append(1000 * (time.process_time() - busy))
    return f"{np.median(took[1:]):.0f} ({np.median(worked[1:]):.0f})"


def time_table(models: int, database: str | None) -> None:
    """Query and page for a leaderboard of this size."""
    from fastapi.testclient import TestClient

    sys.path.insert(0, str(Path(__file__).parents[1] / "spaces" / "leaderboard"))
    from site_pages import make_site

    with tempfile.TemporaryDirectory() as folder:
        board = filled(Path(folder), database, models)
        with board.database.reading() as session:
            task = session.scalars(select(Task.id).filter_by(name=f"many-{models}, 0")).one()

        def query(sort: str, page: int = 1) -> object:
            with board.database.reading() as session:
                return standings(session, Asked(task=task, sort=sort, page=page))

        browser = TestClient(make_site(board))
        started = time.perf_counter()
        browser.get("/", params={"task": task})
        first = 1000 * (time.perf_counter() - started)
        page = milliseconds(lambda: browser.get("/", params={"task": task}))
        plain, tied = milliseconds(lambda: query("pq")), milliseconds(lambda: query("ap50"))
        started = time.perf_counter()
        query("ap50", 10**6)  # the last page, whose ranks follow from all before
        end = f"{1000 * (time.perf_counter() - started):.0f}, {milliseconds(lambda: query('ap50', 10**6))}"
        kind = board.database.engine.dialect.name
        print(f"| {kind} | {models} | {plain} | {tied} | {first:.0f} | {page} | {end} |", flush=True)
        board.close()


def double_loop(predictions: list[np.ndarray], references: list[np.ndarray]) -> tuple[float, float, float]:
    """mDice, mIoU and mHD as the report words them: each reference against each prediction, whole masks."""
    from scipy.spatial.distance import directed_hausdorff

    dice, iou, distance = [], [], []
    for reference in references:
        rows = []
        for prediction in predictions:
            both, total = np.logical_and(prediction, reference).sum(), prediction.sum() + reference.sum()
            points = np.argwhere(prediction), np.argwhere(reference)
            apart = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
            rows.append((2 * both / total, both / (total - both), apart))
        best = np.array(rows)
        dice.append(best[:, 0].max())
        iou.append(best[:, 1].max())
        distance.append(best[:, 2].min())
    return float(np.sum(dice)), float(np.sum(iou)), float(np.sum(distance))


def pairs(images: int) -> Iterator[tuple[Instances, Instances]]:
    """Predictions and references of 512 x 512 pixels with some 100 cells each."""
    config = SceneConfig(width=512, height=512, cells_per_megapixel=(380, 400), scale=(0.35, 0.5))
    rng = np.random.default_rng(0)
    for number in range(images):
        outlines = [[scene_object.outline.ravel()] for scene_object in generate_scene(number, config).objects]
        references = Instances.from_polygons(outlines, (512, 512))
        references = references.select(references.areas > 0)
        moves = rng.integers(-2, 3, (len(references), 2)).tolist()
        masks = [(m, (t + y, x + z)) for (m, (t, x)), (y, z) in zip(references.box_masks(), moves, strict=True)]
        predictions = Instances.from_box_masks(masks, references.size)
        yield predictions.select(predictions.areas > 0), references


def time_scores(images: int) -> None:
    """Ours against the double loop, on the same images, with the same values."""
    ours = theirs = everything = 0.0
    cells = 0
    for predictions, references in pairs(images):
        cells += len(references)
        started = time.perf_counter()
        best = best_match(predictions, references, hausdorff=True)
        ours += time.perf_counter() - started
        started = time.perf_counter()
        overlap_ap([(predictions, references)], extras=EXTRAS)
        everything += time.perf_counter() - started
        dense = [[mask.astype(bool) for mask in side.to_masks()] for side in (predictions, references)]
        started = time.perf_counter()
        expected = double_loop(*dense)
        theirs += time.perf_counter() - started
        assert np.allclose((best.dice, best.iou, best.hausdorff), expected), (best, expected)
    print(f"{images} images, {cells / images:.0f} cells each: the double loop {1000 * theirs / images:.0f} ms an image")
    print(f"mDice, mIoU, mHD: {1000 * ours / images:.1f} ms, {theirs / ours:.0f} times faster, the same values")
    print(f"these and all else that is shown, one mode: {1000 * everything / images:.1f} ms an image")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="*", default=[2000], help="sizes of the table")
    parser.add_argument("--images", type=int, default=0, help="images for the double loop")
    given = parser.parse_args()
    if given.models:
        print(
            "| database | models | query, ms | with ties, ms | first page | page, ms | last page: first, then |\n"
            "|---|---|---|---|---|---|---|"
        )
    for models in given.models:
        time_table(models, os.environ.get("GLIOMA_HF_TEST_POSTGRES"))
    if given.images:
        time_scores(given.images)


if __name__ == "__main__":
    main()
