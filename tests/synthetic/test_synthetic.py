from __future__ import annotations

import numpy as np
import pytest

from glioma_hf import InputError
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

SMALL = SceneConfig(width=320, height=256, cells_per_megapixel=(300, 300))
ARCHIVE = SyntheticArchiveConfig(train=1, valid=0, test=0, gen=1, scene=SceneConfig(width=96, height=64))


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthesize(tmp_path / name, seed, ARCHIVE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_objects_lie_in_the_image_and_somata_in_their_cells():
    scene = generate_scene(3, SMALL)
    for item in scene.objects:
        assert (item.outline >= 0).all()
        assert (item.outline <= [SMALL.width, SMALL.height]).all()
    somata = scene.instances(("soma",))
    cells = scene.instances()
    assert len(somata) > len(cells) / 2
    inside = np.minimum(cells.to_label_map() > 0, 1)
    for mask, (top, left) in somata.box_masks():
        window = inside[top : top + mask.shape[0], left : left + mask.shape[1]]
        assert window[mask].mean() > 0.9


def test_cells_overlap_but_not_too_far():
    cells = [generate_scene((4, i), SMALL).instances() for i in range(6)]
    overlapping = sum(int(c.areas.sum() > (c.to_label_map() > 0).sum()) for c in cells)
    assert overlapping >= 4
    for found in cells:
        iou = found.iou(found)
        np.fill_diagonal(iou, 0)
        assert iou.max() < 0.6


def test_no_cell_is_smaller_than_the_papers_smallest():
    assert min(generate_scene((5, i), SMALL).instances().areas.min() for i in range(4)) >= 80


def test_type_a_cells_are_brighter_around_than_type_b():
    """The paper's cue: a high-contrast halo around convex cells, generally absent in flat ones."""
    from scipy import ndimage

    halo = {"cell_a": [], "cell_b": []}
    config = SMALL.model_copy(
        update={"clustered": 0.0, "cells_per_megapixel": (60, 60), "debris_per_megapixel": (0, 0)}
    )
    for seed in range(8):
        scene = generate_scene((6, seed), config)
        background = np.median(scene.image)
        everything = scene.instances().to_label_map() > 0
        for name in halo:
            for mask in scene.instances((name,)).to_masks():
                ring = ndimage.binary_dilation(mask, iterations=3) & ~everything
                halo[name].append(scene.image[ring].mean() - background)
    assert np.mean(halo["cell_a"]) > np.mean(halo["cell_b"]) + 3


def test_unwritable_output(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        synthesize(tmp_path, 0, ARCHIVE)
    with pytest.raises(InputError, match="can't be written"):
        synthesize("/proc/nowhere/a.zip", 0, ARCHIVE)
    assert list(tmp_path.iterdir()) == []
