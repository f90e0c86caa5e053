"""SAM asked for what another model finds: prompts from instances, tile by tile, with and without boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glioma_hf import InputError, Instances, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.models.sam.generate import SamSegmenter
from glioma_hf.models.sam.prompts import in_tile, prompts_of
from glioma_hf.models.tiles import Tile
from glioma_hf.progress import Progress, ignore
from glioma_hf.workflows.fingerprint import fingerprint
from tests.models.dummy import DummySegmenter
from tests.models.sam.test_generate import LOOSE, Painter
from tests.models.sam.test_sam2 import model  # noqa: F401  # a tiny SAM 2
from tests.strategies import square


class Knows(DummySegmenter):
    """Finds what it is told to."""

    def __init__(self, cells: Instances):
        super().__init__(1.0)
        self.cells = cells

    def segment(self, image, on_progress=ignore):
        on_progress(Progress(done=1, total=1))
        return self.cells


def test_a_prompt_lies_deep_in_its_instance_and_has_its_box():
    hook = np.zeros((40, 50), bool)
    hook[5:9, 9:30] = hook[9:20, 26:30] = hook[20:31, 20:31] = True  # a thin arm that ends in a square
    (row,) = prompts_of(Instances.from_masks([hook]))
    assert np.abs(row[:2] - 25).max() <= 1
    assert row[2:].tolist() == [9, 5, 30, 30]
    assert prompts_of(Instances.empty((9, 9))).shape == (0, 6)
    assert len(prompts_of(Instances.from_masks([hook] * 600))) == 600


def test_prompts_are_a_tiles_own_and_in_its_pixels():
    prompts = np.array([[10, 10, 4, 4, 16, 16], [30, 10, 24, 4, 60, 16]], np.float32)
    tile = Tile(top=0, left=20, own=(-np.inf, 40.0, np.inf, np.inf), scale=2.0)
    assert in_tile(prompts, tile, 64, boxes=False).tolist() == [[40.5, 20.5]]
    assert in_tile(prompts, tile, 64, boxes=True).tolist() == [[40.5, 20.5, 28.5, 8.5, 63, 32.5]]


@pytest.mark.parametrize("scales", [(1.0,), (0.5,), (2.0,)])
def test_each_instance_of_the_finder_is_asked_once_wherever_tiles_end(scales):
    image = np.full((150, 201), 100, np.uint8)  # the painter's own head would find nothing here
    corners = [(x, y) for y in range(2, 130, 22) for x in range(2, 180, 22)]
    finder = Knows(Instances.from_polygons([square(x, y, 15) for x, y in corners], image.shape, scores=[1.0] * 54))
    told: list[Progress] = []
    settings = LOOSE.model_copy(update={"scales": scales, "mask_nms_iou": 1.0, "mask_nms_cover": 1.0})
    segmenter = SamSegmenter(Painter(), settings).prompted_by(finder)
    cells = segmenter.segment(image, told.append)
    assert len(cells) == len(corners)
    middles = {(round(y + h / 2), round(x + w / 2)) for x, y, w, h in cells.boxes}
    for x, y in corners:
        assert any(abs(y + 7 - row) <= 7 and abs(x + 7 - column) <= 7 for row, column in middles), (x, y)
    assert told[-1].share == 1
    assert [p.done for p in told] == sorted(p.done for p in told)


def test_boxes_are_given_where_that_is_asked_for(monkeypatch):
    finder = Knows(Instances.from_polygons([square(20, 30, 15)], (64, 64), scores=[1.0]))
    seen: list = []
    painter = Painter()
    real = painter.attend
    monkeypatch.setattr(painter, "attend", lambda *args, boxes=None: (seen.append(boxes), real(*args))[1])
    segmenter = SamSegmenter(painter, LOOSE).prompted_by(finder)
    segmenter.segment(np.zeros((64, 64), np.uint8))
    segmenter.with_settings(prompt_boxes=True).segment(np.zeros((64, 64), np.uint8))
    assert seen[0] is None
    assert seen[1].tolist() == [[[20, 30, 34, 44]]]


@pytest.mark.parametrize("kind", ["tiny_model", "model"])
def test_points_with_boxes_give_what_transformers_gives(kind, request):
    sam = request.getfixturevalue(kind)
    side = sam.tile
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(1, 3, side, side, generator=generator)
    points = torch.rand(1, 4, 2, generator=generator) * side
    boxes = torch.cat([points - 9, points + 7], -1).clamp(0, side - 1)
    with torch.no_grad():
        tokens, features, quality = sam.attend(sam.encode(pixels), points, boxes=boxes)
        ours = sam.upscale(tokens[0], features[0])
        theirs = sam(
            pixel_values=pixels,
            input_points=points[:, :, None],
            input_labels=torch.ones(1, 4, 1, dtype=torch.int64),
            input_boxes=boxes,
            multimask_output=False,
        )
        alone = sam.attend(sam.encode(pixels), points)[2]
    torch.testing.assert_close(ours, theirs.pred_masks[0, :, 0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(quality, theirs.iou_scores[..., 0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(alone, quality)


def test_finders_are_named_when_a_model_is_loaded_and_count_as_part_of_it(dummy, folder, tmp_path):
    from glioma_hf import train

    train(folder, [1], tmp_path / "finder", "dummy")
    segmenter = load_segmenter(finder=tmp_path / "finder", diameter=60)
    assert segmenter.settings.prompts == "model"
    assert isinstance(segmenter.finder, Segmenter)
    other = load_segmenter(diameter=60)
    assert fingerprint(segmenter) != fingerprint(other)
    stricter = segmenter.prompted_by(segmenter.finder.with_score_threshold(0.99))
    assert fingerprint(segmenter) != fingerprint(stricter)
    with pytest.raises(InputError, match="give it as the finder"):
        other.with_settings(prompts="model").segment(np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match="asked by prompts"):
        load_segmenter(tmp_path / "finder", finder="embedded")
