from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glioma_hf import InputError, Instances
from glioma_hf.metrics.build_modules import MODULES, build_module
from glioma_hf.metrics.inputs import pair_of_instances, to_rles
from glioma_hf.metrics.overlap_ap import by_category, overlap_ap
from glioma_hf.resources import load_script
from tests.conftest import ROOT
from tests.strategies import square

SQUARES = [(5, 5, 10), (12, 5, 10), (5, 22, 9)]
SIZE = (40, 40)


@pytest.fixture(scope="module")
def metric():
    import evaluate

    return evaluate.load(str(ROOT / "metric" / "overlap_ap.py"))


def forms() -> dict[str, object]:
    cells = Instances.from_polygons([square(*s) for s in SQUARES], SIZE)
    rles = [{"size": list(SIZE), "counts": r["counts"].decode()} for r in cells.rles]
    return {
        "instances": cells,
        "rles": rles,
        "annotations": cells.to_coco(1),
        "row": {"width": 40, "height": 40, "objects": [{"segmentation": square(*s), "id": 3} for s in SQUARES]},
        "stack": np.stack(list(cells.to_masks())),
        "encoded": to_rles(cells),
    }


@pytest.mark.parametrize("left", list(forms()))
@pytest.mark.parametrize("right", list(forms()))
def test_every_form_meets_every_other(metric, left, right):
    scores = metric.compute(predictions=[forms()[left]], references=[forms()[right]])
    assert (scores["tp"], scores["fp"], scores["fn"]) == (3, 0, 0)


def test_label_maps_and_polygons_without_size(metric):
    labels = np.zeros(SIZE, np.int32)
    labels[5:15, 5:15] = 7
    polygons = [{"segmentation": square(5, 5, 10)}]
    assert metric.compute(predictions=[polygons], references=[labels])["ap90"] == 1


def test_it_says_what_the_plain_function_says(metric):
    rng = np.random.default_rng(1)

    def random_cells() -> Instances:
        return Instances.from_polygons([square(*rng.uniform(2, 25, 2), rng.uniform(4, 12)) for _ in range(12)], SIZE)

    pairs = [(random_cells(), random_cells()) for _ in range(4)] + [(Instances.empty(SIZE), random_cells())]
    for mode in ("overlapping", "flattened"):
        options = {"thresholds": [0.3, 0.55], "mode": mode, "border": 1}
        found = metric.compute(predictions=[p for p, _ in pairs], references=[r for _, r in pairs], **options)
        assert found == overlap_ap(pairs, **options).to_dict()


def test_add_and_add_batch_pool_like_compute(metric):
    cells, none = forms()["instances"], Instances.empty(SIZE)
    metric.add(prediction=cells, reference=cells)
    metric.add_batch(predictions=[none, cells], references=[cells, none])
    scores = metric.compute()
    assert (scores["tp"], scores["fp"], scores["fn"], scores["images"]) == (3, 3, 3, 3)


def test_nothing_on_either_side(metric):
    assert metric.compute(predictions=[[]], references=[[]])["ap50"] == 0


@pytest.mark.parametrize(
    ("predictions", "references", "says"),
    [
        (Instances.empty((3, 3)), Instances.empty((3, 4)), r"image 0: the predictions are of size \[3, 3\]"),
        ([{"segmentation": square(1, 1, 3)}], [], "polygons without the image's size"),
        ([{"segmentation": [[1, 2]]}], np.zeros((5, 5), int), "image 0, predictions: annotation number 0: polygon 0"),
        ("cells.json", [], "str is no side of an image"),
        ({"boxes": []}, [], "a dict with boxes is no side"),
        ([{"size": [10**6, 10**6], "counts": "0"}], [], "an image of 1000000 x 1000000 pixels is out of bounds"),
        (np.zeros((4, 4)), np.zeros((4, 4), int), "a label map is a 2-D integer array"),
    ],
)
def test_bad_input_names_the_image(predictions, references, says):
    with pytest.raises(InputError, match=says):
        pair_of_instances(predictions, references, "image 0")


def test_sides_of_different_length(metric):
    with pytest.raises(InputError, match="1 images with predictions, 0 with references"):
        metric.compute(predictions=[[]], references=[])


def random_pairs() -> list[tuple[Instances, Instances]]:
    rng = np.random.default_rng(1)

    def some() -> Instances:
        polygons = [square(*rng.uniform(2, 25, 2), rng.uniform(4, 12)) for _ in range(12)]
        return Instances.from_polygons(polygons, SIZE, categories=rng.integers(0, 2, 12), scores=rng.random(12))

    return [(some(), some()) for _ in range(4)]


def test_extras_and_categories_pass_through(metric):
    pairs = random_pairs()
    sides = {"predictions": [p for p, _ in pairs], "references": [r for _, r in pairs]}
    options = {"extras": ["panoptic", "coco", "best_match", "interval"], "border_rule": "ignore", "min_area": 20}
    assert metric.compute(**sides, **options) == overlap_ap(pairs, **options).to_dict()
    groups = {"a": [0], "both": [0, 1]}
    apart = {name: scores.to_dict() for name, scores in by_category(pairs, groups).items()}
    assert metric.compute(**sides, categories=groups) == apart


