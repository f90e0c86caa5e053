from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from glioma_hf import InputError, Instances
from glioma_hf.models.base import Run
from glioma_hf.models.sam.pretrain_tiles import flip_and_turn
from glioma_hf.models.sam.prompt_crops import BACKGROUND, CELL, PADDING, PromptCrops, PromptCropSettings
from glioma_hf.models.sam.recipe import SamRecipe
from glioma_hf.models.sam.train import train, training_loss
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.strategies import square

SCENE = generate_scene(1, SceneConfig(width=160, height=128, cells_per_megapixel=(500, 500)))
PAIR = (SCENE.image, SCENE.instances())
SHORT = SamRecipe(
    epochs=1, tiles_per_image=24, batch=4, accumulation=1, learning_rate=5e-3, max_cells=4, heat_weight=0.1
)


def test_defaults_are_the_papers_recipe():
    s = SamRecipe()
    assert (s.lora.rank, s.lora.dropout, s.epochs, s.batch, s.accumulation, s.learning_rate, s.warmup_ratio) == (
        4,
        0.1,
        300,
        4,
        8,
        3e-3,
        0.3,
    )
    assert (s.scale, s.dice_weight, s.iou_target) == ((0.5, 1.5), 0, "cell")
    assert s.steps(1) == 85  # 300 epochs of 9 tiles in batches of 32


def test_crops_carry_points_in_their_cells_and_outside():
    crops = PromptCrops([PAIR], 12, PromptCropSettings(tile=64, mask_side=32, heat_side=16, max_cells=6))
    kinds = set()
    for i in range(12):
        item = crops[i]
        for (x, y), kind, mask in zip(item["points"], item["kind"].tolist(), item["masks"], strict=True):
            kinds.add(kind)
            if kind == CELL:
                assert mask[int(y) // 2, int(x) // 2] > 0
                assert mask.sum() > 5
            else:
                assert mask.sum() == 0
        cells = int((item["kind"] == CELL).sum())
        assert int((item["kind"] == BACKGROUND).sum()) == max(1, cells // 2)
        assert item["heat"].max() <= 1
    assert kinds == {CELL, BACKGROUND, PADDING}
    assert all(torch.equal(crops[3][k], crops[3][k]) for k in crops[3])


def test_crop_and_its_masks_stay_together():
    """A picture that is its own mask: after any turn and scale, pixels and polygons must agree."""
    size = (120, 120)
    cells = Instances.from_polygons([square(40, 30, 40)], size)
    picture = np.where(next(cells.to_masks()), 255, 0).astype(np.uint8)
    crops = PromptCrops(
        [(picture, cells)],
        20,
        PromptCropSettings(tile=64, mask_side=32, heat_side=16, brightness=0, contrast=0, scale=(0.8, 1.2)),
    )
    for i in range(20):
        item = crops[i]
        shown = torch.nn.functional.avg_pool2d(item["tiles"][None, None], 2)[0, 0]
        mask = item["masks"].max(0).values
        if mask.sum() > 100:
            bright = shown > (shown.max() + shown.median().clamp(max=0.5)) / 2
            agreement = (bright == (mask > 0.5)).float().mean()
            assert agreement > 0.9


@pytest.mark.parametrize("which", range(8))
def test_turns_move_image_and_instances_alike(which):
    rng = np.random.default_rng(which)
    masks = rng.random((3, 20, 20)) < 0.3
    grey = masks[0].astype(np.float32)
    turned, cells = flip_and_turn(grey, Instances.from_masks(masks), which)
    assert np.array_equal(turned > 0, next(cells.to_masks()))
    assert cells.areas.tolist() == masks.sum((1, 2)).tolist()


def test_loss_is_cellseg1s_by_default():
    settings = SamRecipe(heat_weight=0)
    kind = torch.tensor([[CELL, BACKGROUND, PADDING]])
    masks = torch.zeros(1, 3, 4, 4)
    masks[0, 0, :2] = 1
    batch = {"kind": kind, "masks": masks, "heat": torch.zeros(1, 2, 2)}
    logits = torch.zeros(1, 4, 4)
    outputs = {"logits": logits, "quality": torch.tensor([[0.5, 0.25, 9.0]]), "heat": torch.zeros(1, 2, 2)}
    expected = np.log(2) + (0.5**2 + 0.25**2) / 2
    assert float(training_loss(outputs, batch, settings)) == pytest.approx(expected, rel=1e-5)


def test_training_lowers_the_loss_touches_only_the_adapter_and_repeats(tiny_model, tmp_path):
    import copy

    first, second = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    losses: list[float] = []
    many = SHORT.model_copy(update={"tiles_per_image": 160})
    adapted = train(first, [PAIR], many, Run(tmp_path / "run", lambda progress: losses.append(progress.loss)))
    assert len(losses) == 40
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    before = dict(tiny_model.named_parameters())
    frozen = [
        (n, p)
        for n, p in adapted.get_base_model().named_parameters()
        if "lora" not in n and "centre_head" not in n and "qkv" not in n
    ]
    assert len(frozen) > 50
    for name, parameter in frozen:
        assert torch.equal(parameter, before[name.replace(".base_layer", "")]), name
    again: list[float] = []
    train(second, [PAIR], many, Run(on_progress=lambda progress: again.append(progress.loss)))
    assert again == losses
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == list(range(1, 41))


def test_image_without_cells_is_refused(tiny_model):
    with pytest.raises(InputError, match="training image 1 has no annotated cell"):
        train(tiny_model, [PAIR, (SCENE.image, Instances.empty(SCENE.image.shape))], SHORT)
