from __future__ import annotations

import copy

import pytest
import torch
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from glioma_hf import InputError
from glioma_hf.models.adapters import save_weights
from glioma_hf.models.card import card
from glioma_hf.models.sam.family import FAMILY
from glioma_hf.models.sam.generate import GenerationSettings, SamSegmenter
from glioma_hf.models.sam.lora import (
    LoraSettings,
    SplitQkv,
    add_adapter,
    fuse_qkv,
    load_adapter,
    load_base,
    merge,
    split_qkv,
)
from glioma_hf.models.sam.sam import WEIGHTS, CellSam
from glioma_hf.models.sam.train import train
from tests.models.sam.test_train import PAIR, SHORT


@pytest.fixture
def probe():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, 64, generator=generator), torch.rand(2, 3, 2, generator=generator) * 64


@torch.no_grad()
def outputs(model, probe):
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return model.eval().decode(model.encode(probe[0]), probe[1])


def perturb(adapted):
    """An adapter that was trained, as far as the algebra goes."""
    torch.manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return adapted


def test_decoding_in_two_steps_is_sams_decoding(tiny_model, probe):
    pixels, points = probe
    with torch.no_grad():
        expected = tiny_model(
            pixel_values=pixels,
            input_points=points[:, :, None],
            input_labels=torch.ones(2, 3, 1, dtype=torch.int64),
            multimask_output=False,
        )
    masks, quality = outputs(tiny_model, probe)
    torch.testing.assert_close(masks, expected.pred_masks[:, :, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(quality, expected.iou_scores[:, :, 0], rtol=1e-5, atol=1e-5)


def test_splitting_qkv_changes_nothing_and_is_undone(tiny_model, probe):
    before = outputs(tiny_model, probe)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(split_qkv(tiny_model), probe), strict=True))
    assert isinstance(tiny_model.vision_encoder.layers[0].attn.qkv, SplitQkv)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(fuse_qkv(tiny_model), probe), strict=True))
    assert isinstance(tiny_model.vision_encoder.layers[0].attn.qkv, torch.nn.Linear)


def test_fresh_adapter_equals_the_base_bit_for_bit(tiny_model, probe):
    before = outputs(tiny_model, probe)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(add_adapter(tiny_model), probe), strict=True))


def test_adapter_sits_on_q_and_v_everywhere_and_never_on_k(tiny_model):
    adapted = add_adapter(tiny_model, LoraSettings(rank=3))
    places = {n.split(".lora_A")[0] for n, _ in adapted.named_parameters() if "lora_A" in n}
    assert all(p.endswith(("q_proj", "v_proj")) for p in places)
    # 2 encoder layers; in the decoder 2 blocks of 3 attentions and a final one.
    assert len([p for p in places if "vision_encoder" in p]) == 2 * 2
    assert len([p for p in places if "mask_decoder" in p]) == 2 * (2 * 3 + 1)
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert all("lora_" in n or "centre_head" in n for n in trained)
    assert all(p.shape[0] == 3 for n, p in adapted.named_parameters() if "lora_A" in n)


def test_saved_and_loaded_adapter_gives_the_same(tiny_model, probe, tmp_path):
    base = copy.deepcopy(tiny_model)
    adapted = perturb(add_adapter(tiny_model))
    save_weights(adapted, tmp_path / "adapter")
    again = load_adapter(base, tmp_path / "adapter")
    assert all(torch.equal(a, b) for a, b in zip(outputs(adapted, probe), outputs(again, probe), strict=True))
    assert base.config.centres_trained