def test_combine_with_another_module(metric):
    import evaluate

    both = evaluate.combine({"overlap": metric, "again": metric})
    cells = forms()["instances"]
    scores = both.compute(predictions=[cells], references=[cells])
    assert scores["overlap_ap50"] == scores["again_ap50"] == 1


WORKER = """
import sys
import evaluate
module, rank, cache = sys.argv[1], int(sys.argv[2]), sys.argv[3]
metric = evaluate.load(module, num_process=2, process_id=rank, experiment_id="two", cache_dir=cache)
cell = {"size": [12, 12], "counts": "W166000000000Q1"}
for number in range(3):
    metric.add(prediction=[cell] if rank == 0 or number else [], reference=[cell])
print(metric.compute())
"""


def test_two_processes_pool_their_images(tmp_path):
    command = [sys.executable, "-c", WORKER, str(ROOT / "metric" / "overlap_ap.py")]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stdout=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    scores = ast.literal_eval(outputs[0].strip().splitlines()[-1])
    assert (scores["images"], scores["tp"], scores["fn"]) == (6, 5, 1)
    assert outputs[1].strip().splitlines()[-1] == "None"


BARE = Path(os.environ.get("GLIOMA_HF_EVALUATE", ROOT / ".venvs" / "evaluate" / "bin" / "python"))
ALONE = """
import json, sys
import evaluate
try:
    import glioma_hf
    raise SystemExit("glioma_hf is importable here: the test would show nothing")
except ImportError:
    pass
metric = evaluate.load(sys.argv[1] + "/overlap_ap/overlap_ap.py")
cell = {"size": [12, 12], "counts": "W166000000000Q1"}
row = {"width": 12, "height": 12, "objects": [{"segmentation": [[3, 3, 9, 3, 9, 9, 3, 9]], "category": 1}]}
extras = ["curve", "panoptic", "image_means", "interval", "best_match", "hausdorff"]
scores = metric.compute(predictions=[[cell]], references=[row], extras=extras)
metric.add(prediction=[cell], reference=row)
metric.add_batch(predictions=[[]], references=[row])
pooled = metric.compute()
dice = evaluate.load(sys.argv[1] + "/pixel_dice/pixel_dice.py")
print(json.dumps([scores, pooled, dice.compute(predictions=[[[1, 1]]], references=[[[1, 0]]])["dice"]]))
"""


@pytest.mark.skipif(not BARE.exists(), reason="no environment of evaluate alone: make setup builds it")
def test_as_pushed_it_needs_only_evaluate_numpy_scipy_and_pycocotools(tmp_path):
    for name in MODULES:
        files = build_module(name, tmp_path / name)
        assert {"README.md", "app.py", "requirements.txt", f"{name}.py"} <= set(files)
        sources = [(tmp_path / name / f).read_text() for f in files if f.endswith(".py")]
        assert not any(re.search(r"^\s*(from|import) glioma_hf", source, re.MULTILINE) for source in sources)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(BARE), "-c", ALONE, str(tmp_path)], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    scores, pooled, dice = json.loads(done.stdout.strip().splitlines()[-1])
    assert scores["ap90"] == scores["pq"] == scores["mdice"] == 1
    assert scores["mhd"] == 0
    assert (pooled["tp"], pooled["fn"], pooled["ap50"]) == (1, 1, 0.5)
    assert dice == pytest.approx(2 / 3)


def test_widget_scores_files_and_answers_bad_ones_by_a_sentence(tmp_path):
    gr = pytest.importorskip("gradio")

    app = load_script("metric/app.py")
    assert app.build()
    cells = forms()["instances"]
    truth = {"images": [{"id": 4, "width": 40, "height": 40}], "annotations": cells.to_coco(4)}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(cells.to_coco(4)))
    rows = dict(app.score(str(tmp_path / "truth.json"), str(tmp_path / "found.json"), "overlapping"))
    assert rows["ap50"] == 1
    with pytest.raises(gr.Error, match="Give both files"):
        app.score(None, None, "overlapping")
    (tmp_path / "found.json").write_text(json.dumps(cells.to_coco(5)))
    with pytest.raises(gr.Error, match="don't belong together"):
        app.score(str(tmp_path / "truth.json"), str(tmp_path / "found.json"), "overlapping")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be scored"),
        (b"\xff\xfe\xff", "can't be scored"),
        (b"[" * 10**5, "nested too deeply"),
        (b"[" + b"[]," * 2**21 + b"[]]", "holds more than 100 MB or 2097152 lists"),
        (b" " * (100 * 2**20 + 1), "holds more than 100 MB"),
        (b"[1, 2]", "can't be scored"),
        (b'"text"', "can't be scored"),
        (b'{"annotations": 3}', "can't be scored"),
        (b'[{"image_id": [4]}]', "can't be scored"),
        (b'[{"image_id": 4, "segmentation": [[1, 1, 1e999, 5, 5, 9]]}]', "can't be scored"),
    ],
)
def test_widget_reads_in_bounds(tmp_path, content, says):
    gr = pytest.importorskip("gradio")
    app = load_script("metric/app.py")
    truth = {"images": [{"id": 4, "width": 40, "height": 40}], "annotations": forms()["instances"].to_coco(4)}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_bytes(content)
    with pytest.raises(gr.Error, match=says):
        app.score(str(tmp_path / "truth.json"), str(tmp_path / "found.json"), "overlapping")
