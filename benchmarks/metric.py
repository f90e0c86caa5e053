"""The metric against its peers: same work, same run, outputs compared, ratios printed.

    python benchmarks/metric.py --t98g ../shared/data/t98g [--large 1000]

runs in the environment of the peers, which `make setup` builds: `PYTHONPATH=. .venvs/peers/bin/python ...`; a peer
that isn't there is left out, saying so. Times are medians per image; machines are noisy: it is the ratios that count.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from metric_work import SIZE, make_work
from pycocotools import mask as coco_mask

from glioma_hf import Instances
from glioma_hf.metrics.overlap_ap import overlap_ap
from glioma_hf.metrics.scores import OverlapScores

ROOT = Path(__file__).parents[1]
THRESHOLDS = (0.5, 0.75, 0.9)


def main() -> None:
    """Run everything that is installed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--t98g", type=Path, default=ROOT.parent / "shared" / "data" / "t98g")
    parser.add_argument("--images", type=int, default=11)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", type=int, default=0, help="also a load of so many images")
    options = parser.parse_args()
    if options.large:  # first, so that its peak of memory is its own
        large_load(options.t98g, options.large)
    truth, results = make_work(options.t98g, options.images)
    command_line(truth, results)
    bench = Bench(truth, results, options.repeats)
    bench.run_all()
    bench.print_table()


def grouped(objects: list[dict], images: int) -> list[list[dict]]:
    """Objects by image."""
    found: dict[int, list[dict]] = defaultdict(list)
    for item in objects:
        found[item["image_id"]].append(item)
    return [found[i] for i in range(1, images + 1)]


