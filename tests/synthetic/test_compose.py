from __future__ import annotations

import numpy as np
import pytest

from glioma_hf import Instances
from glioma_hf.synthetic.compose import OverlapConfig, lay_over
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.strategies import square

SCENE = generate_scene(3, SceneConfig(width=320, height=256, cells_per_megapixel=(200, 200)))
PAIR = SCENE.image, SCENE.instances()


def test_laid_cells_overlap_as_far_as_they_should_and_keep_their_whole_masks():
    image, cells = lay_over(*PAIR, [PAIR], 0, OverlapConfig(cells=6, covered=(0.2, 0.5)))
    own = len(PAIR[1])
    assert image.dtype == np.uint8
    assert image.shape == SCENE.image.shape
    assert cells.select(slice(own)).rles == PAIR[1].rles
    laid = cells.areas[own:]
    assert len(laid) >= 4
    assert set(laid) <= set(PAIR[1].areas)  # none is cut, turning keeps pixels
    below = PAIR[1].to_label_map() > 0
    for mask, (top, left) in cells.select(slice(own, own + 1)).box_masks():
        share = (below[top : top + mask.shape[0], left : left + mask.shape[1]] & mask).sum() / mask.sum()
        assert 0.2 <= share <= 0.5
    again, same = lay_over(*PAIR, [PAIR], 0, OverlapConfig(cells=6, covered=(0.2, 0.5)))
    assert np.array_equal(again, image)
    assert same == cells


def test_contrasts_add_up_and_nothing_else_changes():
    donor = np.full((60, 60), 100, np.uint8)
    donor[20:40, 20:40] = 130
    image = np.full((90, 90), 100, np.uint8)
    image[30:60, 30:60] = 145
    pair = donor, Instances.from_polygons([square(20, 20, 20)], donor.shape)
    base = Instances.from_polygons([square(30, 30, 30)], image.shape)
    composed, cells = lay_over(image, base, [pair], 1, OverlapConfig(cells=1, covered=(0.3, 0.7), halo=3))
    assert len(cells) == 2
    old, new = cells.to_masks()
    step = 30 * image.std() / donor.std()  # the donor's contrast in the image's spread
    assert abs(np.median(composed[new & ~old].astype(float)) - 100 - step) <= 1
    assert abs(np.median(composed[new & old].astype(float)) - min(255, 145 + step)) <= 1
    assert np.array_equal(composed[~new], image[~new])  # the donor has no halo


def test_without_donors_or_cells_below_nothing_is_laid():
    nothing = np.zeros((40, 40), np.uint8), Instances.empty((40, 40))
    assert lay_over(*PAIR, [nothing], 0)[1] == Instances.from_rles(PAIR[1].rles, PAIR[1].size, PAIR[1].categories)
    image, cells = lay_over(*nothing, [PAIR], 0)
    assert len(cells) == 0
    assert np.array_equal(image, nothing[0])


def test_laid_cells_keep_their_categories():
    own = PAIR[1].select(PAIR[1].areas > 0)
    typed = Instances.from_rles(own.rles, own.size, categories=np.arange(len(own)) % 2 + 1)
    _, cells = lay_over(SCENE.image, typed, [(SCENE.image, typed)], 0)
    assert set(cells.categories[len(typed) :]) == {1, 2}


@pytest.mark.parametrize("covered", [(0.6, 0.1), (-0.1, 0.5), (0.1, 1.5)])
def test_shares_that_make_no_sense_are_refused(covered):
    with pytest.raises(ValueError, match="from the least to the greatest"):
        OverlapConfig(covered=covered)
