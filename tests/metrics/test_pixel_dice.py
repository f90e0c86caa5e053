from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

from glioma_hf import InputError
from glioma_hf.metrics.pixel_dice import RESOLUTIONS, dice_score, dice_score_average, resize_bilinear
from tests.conftest import ROOT


def blob(shape: tuple[int, int], seed: int) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 4) > 0.5


@pytest.mark.parametrize("resolution", [(40, 30), (17, 53), (100, 80), (1, 1)])
def test_resizing_is_bilinear_with_aligned_pixel_centres(resolution):
    image = np.random.default_rng(0).random((30, 40))
    expected = resize(image, resolution[::-1], order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(resize_bilinear(image, resolution), expected, atol=1e-9)


def test_dice_by_hand():
    reference = np.zeros((4, 4), int)
    reference[:2] = 1
    prediction = np.zeros((4, 4), int)
    prediction[1:3] = 1
    assert dice_score(prediction, reference) == 2 * 4 / 16
    assert dice_score(reference, reference) == 1
    assert dice_score(1 - reference, reference) == 0
    assert dice_score(np.zeros((4, 4)), np.zeros((4, 4))) == 1


def test_prediction_at_another_resolution_is_brought_to_the_scores_own():
    reference = blob((96, 128), 1)
    small = resize_bilinear(reference, (64, 48))
    assert dice_score(small, reference) > 0.95
    assert dice_score(small, reference, (64, 48)) > 0.95


def test_resized_reference_counts_every_value_above_zero():
    reference = np.zeros((4, 4), np.uint8)
    reference[1, 1] = 1
    # At half resolution the one pixel is a quarter of a cell: still 1. The prediction has to reach one half.
    assert dice_score(np.array([[1, 0], [0, 0]]), reference, (2, 2)) == 1
    assert dice_score(reference, reference, (2, 2)) == 0


def test_average_is_over_all_images_of_all_repeats():
    full, none = np.ones((4, 4)), np.zeros((4, 4))
    pairs = [(full, full), (none, full), (full, full)]
    result = dice_score_average(pairs, repeats=["a", "b", "b"])
    assert result["dice"] == pytest.approx(2 / 3)
    assert result["dice_loss"] == pytest.approx(1 / 3)
    assert result["per_image"] == [1, 0, 1]
    assert result["per_repeat"] == [1, 0.5]


def test_module_gives_what_the_function_gives():
    import evaluate

    metric = evaluate.load(str(ROOT / "metric" / "pixel_dice.py"))
    pairs = [(blob((50, 60), i).astype(np.float32) * 0.9, blob((80, 70), i + 9)) for i in range(3)]
    options = {"resolution": (64, 48), "repeats": [0, 0, 1]}
    found = metric.compute(predictions=[p for p, _ in pairs], references=[r for _, r in pairs], **options)
    assert found == dice_score_average(pairs, **options)
    named = metric.compute(predictions=[pairs[0][0]], references=[pairs[0][1]], resolution="704p")
    assert named["dice"] == dice_score(*pairs[0], RESOLUTIONS["704p"])
    with pytest.raises(InputError, match="'4k' isn't known"):
        metric.compute(predictions=[pairs[0][0]], references=[pairs[0][1]], resolution="4k")


def test_bad_masks():
    with pytest.raises(InputError, match="the prediction is a 2-D mask"):
        dice_score(np.zeros((2, 2, 3)), np.zeros((2, 2)))
    with pytest.raises(InputError, match="aren't finite"):
        dice_score(np.full((2, 2), np.nan), np.zeros((2, 2)))
    with pytest.raises(InputError, match="2 repeats for 1 images"):
        dice_score_average([(np.ones((2, 2)), np.ones((2, 2)))], repeats=[1, 2])