class Bench:
    """The work in every form a peer wants, the times, and what each peer said."""

    def __init__(self, truth: dict, results: list[dict], repeats: int):
        self.truth, self.results, self.repeats = truth, results, repeats
        self.images = len(truth["images"])
        self.references = grouped(truth["annotations"], self.images)
        self.predictions = grouped(results, self.images)
        self.pairs = [
            (Instances.from_coco(p, SIZE), Instances.from_coco(r, SIZE))
            for p, r in zip(self.predictions, self.references, strict=True)
        ]
        self.rows: list[tuple[str, float]] = []

    def time(self, name: str, work, images: int | None = None, repeats: int | None = None):
        """Median milliseconds per image of `work`, which is run once before; returns its result."""
        result = work()
        spent = []
        for _ in range(repeats or self.repeats):
            start = time.perf_counter()
            work()
            spent.append(time.perf_counter() - start)
        self.rows.append((name, 1000 * statistics.median(spent) / (images or self.images)))
        return result

    def run_all(self) -> None:
        """Ours, then each peer, with the checks that their outputs agree."""
        self.check_rasters()
        ours = self.time("ours, from polygons", self.ours_from_polygons)
        rles = [(self.as_rle(p), self.as_rle(r)) for p, r in self.pairs]
        again = self.time("ours, from RLE in JSON, checked", lambda: self.ours_from_rle(rles))
        assert again == ours
        assert self.time("ours, from RLE made by pycocotools", self.ours_from_trusted) == ours
        bare = [(list(p.rles), list(r.rles), [0] * len(r)) for p, r in self.pairs]
        self.time("pycocotools, bare iou of RLE", lambda: [coco_mask.iou(*sides) for sides in bare])
        self.time("pycocotools, polygons to RLE alone", self.bare_rasters)
        self.optional("evaluate.load", self.evaluate_call, ours.to_dict())
        self.optional("faster-coco-eval", self.faster_coco)
        self.optional("pycocotools COCOeval", self.cocoeval)
        flat = overlap_ap(self.pairs, border=0, mode="flattened").to_dict()
        maps = [(p.to_label_map(), r.to_label_map()) for p, r in self.pairs]
        self.optional("StarDist, label maps", lambda: self.stardist(maps), flat)
        self.optional("Cellpose, label maps", lambda: self.cellpose(maps), flat)
        self.dense()

    def optional(self, name: str, work, expected: dict | None = None) -> None:
        """A peer that may not be installed."""
        try:
            found = work()
        except ImportError as error:
            print(f"left out, not installed: {name} ({error})")
            return
        if expected is not None:
            for t in THRESHOLDS:
                suffix = "" if t == 0.5 else f"_{100 * t:.0f}"
                for key in ("tp", "fp", "fn"):
                    assert found[key + suffix] == expected[key + suffix], (name, t, key)
            print(f"agrees with ours in TP, FP and FN at each threshold: {name}")

    def check_rasters(self) -> None:
        """Our RLEs are pycocotools' bit for bit."""
        for (p, r), predictions, references in zip(self.pairs, self.predictions, self.references, strict=True):
            for side, objects in ((p, predictions), (r, references)):
                expected = [coco_mask.merge(coco_mask.frPyObjects(o["segmentation"], *SIZE)) for o in objects]
                assert [a["counts"] for a in side.rles] == [b["counts"] for b in expected]
        print("rasters equal pycocotools' bit for bit")

    def ours_from_polygons(self) -> OverlapScores:
        """The plain function on COCO objects as JSON gives them."""
        return overlap_ap(
            (Instances.from_coco(p, SIZE), Instances.from_coco(r, SIZE))
            for p, r in zip(self.predictions, self.references, strict=True)
        )

    @staticmethod
    def as_rle(side: Instances) -> list[dict]:
        """COCO objects of RLE, as JSON gives them."""
        return [{"segmentation": {"size": list(SIZE), "counts": r["counts"].decode()}} for r in side.rles]

    @staticmethod
    def ours_from_rle(sides: list) -> OverlapScores:
        """The plain function on COCO objects of RLE, each checked."""
        return overlap_ap((Instances.from_coco(p, SIZE), Instances.from_coco(r, SIZE)) for p, r in sides)

    def ours_from_trusted(self) -> OverlapScores:
        """The plain function on RLEs that pycocotools made a moment ago, not checked again."""
        return overlap_ap((Instances.from_rles(p.rles, SIZE), Instances.from_rles(r.rles, SIZE)) for p, r in self.pairs)

    def bare_rasters(self) -> None:
        """What pycocotools alone takes to rasterise."""
        for objects in (*self.predictions, *self.references):
            for item in objects:
                coco_mask.frPyObjects(item["segmentation"], *SIZE)

    def evaluate_call(self) -> dict:
        """All that `evaluate` and Arrow cost."""
        import evaluate

        metric = evaluate.load(str(ROOT / "metric" / "overlap_ap.py"))
        size = {"height": SIZE[0], "width": SIZE[1]}
        predictions = [{**size, "objects": p} for p in self.predictions]
        references = [{**size, "objects": r} for r in self.references]
        return self.time(
            "ours, evaluate call from polygons", lambda: metric.compute(predictions=predictions, references=references)
        )

    def faster_coco(self) -> None:
        """The fastest peer."""
        from faster_coco_eval import COCO, COCOeval_faster

        self.time("faster-coco-eval, from polygons", lambda: self.judge(COCO, COCOeval_faster))
        self.check_map(COCO, COCOeval_faster, "faster-coco-eval")

    def cocoeval(self) -> None:
        """The reference implementation."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        self.time("pycocotools COCOeval, from polygons", lambda: self.judge(COCO, COCOeval), repeats=3)
        self.check_map(COCO, COCOeval, "pycocotools COCOeval")

    def judge(self, coco_class, eval_class, thresholds=THRESHOLDS):
        """Their work as light as it can be: our three thresholds, one area range, one limit of detections."""
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco_class()
            truth.dataset = copy.copy(self.truth)
            truth.createIndex()
            judge = eval_class(truth, truth.loadRes([dict(r) for r in self.results]), "segm")
            judge.params.iouThrs = np.array(thresholds)
            judge.params.maxDets = [100_000]
            judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
            judge.evaluate()
            judge.accumulate()
        return judge

    def check_map(self, coco_class, eval_class, name: str) -> None:
        """Their mean AP is the one that ours gives as an extra."""
        judge = self.judge(coco_class, eval_class, np.linspace(0.5, 0.95, 10))
        precision = np.asarray(judge.eval["precision"])
        mine = overlap_ap(self.pairs, border=0, extras=["coco"]).coco_map
        assert abs(float(precision[precision > -1].mean()) - mine) < 1e-6, name
        print(f"agrees with our COCO mAP: {name}")

    def stardist(self, maps) -> dict:
        """StarDist's matching on label maps."""
        from stardist.matching import matching

        found = self.time(
            "StarDist, label maps", lambda: [matching(r, p, thresh=THRESHOLDS) for p, r in maps], repeats=1
        )
        return self.counts([[(m.tp, m.fp, m.fn) for m in per_image] for per_image in found])

    def cellpose(self, maps) -> dict:
        """Cellpose's average precision on label maps."""
        from cellpose.metrics import average_precision

        found = self.time(
            "Cellpose, label maps",
            lambda: average_precision([r for _, r in maps], [p for p, _ in maps], list(THRESHOLDS)),
            repeats=1,
        )
        return self.counts(np.stack(found[1:], -1).astype(int).tolist())

    @staticmethod
    def counts(per_image) -> dict:
        """(image, threshold, tp fp fn) summed over images, by our names."""
        pooled = np.sum(np.array(per_image), 0)
        names = [(key, "" if t == 0.5 else f"_{100 * t:.0f}") for t in THRESHOLDS for key in ("tp", "fp", "fn")]
        return {key + suffix: int(value) for (key, suffix), value in zip(names, pooled.ravel(), strict=True)}

    def dense(self) -> None:
        """IoU by a product of dense (N, H, W) stacks, on one image."""
        predictions, references = self.pairs[0]

        def work():
            p, r = (
                coco_mask.decode(list(s.rles)).reshape(-1, len(s)).astype(np.float32) for s in (predictions, references)
            )
            shared = p.T @ r
            return shared / (p.sum(0)[:, None] + r.sum(0)[None] - shared)

        iou = self.time("a dense product, one image", work, images=1, repeats=1)
        assert np.allclose(iou, predictions.iou(references), atol=1e-5)
        print("agrees with our IoU: a dense product")

    def print_table(self) -> None:
        """Milliseconds per image, and how many times ours each takes."""
        base = dict(self.rows)["ours, from polygons"]
        print(
            f"\n{self.images} images of {SIZE[1]} x {SIZE[0]}, {len(self.truth['annotations'])} references, "
            f"{len(self.results)} predictions\n\n| what | ms per image | times ours from polygons |\n|---|---|---|"
        )
        for name, ms in self.rows:
            print(f"| {name} | {ms:.2f} | {ms / base:.2f} |")


