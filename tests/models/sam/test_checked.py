"""What the files of a base or an adapter may say; each case by `load_segmenter`, as users meet it."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from glioma_hf import InputError
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.sam.generate import SamSegmenter
from glioma_hf.models.sam.lora import add_adapter, load_base
from glioma_hf.models.sam.sam import new_model, small_config
from glioma_hf.models.saved import ModelFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny base and an adapter for it."""
    root = tmp_path_factory.mktemp("made")
    model = new_model(small_config(64, 32, 2, 2, 32)).eval()
    model.save_pretrained(root / "base")
    family = get_family("sam")
    segmenter = SamSegmenter(add_adapter(model))
    ModelFolder(root / "adapter").write(family, segmenter, str(root / "base"), family.read_recipe())
    return root


@pytest.fixture
def base(made, tmp_path):
    return shutil.copytree(made / "base", tmp_path / "base")


@pytest.fixture
def adapter(made, tmp_path):
    return shutil.copytree(made / "adapter", tmp_path / "adapter")


def change(path, **entries) -> None:
    content = json.loads(path.read_text())
    for name, value in entries.items():
        inner, *last = name.split("__")
        if last:
            content[inner][last[0]] = value
        else:
            content[inner] = value
    path.write_text(json.dumps(content))


def refused(*arguments: object) -> str:
    started = time.process_time()
    with pytest.raises(InputError) as error:
        load_segmenter(*map(str, arguments))
    assert time.process_time() - started < 5
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_sound_is_loaded(base, adapter):
    assert load_segmenter(base)
    assert load_segmenter(adapter)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"r": 10**7}, "r: Input should be less than or equal to 1024"),
        ({"r": 0}, "r: Input should be greater than"),
        ({"r": "4"}, "r: Input should be a valid integer"),
        ({"lora_alpha": 1e308}, "lora_alpha"),
        ({"target_modules": "(.*)*x(.*)*y"}, "neither the pattern that is trained here nor a list of names"),
        ({"target_modules": "(a+)+$"}, "neither the pattern"),
        ({"target_modules": ["(a+)+"]}, "neither the pattern"),
        ({"modules_to_save": ["vision_encoder"]}, "modules_to_save may hold centre_head alone"),
        ({"peft_type": "VERA"}, "not the config of a LoRA adapter"),
        ({"rank_pattern": {"(a+)+$": 4}}, "'rank_pattern' is"),
        ({"megatron_config": {"a": 1}}, "'megatron_config' is"),
        ({"layer_replication": [[0, 10**6]]}, "'layer_replication' is"),
        ({"runtime_config": {"ephemeral_gpu_offload": True}}, "'runtime_config' is"),
        ({"eva_config": {"rho": 3}}, "'eva_config' is"),
        ({"new_entry": "os.system"}, "'new_entry' is 'os.system'; adapters that set it aren't read here"),
    ],
)
def test_an_adapters_config_is_read_by_a_list(adapter, entries, says):
    change(adapter / "adapter_config.json", **entries)
    assert says in refused(adapter)


@pytest.mark.parametrize("content", ["", "[]", "[" * 10**5, '"x"', "{}"])
def test_an_adapters_config_that_is_none(adapter, content):
    (adapter / "adapter_config.json").write_text(content)
    assert "adapter_config.json" in refused(adapter)


