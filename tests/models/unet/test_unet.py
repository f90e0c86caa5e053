"""What a U-Net sees, learns from, and makes of what it predicts."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError, Instances
from glioma_hf.metrics.foreground import foreground, pixel_loss
from glioma_hf.metrics.pixel_dice import resize_bilinear
from glioma_hf.models import get_family
from glioma_hf.models.base import Run
from glioma_hf.models.unet.crops import OUTSIDE, Pairs, collate
from glioma_hf.models.unet.network import UNet
from glioma_hf.models.unet.pixels import as_tensor, normalised, raised, resized
from glioma_hf.models.unet.recipe import Augmentation, NetworkConfig, UNetRecipe
from glioma_hf.models.unet.segment import UNetSegmenter, UNetSettings
from glioma_hf.models.unet.train import largest_batch, loss_of
from glioma_hf.progress import Progress
from tests.models.contract import PAIR

TINY = NetworkConfig(encoder="tiny", widths=(8, 8, 8, 8, 8))
PERCENTILES = (0.0, 100.0)


def recipe(**changes) -> UNetRecipe:
    brief = {"network": TINY, "resolution": (64, 48), "max_steps": 6, "batch": 2, "learning_rate": 0.01}
    return UNetRecipe.model_validate({**brief, "precision": "fp32", **changes})


def box(size, top, left, bottom, right) -> Instances:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return Instances.from_masks([mask])


# -- what it sees ------------------------------------------------------------------------


def test_contrast_is_raised_between_percentiles():
    image = np.array([[10, 20], [30, 110]], np.uint16)
    assert raised(image, (0, 100)).tolist() == [[0, 26], [51, 255]]
    assert raised(image * 200, (0, 100)).tolist() == [[0, 26], [51, 255]]
    assert raised(np.full((2, 2), 7), (0, 100)).tolist() == [[0, 0], [0, 0]]
    alpha = np.dstack([image, image, image, np.full((2, 2), 60000)])
    assert np.array_equal(raised(alpha, (0, 100)), np.dstack([raised(image, (0, 100))] * 3))
    assert raised(np.dstack([image, image]), (0, 100)).shape == (2, 2)


def test_resizing_is_that_of_the_metric():
    image = np.random.default_rng(0).integers(0, 256, (37, 53)).astype(np.uint8)
    for resolution in ((80, 64), (20, 30), (53, 37)):
        ours = resized(as_tensor(image), resolution)[0].numpy()
        assert np.allclose(ours, resize_bilinear(image, resolution), atol=1e-3)


# -- what it learns from -----------------------------------------------------------------


def test_items_are_padded_and_say_where_the_image_ends():
    image = np.zeros((48, 40), np.uint8)
    image[8:24, 8:24] = 200
    item = Pairs([(image, box((48, 40), 8, 8, 24, 24))], 1, recipe(resolution=None), PERCENTILES)[0]
    assert item["images"].shape == (1, 64, 64)
    assert item["masks"].shape == (64, 64)
    assert (item["masks"][48:] == OUTSIDE).all()
    assert (item["masks"][:, 40:] == OUTSIDE).all()
    assert item["masks"][:48, :40].sum() == 16 * 16


def test_a_resized_mask_has_every_pixel_above_zero():
    pixels, mask = np.zeros((4, 8), np.uint8), box((4, 8), 0, 0, 1, 1)
    pairs = Pairs([(pixels + np.arange(8, dtype=np.uint8), mask)], 1, recipe(resolution=(32, 32)), PERCENTILES)
    expected = resize_bilinear(foreground(mask), (32, 32)) > 0
    assert np.array_equal(pairs[0]["masks"].numpy() == 1, expected)


def test_each_image_is_seen_once_before_any_is_seen_again_and_the_same_in_every_run():
    images = [
        (np.full((32, 32), value, np.uint8) + np.eye(32, dtype=np.uint8), box((32, 32), 0, 0, 9, value))
        for value in (3, 5, 8)
    ]
    pairs = Pairs(images, 9, recipe(resolution=(32, 32), augmentation={"flips": True}), PERCENTILES)
    seen = [int((pairs[index]["masks"] == 1).sum()) // 9 for index in range(9)]
    assert [sorted(seen[i : i + 3]) for i in (0, 3, 6)] == [[3, 5, 8]] * 3
    again = Pairs(images, 9, recipe(resolution=(32, 32), augmentation={"flips": True}), PERCENTILES)
    assert all(torch.equal(pairs[i]["masks"], again[i]["masks"]) for i in range(9))
    other = Pairs(images, 9, recipe(resolution=(32, 32), augmentation={"flips": True}, seed=1), PERCENTILES)
    assert any(not torch.equal(pairs[i]["images"], other[i]["images"]) for i in range(9))


def test_random_crops_hold_the_share_that_is_asked_for():
    """A stripe of 8 of 64 pixels, seen in windows of half the image, is twice as wide."""
    image = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    cells = box((64, 64), 0, 28, 64, 36)
    asked = recipe(resolution=(64, 64), augmentation={"crop_sides": [0.5, 0.5]})
    pairs = Pairs([(image, cells)], 8, asked, PERCENTILES)
    widths = {int((pairs[i]["masks"][0] == 1).sum()) for i in range(8)}
    assert max(widths) in (16, 17, 18)  # every value above 0 counts
    values = pairs[0]["images"] * 0.225 + 0.45  # a window of half as many values
    assert float(values.max() - values.min()) == pytest.approx(31 / 63, abs=0.02)


def test_crops_are_cut_out_as_they_are():
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    pairs = Pairs([(image, box((64, 64), 0, 0, 64, 64))], 4, recipe(resolution=(32, 32), method="crop"), PERCENTILES)
    whole = normalised(as_tensor(raised(image, PERCENTILES)).float())
    for index in range(4):
        item = pairs[index]["images"]
        assert item.shape == (1, 32, 32)
        assert any(
            torch.equal(item[0], whole[0, top : top + 32, left : left + 32]) for top in range(33) for left in range(33)
        )


def test_sharpness_and_contrast_change_pixels_alone():
    pixels, cells = PAIR
    for augmentation in ({"sharpness": 5.0}, {"contrast": 2.0}):
        plain = Pairs([PAIR], 6, recipe(), PERCENTILES)
        varied = Pairs([(pixels, cells)], 6, recipe(augmentation=augmentation), PERCENTILES)
        changed = [not torch.equal(plain[i]["images"], varied[i]["images"]) for i in range(6)]
        assert any(changed)
        assert not all(changed)  # every other one
        assert all(torch.equal(plain[i]["masks"], varied[i]["masks"]) for i in range(6))
        assert max(float(varied[i]["images"].max()) for i in range(6)) <= (1 - 0.45) / 0.225 + 1e-5


def test_batches_hold_items_of_several_sizes_and_colours():
    grey, cells = PAIR
    coloured = np.dstack([grey] * 3)[:96, :96]
    pairs = Pairs([PAIR, (coloured, cells.crop(0, 0, 96, 96))], 2, recipe(resolution=None), PERCENTILES)
    batch = collate([pairs[0], pairs[1]])
    assert batch["images"].shape == (2, 3, 128, 160)
    assert (batch["masks"] == OUTSIDE).any()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"augmentation": {"crop_sides": [0.3, 0.5]}, "method": "crop"}, "crop_sides asks for a resolution"),
        ({"resolution": None, "method": "crop"}, "the method crop asks for a resolution"),
        ({"augmentation": {"crop_sides": [0.5, 0.3]}}, "from the least to the greatest"),
    ],
)
def test_recipes_that_say_two_things_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        recipe(**changes)


def test_masks_of_another_size_are_named():
    with pytest.raises(InputError, match="training image 0 is of 8 x 8 pixels, its masks are of 9 x 8"):
        Pairs([(np.zeros((8, 8)), box((8, 9), 0, 0, 2, 2))], 1, recipe(), PERCENTILES)


# -- how it learns -----------------------------------------------------------------------


def test_the_loss_is_that_of_the_metrics_and_leaves_out_what_is_beyond():
    rng = np.random.default_rng(1)
    logits, mask = rng.normal(size=(5, 7)), rng.random((5, 7)) > 0.5
    expected = pixel_loss(1 / (1 + np.exp(-logits)), mask)
    wide = np.full((1, 8, 8), OUTSIDE)
    wide[0, :5, :7] = mask
    values = np.full((1, 8, 8), 9.0)
    values[0, :5, :7] = logits
    assert float(loss_of(torch.tensor(values), torch.tensor(wide))) == pytest.approx(expected, abs=1e-5)


def test_the_batch_is_halved_until_it_fits_and_that_is_told():
    tried, told = [], []

    def attempt(batch: int) -> None:
        tried.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert largest_batch(16, attempt, told.append) == 2
    assert tried == [16, 8, 4, 2]
    assert told[0].message == "memory holds no batch of 16: 8 instead"

    def fails(batch: int) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        largest_batch(4, fails, told.append)


def test_a_resolution_that_is_no_multiple_of_the_stride_is_padded_and_told():
    told: list[Progress] = []
    segmenter = get_family("unet").train(
        "random", [PAIR], recipe(resolution=(70, 50), max_steps=1), Run(on_progress=told.append, workers=0)
    )
    assert told[0].message == "70 x 50 pixels are no multiples of 32: padded to 96 x 64"
    told.clear()
    assert segmenter.probability_at(PAIR[0], (70, 50), told.append).shape == (50, 70)
    assert told[0].message == "70 x 50 pixels are no multiples of 32: padded to 96 x 64"
    with pytest.raises(InputError, match="the resolution is"):
        segmenter.probability_at(PAIR[0], (0, 50))


def test_a_run_that_was_broken_off_comes_to_the_same_weights(tmp_path):
    asked = recipe(check_every=2, patience=5)
    family = get_family("unet")
    looked: list[float] = []

    def validate(segmenter) -> float:
        looked.append(-pixel_loss(segmenter.probability(PAIR[0]), foreground(PAIR[1])))
        return looked[-1]

    whole = family.train("random", [PAIR], asked, Run(tmp_path / "whole", validate=validate, workers=0))

    def stop(progress: Progress) -> None:
        if progress.loss is not None and progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        family.train("random", [PAIR], asked, Run(tmp_path / "broken", stop, validate, workers=0))
    resumed = family.train("random", [PAIR], asked, Run(tmp_path / "broken", validate=validate, workers=0))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert all(loss < 0 for loss in looked)


def test_the_learning_rate_stays_what_it_is(tmp_path):
    import json

    get_family("unet").train("random", [PAIR], recipe(learning_rate=3e-4), Run(tmp_path, workers=0))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in rows if "loss" in row] == [3e-4] * 6


# -- what it makes of what it predicts ---------------------------------------------------


def peaks(apart: int) -> np.ndarray:
    """A map of two discs of radius 12 whose middles are so many pixels apart."""
    y, x = np.mgrid[:40, :80]
    return np.where(np.minimum(np.hypot(y - 20, x - 20), np.hypot(y - 20, x - 20 - apart)) < 12, 0.9, 0.1).astype(
        np.float32
    )


def test_connected_parts_are_cells_and_distance_splits_them():
    segmenter = UNetSegmenter(UNet(TINY), UNetSettings(min_area=1, cell_diameter=24))
    assert len(segmenter.found(peaks(40)).candidates) == 2
    assert len(segmenter.found(peaks(20)).candidates) == 1
    split = segmenter.with_settings(split="distance").found(peaks(20)).candidates
    assert len(split) == 2
    assert sorted(split.areas) == pytest.approx([split.areas.mean()] * 2, abs=12)
    assert foreground(split).sum() == (peaks(20) > 0.5).sum()
    assert split.scores == pytest.approx([0.9, 0.9])
    assert len(segmenter.found(np.zeros((8, 8), np.float32)).candidates) == 0
    assert len(segmenter.with_settings(split="distance").found(np.zeros((8, 8), np.float32)).candidates) == 0


def test_a_map_is_of_the_image_whatever_the_scale():
    segmenter = UNetSegmenter(UNet(TINY))
    for scale in (0.5, 1.0, 1.3):
        chances = segmenter.with_settings(scale=scale).probability(PAIR[0])
        assert chances.shape == PAIR[0].shape
        assert chances.dtype == np.float32
        assert ((chances >= 0) & (chances <= 1)).all()


def test_windows_of_a_large_image_meet_without_a_seam():
    torch.manual_seed(0)
    segmenter = UNetSegmenter(UNet(TINY))
    segmenter.fast = False
    image = np.random.default_rng(0).integers(0, 255, (64, 1100)).astype(np.uint8)
    whole = segmenter.probability_at(image, (1100, 64))
    told: list[Progress] = []
    parts = segmenter.with_settings(tile=512).probability_at(image, (1100, 64), told.append)
    assert sum(progress.total == 4 for progress in told) == 4
    assert np.abs(whole - parts).max() < 1e-4


def test_the_scale_is_that_of_training():
    family = get_family("unet")
    size = PAIR[0].shape  # 128 x 160
    assert size == (128, 160)
    for changes, scale in (
        ({"resolution": (80, 64)}, 0.5),
        ({"resolution": (80, 64), "augmentation": Augmentation(crop_sides=(0.4, 0.6))}, 1.0),
        ({"resolution": (64, 64), "method": "crop"}, 1.0),
        ({"resolution": None}, 1.0),
    ):
        asked = recipe().model_copy(update={**changes, "max_steps": 1})
        assert family.train("random", [PAIR], asked, Run(workers=0)).settings.scale == pytest.approx(scale)
