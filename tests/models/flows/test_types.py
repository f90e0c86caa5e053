from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cellpose", reason="cellpose isn't installed: make test-models has it")

from glioma_hf import InputError, Instances
from glioma_hf.data.features import CATEGORIES
from glioma_hf.models import load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.flows import crops, dynamics
from glioma_hf.models.flows.family import FAMILY, new_network, with_types
from glioma_hf.models.flows.recipe import FlowsRecipe, LightConfig
from glioma_hf.models.flows.segment import FlowSegmenter, FlowSettings
from glioma_hf.models.saved import ModelFolder
from tests.models.flows.test_flows import PLAIN, SMALL, TINY, disc

SIZE = (128, 160)
MASKS = [disc(SIZE, 40, 40, 26), disc(SIZE, 80, 110, 30), disc(SIZE, 40, 40, 10), disc(SIZE, 80, 110, 12)]
NAMES = ("cell_a", "cell_b", "soma", "soma")
CELLS = Instances.from_masks(MASKS, categories=[CATEGORIES.index(name) for name in NAMES])
PAIR = (sum(np.where(mask, 50, 10) for mask in MASKS).astype(np.uint8), CELLS)
CLASSES = ("cell_a", "cell_b", "soma")


@pytest.mark.parametrize("config", [TINY, SMALL], ids=["light", "manet"])
def test_a_network_gets_a_label_map_for_each_class(config):
    plain = new_network("random", config).eval()
    typed = with_types(plain, [PAIR])
    assert typed.config.classes == CLASSES
    assert with_types(typed, [PAIR]) is typed
    with torch.inference_mode():
        once, each = plain(torch.ones(1, 1, 64, 64)), typed(torch.ones(1, 1, 64, 64))
    assert each["cells"].shape[1] == 3
    for number in range(3):  # what was of all cells is of each class
        torch.testing.assert_close(each["flows"][:, 2 * number : 2 * number + 2], once["flows"])
        torch.testing.assert_close(each["cells"][:, number : number + 1], once["cells"])
    one = (PAIR[0], CELLS.select([0]))
    with pytest.raises(InputError, match=r"one category alone \(cell_a\); leave types out"):
        with_types(plain, [one])


def test_what_lies_in_a_cell_has_a_label_map_of_its_own():
    item = crops.Crops([PAIR], 1, PLAIN, side=64, classes=CLASSES)
    assert item[0]["flows"].shape == (6, 32, 32)
    assert item[0]["cells"].shape == (3, 32, 32)
    somata, cells = item.images[0].maps[8] > 0, item.images[0].maps[6:8].any(0)
    assert somata.sum() > 50
    assert cells[somata].all()
    with pytest.raises(InputError, match=r"has a cell_a, which the network doesn't tell from soma"):
        crops.Crops([PAIR], 1, PLAIN, classes=("soma",))


def test_a_network_that_says_the_truth_tells_them_apart():
    layers = [each.to_label_map() for each in crops.of_classes(CELLS, CLASSES)]
    flows = np.concatenate([dynamics.GAIN * dynamics.flows_of(labels) for labels in layers])
    logits = np.stack([np.where(labels > 0, 4.0, -4.0) for labels in layers])
    segmenter = FlowSegmenter([new_network("random", TINY.model_copy(update={"classes": CLASSES}))])
    found = segmenter.found(np.concatenate([flows, logits]).astype(np.float32)).select(FlowSettings())
    assert sorted(found.categories) == sorted(CELLS.categories)
    same = found.categories[:, None] == CELLS.categories
    assert ((found.iou(CELLS) > 0.9) & same).sum() == 4


def test_one_model_answers_all_tasks(tmp_path):
    recipe = FlowsRecipe(network=TINY, types=True, max_steps=2, batch=2, crop=64)
    trained = FAMILY.train("random", [PAIR], recipe, Run(workers=0))
    ModelFolder(tmp_path).write(FAMILY, trained, "random", recipe)
    again = load_segmenter(tmp_path)
    assert again.networks[0].config.classes == CLASSES
    assert again.maps(PAIR[0]).shape == (9, *SIZE)
    _, ap = FAMILY.tune(again.with_settings(views=1), [PAIR], lambda progress: None)
    assert 0 <= ap <= 1
    plain = FlowSegmenter([new_network("random", LightConfig(**TINY.model_dump()))])
    with pytest.raises(InputError, match="only networks of one decoder, which tell the same classes apart"):
        FlowSegmenter([*again.networks, *plain.networks])