def test_an_adapter_of_half_its_weights_of_others_or_of_none(adapter):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[: len(tensors) // 2]), file)
    assert "it lacks" in refused(adapter)
    save_file({**tensors, "more": torch.zeros(1)}, file)
    assert "it holds the unknown more" in refused(adapter)
    save_file({}, file)
    assert "it lacks" in refused(adapter)
    for bad in (float("nan"), float("inf")):
        name = next(iter(tensors))
        save_file({**tensors, name: torch.full_like(tensors[name], bad)}, file)
        assert f"{name} has weights that aren't finite numbers" in refused(adapter)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "sets 'quantization_config'"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "sets 'auto_map'"),
        ({"_attn_implementation": "kernels-community/evil"}, "to 'kernels-community/evil'; eager and sdpa are known"),
        ({"vision_config__attn_implementation": "me/kernel:x"}, "'me/kernel:x'"),
        ({"vision_config__hidden_size": 10**9}, "1000000000 for 'hidden_size'"),
        ({"vision_config__num_hidden_layers": 10**4}, "for 'num_hidden_layers'"),
        ({"vision_config__image_size": 16384}, "16384 for 'image_size', at most 4096"),
        ({"vision_config__hidden_size": 8192, "vision_config__num_hidden_layers": 128}, "its config asks for"),
        ({"vision_config__global_attn_indexes": [1] * 5000}, "has 5000 entries"),
        ({"vision_config__layer_norm_eps": float("inf")}, "for 'layer_norm_eps'"),
        ({"model_type": "llama"}, "is of the type 'llama'; give a SAM or a SAM 2"),
        ({"vision_config": 5}, "can't be loaded"),
        ({"vision_config__patch_size": 0}, "can't be loaded"),
        ({"vision_config__hidden_act": "no_such"}, "can't be loaded"),
    ],
)
def test_a_bases_config_is_bounded(base, entries, says):
    change(base / "config.json", **entries)
    assert says in refused(base)


def test_a_folder_without_a_model_is_told(tmp_path):
    (tmp_path / "config.json").write_text('{"encoder": "lite0"}')  # what another family saves, its model.json lost
    assert "no model lies there; give a folder that train wrote, whole" in refused(tmp_path)


def test_a_base_without_tensors_or_with_broken_ones(base):
    file = base / "model.safetensors"
    tensors = load_file(file)
    save_file({}, file)
    assert "its weights hold 0 numbers" in refused(base) or "its weights lack" in refused(base)
    lacking = {n: t for n, t in tensors.items() if "mask_tokens" not in n}
    save_file(lacking, file, {"format": "pt"})
    assert "its weights lack mask_decoder.mask_tokens.weight" in refused(base)
    name = "vision_encoder.pos_embed"
    save_file({**tensors, name: tensors[name] * float("nan")}, file, {"format": "pt"})
    assert "pos_embed has weights that aren't finite numbers" in refused(base)


def test_a_plain_sam_isnt_asked_for_centres_it_never_learned(base):
    change(base / "config.json", centres_trained=True)
    file = base / "model.safetensors"
    plain = {n: t for n, t in load_file(file).items() if not n.startswith("centre_head.")}
    save_file(plain, file, {"format": "pt"})
    assert not load_base(base).config.centres_trained
    assert load_segmenter(base).prompts == "grid"


@pytest.mark.parametrize(
    "entries",
    [
        {"scales": [1.0] * 10**4},
        {"scales": []},
        {"scales": [1e9]},
        {"points_per_side": 10**6},
        {"pred_iou_thresh": float("nan")},
        {"points_per_batch": 10**9},
        {"cell_diameter": 1e300},
        {"min_area": -1},
    ],
)
def test_thresholds_are_bounded(adapter, entries):
    change(adapter / "thresholds.json", **entries)
    assert "thresholds.json: the thresholds can't be read" in refused(adapter)


@pytest.mark.parametrize(
    "entries",
    [
        {"batch": 10**6},
        {"seed": -1},
        {"seed": 2**40},
        {"scale": [1.5, 0.5]},
        {"scale": [0.0, 1.0]},
        {"max_cells": 10**7},
        {"epochs": 10**6, "tiles_per_image": 10**5, "max_steps": None},
        {"learning_rate": float("inf")},
        {"lora": {"rank": 10**7}},
        {"tile": 100},
    ],
)
def test_recipes_are_bounded_and_checked_together(tmp_path, entries):
    (tmp_path / "recipe.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"recipe\.json: not a recipe"):
        get_family("sam").read_recipe(tmp_path / "recipe.json")