def test_merged_adapter_is_a_plain_sam_with_the_same_masks(tiny_model, probe, tmp_path):
    adapted = perturb(add_adapter(tiny_model))
    before = outputs(adapted, probe)
    merged = merge(adapted)
    for a, b in zip(before, outputs(merged, probe), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    plain = SamModel.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        embedding = plain.get_image_embeddings(probe[0])
        torch.testing.assert_close(embedding, merged.encode(probe[0]), rtol=1e-5, atol=1e-5)


def test_plain_sam_checkpoint_loads_without_a_trained_head(tiny_model, tmp_path):
    plain = SamModel(tiny_model.config)
    plain.config.centres_trained = False
    plain.save_pretrained(tmp_path / "plain")
    loaded = load_base(tmp_path / "plain")
    assert not loaded.config.centres_trained


def test_embedded_model_is_small_and_half_precision():
    from safetensors import safe_open

    weights = WEIGHTS / "model.safetensors"
    assert weights.stat().st_size <= 16e6
    with safe_open(weights, "pt") as file:
        assert {str(file.get_tensor(k).dtype) for k in file.keys()} == {"torch.float16"}  # noqa: SIM118
    model = load_base()
    assert isinstance(model, CellSam)
    assert model.config.centres_trained


def test_bad_models_and_adapters_are_named(tiny_model, tmp_path):
    with pytest.raises(InputError, match="the model nobody/nothing can't be loaded"):
        load_base("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no adapter"):
        load_adapter(tiny_model, tmp_path / "empty")
    adapted = add_adapter(copy.deepcopy(tiny_model), LoraSettings(rank=2))
    (tmp_path / "other").mkdir()
    save_weights(adapted, tmp_path / "other")
    with pytest.raises(InputError, match="the adapter doesn't fit"):
        load_adapter(load_base(), tmp_path / "other")
    (tmp_path / "other" / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="the adapter doesn't fit"):
        load_adapter(tiny_model, tmp_path / "other")


SHAPES = {"base": (768, 12, 12), "large": (1024, 24, 16), "huge": (1280, 32, 16)}


def facebook(size: str, side: int = 1024) -> SamConfig:
    """The published configuration of `facebook/sam-vit-...`, at an input of `side` pixels."""
    hidden, layers, heads = SHAPES[size]
    vision = SamVisionConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        global_attn_indexes=[layers // 4 * (i + 1) - 1 for i in range(4)],
        mlp_dim=4 * hidden,
        image_size=side,
        initializer_range=0.02,
    )
    prompt = SamPromptEncoderConfig(image_size=side, image_embedding_size=side // 16)
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=SamMaskDecoderConfig())


@pytest.mark.parametrize(("size", "millions"), [("base", 94), ("large", 312), ("huge", 641)])
def test_adapters_fit_the_published_sizes(size, millions):
    with torch.device("meta"):
        model = CellSam(facebook(size))
        assert round(sum(p.numel() for n, p in model.named_parameters() if "centre_head" not in n) / 1e6) == millions
        adapted = add_adapter(model)
    places = {n for n, _ in adapted.named_parameters() if "lora_A" in n}
    assert len(places) == 2 * SHAPES[size][1] + 14


@pytest.mark.long
def test_a_model_of_vit_b_shape_trains_predicts_and_is_saved(tmp_path):
    torch.manual_seed(0)
    model = CellSam(facebook("base", 128)).eval()
    pixels, points = torch.randn(1, 3, 128, 128), torch.rand(1, 2, 2) * 128
    before = outputs(model, (pixels, points))
    assert before[0].shape == (1, 2, 32, 32)
    fresh = outputs(add_adapter(copy.deepcopy(model)), (pixels, points))
    assert all(torch.equal(a, b) for a, b in zip(before, fresh, strict=True))
    merged = merge(perturb(adapted := add_adapter(copy.deepcopy(model))))
    with torch.no_grad():
        for a, b in zip(outputs(merged, (pixels, points)), outputs(adapted, (pixels, points)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    brief = SHORT.model_copy(update={"tiles_per_image": 4, "batch": 2})
    trained = train(model, [PAIR], brief)
    save_weights(trained, tmp_path)
    assert "base_model: facebook/sam-vit-base" in card(FAMILY, "facebook/sam-vit-base", brief)
    settings = GenerationSettings(pred_iou_thresh=0, stability_score_thresh=0, min_area=1, centre_thresh=0.01)
    found = SamSegmenter(trained, settings).segment(PAIR[0])
    assert found.size == PAIR[0].shape


def test_another_input_size_keeps_the_weights_and_interpolates_positions(tiny_model):
    vision = CellSam(facebook("base", 128))
    larger = vision.at_tile(256)
    assert larger.vision_encoder.pos_embed.shape == (1, 16, 16, 768)
    assert larger.vision_encoder.layers[2].attn.rel_pos_h.shape[0] == 31
    with torch.no_grad():
        masks, _ = larger.eval().decode(larger.encode(torch.randn(1, 3, 256, 256)), torch.rand(1, 2, 2) * 256)
    assert masks.shape == (1, 2, 64, 64)
    again = tiny_model.at_tile(128).at_tile(64)
    assert tiny_model.at_tile(64) is tiny_model
    torch.testing.assert_close(
        again.mask_decoder.iou_token.weight, tiny_model.mask_decoder.iou_token.weight, rtol=0, atol=0
    )
