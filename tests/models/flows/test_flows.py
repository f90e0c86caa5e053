from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError, Instances, overlap_ap
from glioma_hf.models import find_base, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.flows import crops, dynamics
from glioma_hf.models.flows.family import FAMILY, new_network
from glioma_hf.models.flows.manet import MediarNetwork
from glioma_hf.models.flows.mediar_crops import MediarCrops, recoloured
from glioma_hf.models.flows.network import FlowNetwork
from glioma_hf.models.flows.recipe import FlowsRecipe, LightConfig, MediarAugmentation, MediarConfig
from glioma_hf.models.flows.segment import FlowSegmenter, FlowSettings, _bell
from glioma_hf.models.flows.sight import scaled
from glioma_hf.models.saved import ModelFolder
from glioma_hf.models.vision.config import Augmentation
from tests.models.contract import PAIR, SCENE

TINY = LightConfig(encoder="tiny", frozen_features=None, widths=(8, 8, 8, 8))
SMALL = MediarConfig(decoder="manet", encoder="tiny", widths=(8, 8, 8, 8, 8), attention=4)
PLAIN = Augmentation(scale=(1, 1), aspect=0, gamma=0, gain=0, offset=0, illuminated=0, noisy=0, blurred=0)


@pytest.fixture
def with_cellpose() -> None:
    pytest.importorskip("cellpose", reason="cellpose isn't installed: make test-models has it")


