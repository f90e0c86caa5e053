from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import itertools

from glioma_hf.models.tiles import ending_tiles, fitted_tiles, owned, tiles_over


@pytest.mark.parametrize("overlap", [0, 0.25, 0.375, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(64, 64), (65, 200), (64, 95), (130, 128), (300, 111)])
def test_every_point_is_answered_by_exactly_one_tile_that_holds_it(shape, overlap):
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    everywhere = torch.tensor(np.stack([columns.ravel(), rows.ravel()], 1), dtype=torch.float32)
    answered = np.zeros(shape, int)
    for tile in tiles_over(shape, 64, overlap):
        own = owned(everywhere - torch.tensor([tile.left, tile.top]), tile)
        assert len(own) == 0 or (own.min() >= 0 and own.max() < 64)
        x, y = (own + torch.tensor([tile.left, tile.top])).long().T.numpy()
        answered[y, x] += 1
    assert (answered == 1).all()


@pytest.mark.parametrize("length", [1, 100, 384, 385, 400, 800, 1001, 5000])
def test_fitted_tiles_overlap_as_they_should_reach_the_end_and_are_no_larger_than_they_must_be(length):
    tiles, (height, width) = fitted_tiles((length, 10), 384, 192, 32)
    tops = [tile.top for tile in tiles]
    assert tops[0] == 0
    assert length <= tops[-1] + height < length + 32 * len(tops)
    assert height <= 384
    assert width == 32
    assert all(top % 32 == 0 for top in (*tops, height))
    assert all(after - before == height - 192 for before, after in itertools.pairwise(tops))
    assert [tile.own[0] for tile in tiles[1:]] == [tile.own[2] for tile in tiles[:-1]]


@pytest.mark.parametrize(
    ("length", "starts"),
    [(512, [0]), (513, [0, 1]), (716, [0, 204]), (717, [0, 204, 205]), (1024, [0, 204, 408, 512]), (101, [-205])],
)
def test_ending_tiles_end_where_the_view_does(length, starts):
    tiles = ending_tiles((length, 2592), 512, 204)
    assert sorted({tile.top for tile in tiles}) == starts
    assert sorted({tile.left for tile in tiles}) == [*range(0, 2080, 204), 2080]


@pytest.mark.parametrize("length", [384, 385, 544, 545, 1001, 1300, 5000])
def test_fitted_tiles_begin_where_they_should(length):
    tiles, (height, _) = fitted_tiles((length, 10), 896, 224, 32, 160)
    tops = [tile.top for tile in tiles]
    assert all(top % 160 == 0 for top in tops)
    assert height % 32 == 0
    assert height <= 896
    assert tops[-1] < length <= tops[-1] + height
    assert all(before + height - after >= 224 for before, after in itertools.pairwise(tops))
    assert len(tops) * height < 1.5 * length + 160
