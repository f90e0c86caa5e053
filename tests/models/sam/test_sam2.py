"""SAM 2 through the same doors as SAM: prompts, adapters, training, generation, by a tiny model of its kind."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import Sam2MaskDecoderConfig, Sam2PromptEncoderConfig

from glioma_hf.models.adapters import save_weights
from glioma_hf.models.base import Run
from glioma_hf.models.sam.generate import GenerationSettings, SamSegmenter
from glioma_hf.models.sam.lora import add_adapter, load_adapter, load_base, merge
from glioma_hf.models.sam.sam2 import CellSam2
from glioma_hf.models.sam.train import train
from tests.models.sam.test_lora import outputs, perturb
from tests.models.sam.test_train import PAIR, SHORT

SIDE = 128


@pytest.fixture
def model() -> CellSam2:
    """Four stages, five blocks, embeddings of 32 channels."""
    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 4, 2],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=32,
    )
    decoder = Sam2MaskDecoderConfig(
        hidden_size=32,
        mlp_dim=64,
        num_attention_heads=2,
        iou_head_hidden_dim=32,
        dynamic_multimask_via_stability=False,
    )
    prompt = Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE)
    torch.manual_seed(0)
    made = CellSam2(Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    for name, parameter in made.named_parameters():
        if "pos_embed" in name or "no_memory" in name:  # zero at the start
            torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


@pytest.fixture
def probe():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, SIDE, SIDE, generator=generator), torch.rand(2, 3, 2, generator=generator) * SIDE


@torch.no_grad()
def test_decoding_in_two_steps_is_sam2s_decoding(model, probe):
    pixels, points = probe
    labels = torch.ones(2, 3, 1, dtype=torch.int64)
    expected = model(pixel_values=pixels, input_points=points[:, :, None], input_labels=labels, multimask_output=False)
    masks, quality = outputs(model, probe)
    torch.testing.assert_close(masks, expected.pred_masks[:, :, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quality, expected.iou_scores[:, :, 0], rtol=1e-4, atol=1e-5)
    # Points that are padding change nothing for the others.
    embedding = model.encode(pixels)
    asked = torch.tensor([[True, False, True], [False, True, True]])
    tokens, features, some = model.attend(embedding, points, asked)
    torch.testing.assert_close(some, quality[asked], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.upscale(tokens, features), masks[asked], rtol=1e-4, atol=1e-5)


def test_adapters_are_on_queries_and_values_alone_and_merge(model, probe):
    before = outputs(model, probe)
    adapted = add_adapter(copy.deepcopy(model))
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(adapted, probe), strict=True))
    places = {name.split(".lora_A")[0].rsplit(".", 1)[1] for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert places == {"q_proj", "v_proj"}
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 2 * 5 + 14  # blocks, decoder attentions
    perturbed = outputs(perturb(adapted), probe)
    assert not torch.equal(before[0], perturbed[0])
    for a, b in zip(perturbed, outputs(merge(adapted), probe), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_trains_is_saved_and_segments(model, tmp_path):
    Sam2Model(model.config).save_pretrained(tmp_path / "plain")  # as the published ones: without a centre head
    base = load_base(tmp_path / "plain")
    assert isinstance(base, CellSam2)
    assert not base.config.centres_trained
    brief = SHORT.model_copy(update={"tiles_per_image": 8, "batch": 2})
    losses: list[float] = []
    trained = train(base, [PAIR], brief, Run(on_progress=lambda progress: losses.append(progress.loss)))
    assert len(losses) == 4
    save_weights(trained, tmp_path / "adapter")
    settings = GenerationSettings(pred_iou_thresh=0, stability_score_thresh=0, min_area=1, centre_thresh=0.01)
    found = SamSegmenter(trained, settings).segment(PAIR[0])
    again = SamSegmenter(load_adapter(load_base(tmp_path / "plain"), tmp_path / "adapter"), settings).segment(PAIR[0])
    assert len(found) > 0
    assert found == again


@torch.no_grad()
def test_another_input_size_keeps_the_weights(model):
    larger = model.at_tile(256)
    assert (larger.tile, larger.mask_side, larger.heat_side) == (256, 64, 32)
    masks, _ = larger.decode(larger.encode(torch.randn(1, 3, 256, 256)), torch.rand(1, 2, 2) * 256)
    assert masks.shape == (1, 2, 64, 64)
    assert larger.centre_head(larger.encode(torch.randn(1, 3, 256, 256))).shape == (1, 32, 32)
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in larger.state_dict().items())
    assert model.at_tile(SIDE) is model