def disc(size: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(size)
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.mark.usefixtures("with_cellpose")
def test_of_cells_that_share_a_pixel_the_first_has_it_or_the_last():
    masks = [disc((80, 120), 40, 40, 24), disc((80, 120), 40, 64, 24)]
    pair = (np.zeros((80, 120), np.uint8), Instances.from_masks(masks))
    shared = (masks[0] & masks[1])[::2, ::2]
    for priority, label in (("first", 1), ("last", 2)):
        image = crops.Crops([pair], 1, PLAIN, priority=priority).images[0]
        assert (image.labels[shared] == label).all()


@pytest.mark.usefixtures("with_cellpose")
def test_flows_lead_to_the_middle_and_back_to_the_cells():
    labels = np.zeros((90, 120), np.int32)
    for number, (row, column, radius) in enumerate([(30, 30, 20), (30, 75, 22), (70, 60, 15)], start=5):
        labels[disc(labels.shape, row, column, radius)] = number
    flows = dynamics.flows_of(labels)
    assert flows.shape == (2, 90, 120)
    assert not flows[:, labels == 0].any()
    assert flows[0, 15, 30] > 0.9  # above the middle, down
    assert flows[1, 30, 15] > 0.9  # left of it, to the right
    found = dynamics.labels_of(dynamics.GAIN * flows, np.where(labels > 0, 5, -5).astype(np.float32), 0.0, 200)
    assert sorted(np.unique(found)) == [0, 1, 2, 3]
    for number in (5, 6, 7):
        here = found[labels == number]
        assert (here == np.bincount(here).argmax()).mean() > 0.95
    assert (dynamics.flow_errors(found, dynamics.GAIN * flows) < 0.1).all()
    assert (dynamics.flow_errors(found, -dynamics.GAIN * flows) > 1).all()
    nothing = np.zeros((20, 20), np.int32)
    assert not dynamics.flows_of(nothing).any()
    assert len(dynamics.flow_errors(nothing, np.zeros((2, 20, 20), np.float32))) == 0
    assert dynamics.flows_of(np.ones((20, 20), np.int32)).any()  # a cell that fills the image


def test_specks_and_small_holes_are_turned_over_as_by_mediarformers_authors():
    logits = np.full((40, 60), -3, np.float32)
    logits[5:35, 5:35] = 3  # a cell, with a hole of 15 pixels and one of 16
    logits[10:13, 10:15] = -3
    logits[20:24, 20:24] = -3
    logits[5:8, 40:45] = 3  # a speck of 15, and one of 16
    logits[20:24, 40:44] = 3
    tidy = dynamics.without_specks(logits, 0.0) > 0
    assert tidy[10:13, 10:15].all()
    assert not tidy[20:24, 20:24].any()
    assert not tidy[5:8, 40:45].any()
    assert tidy[20:24, 40:44].all()
    assert tidy.sum() == 30 * 30 - 16 + 16


def test_without_cellpose_one_sentence_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cellpose", None)
    monkeypatch.setattr("glioma_hf.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"cellpose isn't installed; pip install 'glioma_hf\[flows\]' brings it"):
        FAMILY.train("random", [PAIR], FlowsRecipe(network=TINY, max_steps=1), Run(workers=0))
    with pytest.raises(InputError, match=r"glioma_hf\[flows\]"):
        FlowSegmenter([FlowNetwork(TINY)]).segment(SCENE.image)


@pytest.mark.usefixtures("with_cellpose")
def test_a_crop_s_flows_are_turned_with_its_picture():
    """Whatever the turn, mirror and stretch, following flows from any pixel of a disc leads to its middle."""
    size = (160, 160)
    pair = (np.where(disc(size, 80, 80, 50), 200, 100).astype(np.uint8), Instances.from_masks([disc(size, 80, 80, 50)]))
    how = PLAIN.model_copy(update={"near_cell": 1.0})
    items = crops.Crops([pair], 20, how, side=96, seed=3)
    seen = 0
    for number in range(20):
        item = items[number]
        assert item["crops"].shape == (1, 96, 96)
        assert item["flows"].shape == (2, 48, 48)
        cells = item["cells"][0].numpy()
        inside = cells > 0.99
        crop = item["crops"][0].numpy().reshape(48, 2, 48, 2).mean((1, 3))
        assert (crop[inside] > crop[cells < 0.01].max(initial=-9)).all()
        rows, columns = np.nonzero(inside)
        if len(rows) < 400:
            continue
        flows = item["flows"].numpy()[:, rows, columns]
        lengths = np.hypot(*flows)
        assert np.median(lengths) == pytest.approx(1, abs=0.05)
        # Lines along the flows meet in one point, the disc's middle: least squares.
        normal = np.stack([-flows[1], flows[0]]) / lengths
        offsets = normal[0] * rows + normal[1] * columns
        middle = np.linalg.lstsq(normal.T, offsets, rcond=None)[0]
        assert np.abs(normal.T @ middle - offsets).mean() < 1.0
        towards = np.stack([middle[0] - rows, middle[1] - columns])
        far = np.hypot(*towards) > 4
        assert ((flows * towards).sum(0)[far] > 0).mean() > 0.98
        seen += 1
    assert seen > 5
    assert torch.equal(items[4]["flows"], crops.Crops([pair], 20, how, side=96, seed=3)[4]["flows"])


@pytest.mark.usefixtures("with_cellpose")
def test_mediarformer_s_crops_are_square_turns_at_full_resolution():
    how = MediarAugmentation(style="mediar", zoomed=0, often=0)
    items = MediarCrops([PAIR], 8, how, side=64, seed=1)
    for number in range(8):
        item = items[number]
        assert item["crops"].shape == (1, 64, 64)
        assert item["flows"].shape == (2, 64, 64)
        assert 0 <= item["crops"].min() <= item["crops"].max() <= 1
        lengths = torch.linalg.vector_norm(item["flows"], dim=0)
        assert ((lengths < 1e-3) | ((lengths - 1).abs() < 1e-3)).all()  # no pixel is a mean of several
        assert not lengths[item["cells"][0] == 0].any()
    rough = MediarCrops([PAIR], 8, MediarAugmentation(style="mediar", often=1, zoomed=1), side=64, seed=1)
    assert all(torch.isfinite(rough[number]["crops"]).all() for number in range(8))


def test_cells_are_recoloured_one_or_all():
    labels = np.repeat(np.arange(4), 5)[None]
    kinds = set()
    for seed in range(40):
        by = recoloured(labels, (0.5, 1.5), np.random.default_rng(seed))
        assert (by[labels == 0] == 1).all()
        changed = [number for number in (1, 2, 3) if (by[labels == number] != 1).all()]
        assert all(len(np.unique(by[labels == number])) == 1 for number in (1, 2, 3))
        kinds.add(len(changed))
    assert kinds == {0, 1, 3}  # that one may be the background


class Told(FlowNetwork):
    """Says of each pixel what an image of its own shows: the brightness as a cell, and two gradients as flows."""

    def forward(self, crops_: torch.Tensor) -> dict[str, torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(crops_, 2)
        wide = torch.nn.functional.pad(small, (1, 1, 1, 1), mode="replicate")
        down = wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]
        right = wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]
        return {"flows": torch.cat([down, right], 1), "cells": small}


def test_mirrored_views_turn_the_flows_with_the_image():
    image = np.random.default_rng(0).normal(size=(128, 192)).cumsum(0).cumsum(1)
    once = FlowSegmenter([Told(TINY)], FlowSettings(views=1)).maps(image)
    for views in (2, 3, 4):
        again = FlowSegmenter([Told(TINY)], FlowSettings(views=views)).maps(image)
        np.testing.assert_allclose(again, once, atol=1e-4)


def test_windows_blend_into_what_one_window_says():
    image = np.random.default_rng(0).normal(size=(700, 900)).cumsum(0).cumsum(1)
    whole = FlowSegmenter([Told(TINY)], FlowSettings(views=1, tile=896)).maps(image)
    told = []
    segmenter = FlowSegmenter([Told(TINY)], FlowSettings(views=1, tile=128, tile_overlap=0.6))
    pieces = segmenter.maps(image, told.append)
    assert told[-1].total > 20
    assert told[-1].share == 1
    inner = (slice(2, 3), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(pieces[inner], whole[inner], atol=1e-4)
    # Flows at a window's edge are other ones; the Gaussian leaves little of them.
    assert np.abs(pieces[:2, 8:-8, 8:-8] - whole[:2, 8:-8, 8:-8]).max() < 0.05 * np.abs(whole[:2]).max()
    bell = _bell((64, 64), 2, True)
    assert bell.argmax() in (15 * 32 + 15, 15 * 32 + 16, 16 * 32 + 15, 16 * 32 + 16)
    assert bell.min() > 0


class Placed(MediarNetwork):
    """Says of each pixel how bright it is, and something else elsewhere in a window."""

    def forward(self, crops_: torch.Tensor) -> dict[str, torch.Tensor]:
        down, right = (torch.linspace(0, 1, side) for side in crops_.shape[-2:])
        said = crops_ + down[:, None] + 2 * right**2
        return {"flows": torch.cat([said, -said], 1), "cells": said**2}


def by_monai_s_windows(image: np.ndarray, network: Placed) -> np.ndarray:
    """Maps as MediarFormer's authors have them: each view in windows of 512 with 60 % overlap, then their mean."""
    pixels, told = torch.from_numpy(network.look(image).pixels(image)), 0
    ramp = torch.exp(-0.5 * ((torch.arange(512) - 255.5) / 64) ** 2)
    for axes in ([], [-1], [-2]):
        lacking = [max(512 - side, 0) for side in image.shape]
        above, before = (half // 2 for half in lacking)
        view = torch.nn.functional.pad(pixels.flip(axes), (before, lacking[1] - before, above, lacking[0] - above))
        total, weights = torch.zeros(3, *view.shape), torch.zeros(view.shape)
        starts = [sorted({min(204 * n, side - 512) for n in range(9)}) for side in view.shape]
        for top, left in itertools.product(*starts):
            here = (..., slice(top, top + 512), slice(left, left + 512))
            seen = network(view[here][None, None])
            total[here] += torch.outer(ramp, ramp).clamp(min=1e-3) * torch.cat([seen["flows"], seen["cells"]], 1)[0]
            weights[here] += torch.outer(ramp, ramp).clamp(min=1e-3)
        maps = (total / weights)[:, above : above + image.shape[0], before : before + image.shape[1]].flip(axes)
        told = told + maps * torch.tensor([-1.0 if -2 in axes else 1, -1.0 if -1 in axes else 1, 1])[:, None, None]
    return (told / 3).numpy()


@pytest.mark.parametrize("size", [(700, 1025), (301, 613), (90, 75)])
def test_mediarformer_s_windows_lie_as_its_authors_lay_them(size):
    image = np.random.default_rng(0).integers(0, 200, size).astype(np.uint8)
    network = Placed(SMALL)
    np.testing.assert_allclose(FlowSegmenter([network]).maps(image), by_monai_s_windows(image, network), atol=1e-4)


def test_mediarformer_sees_an_image_in_steps_of_8_bits_between_its_darkest_and_brightest_pixels():
    image = np.repeat([0, 40, 41, 90, 240], [50, 10, 10, 1980, 1]).astype(np.uint16)[None]  # with a border
    seen = scaled(image)
    assert (seen.low, seen.high) == (40, 90)
    np.testing.assert_allclose(255 * seen.pixels(image)[0, [0, 50, 60, 70, -1]], [0, 0, 5, 255, 255], atol=1e-4)
    assert not scaled(np.zeros((3, 3))).pixels(np.zeros((3, 3))).any()


def test_maps_have_the_image_s_size_whatever_it_is():
    for size in ((33, 70), (1, 1), (64, 129)):
        for network in (FlowNetwork(TINY), new_network("random", SMALL)):
            assert FlowSegmenter([network]).maps(np.ones(size)).shape == (3, *size)
            assert FlowSegmenter([network]).for_diameter(80.0).maps(np.ones(size)).shape == (3, *size)


def test_several_networks_are_asked_together():
    torch.manual_seed(0)
    one, other = FlowNetwork(TINY), FlowNetwork(TINY)
    image = SCENE.image
    settings = FlowSettings(views=1)
    maps = [FlowSegmenter([network], settings).maps(image) for network in (one, other)]
    both = FlowSegmenter([one, other], settings).maps(image)
    np.testing.assert_allclose(both, (maps[0] + maps[1]) / 2, atol=1e-5)
    with pytest.raises(InputError, match="only networks of one decoder"):
        FlowSegmenter([one, new_network("random", SMALL)])


def test_several_saved_models_are_one_by_a_plus(tmp_path):
    for name in ("a", "b"):
        segmenter = FlowSegmenter([new_network("random", TINY, ord(name))], FlowSettings(views=1, cell_thresh=0.3))
        ModelFolder(tmp_path / name).write(FAMILY, segmenter, "random", FlowsRecipe(network=TINY))
    both = load_segmenter(f"flows:{tmp_path / 'a'}+{tmp_path / 'b'}")
    assert len(both.networks) == 2
    assert both.settings.cell_thresh == 0.3
    with pytest.raises(InputError, match=r"no-such.*can't be loaded; give imagenet, random or a folder"):
        load_segmenter(f"flows:{tmp_path / 'a'}+no-such")


@pytest.mark.usefixtures("with_cellpose")
def test_a_network_that_says_the_truth_finds_the_cells():
    labels = SCENE.instances().to_label_map()
    flows = 0.9 * dynamics.GAIN * dynamics.flows_of(labels)
    logits = np.where(labels > 0, 4.0, -4.0).astype(np.float32)
    segmenter = FlowSegmenter([FlowNetwork(TINY)], FlowSettings(min_area=20))
    found = segmenter.found(np.concatenate([flows, logits[None]]).astype(np.float32))
    cells = found.select(segmenter.settings)
    assert overlap_ap([(cells, SCENE.instances().flatten())]).at(0.5).recall > 0.9
    assert (cells.scores > 0.9).all()
    assert len(found.kept(segmenter.settings.model_copy(update={"min_area": 10**6}))) == 0
    assert len(found.kept(segmenter.settings.model_copy(update={"flow_thresh": 1e-9}))) == 0
    assert len(found.kept(segmenter.settings.model_copy(update={"flow_thresh": 0.0}))) == len(found.candidates)


def test_a_recipe_of_another_family_or_network_is_refused(tmp_path):
    (tmp_path / "r.json").write_text('{"max_cells": 3}')
    with pytest.raises(InputError, match=r"r\.json: not a recipe of Flows and label maps .*max_cells"):
        FAMILY.read_recipe(tmp_path / "r.json")
    (tmp_path / "r.json").write_text('{"network": {"decoder": "no"}}')
    with pytest.raises(InputError, match=r"r\.json: not a recipe of"):
        FAMILY.read_recipe(tmp_path / "r.json")
    assert find_base("flows:random") == (FAMILY, "random")


@pytest.mark.usefixtures("with_cellpose")
def test_the_other_network_s_crops_are_refused():
    with pytest.raises(InputError, match='augmentation isn\'t one for "decoder": "manet"'):
        FAMILY.train("random", [PAIR], FlowsRecipe(network=SMALL, max_steps=1), Run(workers=0))
    how = MediarAugmentation(style="mediar")
    with pytest.raises(InputError, match='augmentation isn\'t one for "decoder": "light"'):
        FAMILY.train("random", [PAIR], FlowsRecipe(network=TINY, augmentation=how, max_steps=1), Run(workers=0))


def test_weights_of_another_network_are_named(tmp_path):
    segmenter = FlowSegmenter([new_network("random", TINY)])
    ModelFolder(tmp_path).write(FAMILY, segmenter, "random", FlowsRecipe(network=TINY))
    (tmp_path / "config.json").write_text(SMALL.model_dump_json())
    with pytest.raises(InputError, match=r"model\.safetensors: it lacks cellprob_head\.0\.bias \(and \d+ more\)"):
        load_segmenter(tmp_path)
    with pytest.raises(InputError, match="flows:imagenet has seen no cell yet"):
        load_segmenter("flows")


def test_epochs_are_counted_in_crops():
    recipe = FAMILY.read_recipe("mediarformer")
    assert recipe.steps(30) == 375
    assert recipe.for_steps(7).steps(30) == 7
    assert FAMILY.read_recipe("full").steps(30) == 850


@pytest.mark.usefixtures("with_cellpose")
def test_a_run_that_was_broken_off_goes_on_to_the_same_weights(tmp_path):
    recipe = FlowsRecipe(network=TINY, max_steps=4, batch=2, crop=64, precision="fp32", check_every=2)

    def stop(progress) -> None:
        if progress.done == 3 and progress.loss is not None:
            raise KeyboardInterrupt

    whole = FAMILY.train("random", [PAIR], recipe, Run(tmp_path / "whole", workers=0))
    with pytest.raises(KeyboardInterrupt):
        FAMILY.train("random", [PAIR], recipe, Run(tmp_path / "cut", stop, workers=0))
    again = FAMILY.train("random", [PAIR], recipe, Run(tmp_path / "cut", workers=0))
    for name, value in whole.networks[0].state_dict().items():
        assert torch.equal(again.networks[0].state_dict()[name], value), name