def command_line(truth: dict, results: list[dict]) -> None:
    """`glioma-hf evaluate` from start to end, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("truth.json", "results.json")]
        for path, content in zip(paths, (truth, results), strict=True):
            path.write_text(json.dumps(content))
        code = "from glioma_hf.cli import main; main()"
        command = [
            sys.executable,
            "-c",
            code,
            "evaluate",
            "--references",
            paths[0],
            "--predictions",
            paths[1],
            "--json",
        ]
        spent = []
        for _ in range(5):
            start = time.perf_counter()
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            spent.append(time.perf_counter() - start)
            if done.returncode:
                print(f"glioma-hf evaluate can't run here: {done.stderr.strip().splitlines()[-1]}")
                return
        print(f"\nglioma-hf evaluate, whole program: {statistics.median(spent):.2f} s")


def large_load(t98g: Path, images: int) -> None:
    """Cost and memory of many images read one at a time, after a tenth of them and after all."""
    truth, results = make_work(t98g, 10, seed=1)
    sides = list(zip(grouped(results, 10), grouped(truth["annotations"], 10), strict=True))

    def stream(count: int):
        for i in range(count):
            p, r = sides[i % len(sides)]
            yield Instances.from_coco(p, SIZE), Instances.from_coco(r, SIZE)

    print("\n| images | seconds | ms per image | peak memory, MB |\n|---|---|---|---|")
    for count in (images // 10, images):
        start = time.perf_counter()
        overlap_ap(stream(count))
        spent = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {count} | {spent:.1f} | {1000 * spent / count:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
