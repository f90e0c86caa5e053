from __future__ import annotations

import numpy as np
import pytest

from glioma_hf import InputError, Instances
from glioma_hf.metrics.inputs import pair_of_instances, to_rles
from glioma_hf.metrics.overlap_ap import overlap_ap
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
        assert found == overlap_ap(pairs, **options)


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
        (np.zeros((4, 4)), np.zeros((4, 4), int), "a label map is a 2-D integer array"),
    ],
)
def test_bad_input_names_the_image(predictions, references, says):
    with pytest.raises(InputError, match=says):
        pair_of_instances(predictions, references, "image 0")


def test_sides_of_different_length(metric):
    with pytest.raises(InputError, match="1 images with predictions, 0 with references"):
        metric.compute(predictions=[[]], references=[])
