"""Cells A, cells B and somata by one network: a heat map for each, and what makes them rivals."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError, Instances, load_segmenter
from glioma_hf.data.features import CATEGORIES
from glioma_hf.models.base import Run
from glioma_hf.models.candidates import Ranked, rate
from glioma_hf.models.centres.crops import Crops
from glioma_hf.models.centres.family import FAMILY, new_network, with_types
from glioma_hf.models.centres.network import CentreNetwork, Maps
from glioma_hf.models.centres.recipe import Augmentation, CentresRecipe
from glioma_hf.models.centres.segment import CentreSegmenter, CentreSettings
from glioma_hf.models.saved import ModelFolder
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from glioma_hf.workflows.outputs import ENDINGS, coco_file, write_instances
from tests.models.centres.test_contract import TINY

CLASSES = ("cell_a", "cell_b", "soma")
A, B, SOMA = (CATEGORIES.index(name) for name in CLASSES)


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


@pytest.fixture
def typed_pair() -> tuple[np.ndarray, Instances]:
    """A cell A with its soma, and a cell B."""
    image = np.random.default_rng(0).integers(0, 255, (160, 200), dtype=np.uint8)
    objects = [square(20, 20, 60), square(40, 40, 20), square(120, 60, 60)]
    return image, Instances.from_polygons(objects, image.shape, categories=[A, SOMA, B])


class TypedPainter(CentreNetwork):
    """Says of one spot that it is a cell A, a cell B (less surely) and a soma, of another that it is a cell B."""

    def __init__(self):
        super().__init__(TINY.model_copy(update={"reach": 20, "classes": CLASSES}))

    def maps(self, crops):
        bright = torch.nn.functional.max_pool2d(crops, 2)
        heat = torch.full((len(crops), 3, *bright.shape[-2:]), -9.0)
        heat[:, 0, 30, 30], heat[:, 1, 30, 30], heat[:, 2, 30, 30], heat[:, 1, 60, 70] = 4.0, 3.0, 2.0, 4.0
        return Maps([bright], heat, bright, bright)

    def ask(self, levels, cells, owners, kinds):
        return torch.where(kinds == 2, 4.0, 11.0)[:, None], torch.full((len(cells),), 5.0)

    def draw(self, features, weights, cells, owners):
        axis = torch.arange(41.0) - 20
        return weights[:, :, None] - torch.hypot(axis[:, None], axis)


def test_cells_of_two_types_are_rivals_and_somata_lie_in_them():
    cells = CentreSegmenter(TypedPainter(), CentreSettings(views=1)).segment(np.zeros((384, 384), np.uint8))
    assert sorted(cells.categories.tolist()) == sorted([A, B, SOMA])
    soma = int(np.flatnonzero(cells.categories == SOMA)[0])
    assert cells.areas[soma] < cells.areas.max() / 4


def test_crops_have_a_heat_map_for_each_class(typed_pair):
    plain = Augmentation(scale=(1, 1), aspect=0, gamma=0, gain=0, offset=0, illuminated=0, noisy=0, blurred=0)
    crops = Crops([typed_pair], 12, plain, side=128, max_cells=4, jitter=0, classes=CLASSES)
    seen = set()
    for item in (crops[i] for i in range(12)):
        assert item["heat"].shape == (3, 64, 64)
        for (x, y), kind in zip(item["cells"].tolist(), item["kinds"].tolist(), strict=True):
            assert item["heat"][kind, y, x] == 1
            seen.add(kind)
    assert seen == {0, 1, 2}
    with pytest.raises(InputError, match="training image 0 has a soma, which the network doesn't tell from cell_a"):
        Crops([typed_pair], 1, plain, classes=("cell_a", "cell_b"))


def test_types_put_on_a_trained_network_say_of_each_class_what_it_said_of_all(typed_pair):
    torch.manual_seed(0)
    network = CentreNetwork(TINY).eval()
    typed = with_types(network, [typed_pair], adapter=False)
    assert typed.config.classes == CLASSES
    crops, cells, owners = torch.randn(1, 1, 64, 64), torch.tensor([[5, 6], [20, 9]]), torch.tensor([0, 0])
    before, after = network(crops, cells, owners, owners), typed(crops, cells, owners, torch.tensor([0, 2]))
    for kind in range(3):
        torch.testing.assert_close(after["heat"][:, kind], before["heat"][:, 0])
    torch.testing.assert_close(after["masks"], before["masks"])
    assert with_types(typed, [typed_pair], adapter=True) is typed
    with pytest.raises(InputError, match="an adapter is put on a model that tells types apart already"):
        with_types(network, [typed_pair], adapter=True)
    image, instances = typed_pair
    with pytest.raises(InputError, match=r"of one category alone .cell_b.; leave types out"):
        with_types(network, [(image, instances.select([2]))], adapter=False)


def test_a_candidate_of_the_wrong_type_is_none(typed_pair):
    _, references = typed_pair
    found = Instances.from_rles(references.rles, references.size, [B, SOMA, B], scores=[0.9, 0.8, 0.7])
    choice = CentreSettings(score_thresh=0.1)
    assert rate([Ranked(found)], [references], [choice])[0][0] == 1
    assert rate([Ranked(found)], [references], [choice], typed=True)[0][0] == pytest.approx(2 / 4)


def test_one_network_learns_types_and_is_saved_with_them(tmp_path):
    scene = generate_scene((5, 0), SceneConfig(width=256, height=256, scale=(1.0, 1.2), cells_per_megapixel=(150, 190)))
    typed = scene.instances(CATEGORIES)  # each has its place there
    assert set(typed.categories.tolist()) == {A, B, SOMA}
    recipe = CentresRecipe(max_steps=3, batch=2, crop=64, types=True, network=TINY)
    segmenter = FAMILY.train("random", [(scene.image, typed)], recipe, Run(workers=0))
    segmenter, _ = FAMILY.tune(segmenter, [(scene.image, typed)], lambda progress: None)
    ModelFolder(tmp_path / "model").write(FAMILY, segmenter, "random", recipe)
    loaded = load_segmenter(tmp_path / "model")
    assert loaded.network.config.classes == CLASSES
    assert new_network(str(tmp_path / "model")).config.classes == CLASSES
    loose = {"centre_thresh": 0.0, "score_thresh": 0.0, "min_area": 1, "views": 1}
    cells = loaded.with_settings(**loose).segment(scene.image)
    assert set(cells.categories.tolist()) <= {A, B, SOMA}


def test_types_are_in_the_files_that_are_written(typed_pair, tmp_path):
    image, instances = typed_pair
    files = {kind: tmp_path / f"x{end}" for kind, end in ENDINGS.items()}
    write_instances(files, image, instances)
    assert [row["category_id"] for row in json.loads(files["results"].read_text())] == [A, SOMA, B]
    assert [row["category"] for row in csv.DictReader(files["shapes"].open())] == ["cell_a", "soma", "cell_b"]
    whole = coco_file([("x.tif", instances)])
    names = {category["id"]: category["name"] for category in whole["categories"]}
    assert [names[row["category_id"]] for row in whole["annotations"]] == ["cell_a", "soma", "cell_b"]
