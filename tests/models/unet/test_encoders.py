"""The sixteen encoders of the paper at their own size, those of timm where it is installed (make test-encoders)."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from glioma_hf import InputError
from glioma_hf.models.unet.encoders import ENCODERS
from glioma_hf.models.unet.network import UNet
from glioma_hf.models.unet.recipe import NetworkConfig

# What the others do without is small: the same architectures, with fewer and narrower layers.
SMALL = {
    "mit-b3": {
        "model_type": "segformer",
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 16, 16],
        "num_attention_heads": [1, 1, 1, 1],
    },
    "resnet50": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "mobilenet-v2": {"model_type": "mobilenet_v2", "depth_multiplier": 0.25},
    "efficientnet-b5": {
        "model_type": "efficientnet",
        "width_coefficient": 0.25,
        "depth_coefficient": 0.3,
        "hidden_dim": 320,
    },
}
WIDTHS = (8, 8, 8, 8, 8)


def run(config: NetworkConfig) -> None:
    network = UNet(config).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 1, 128, 160))
    assert logits.shape == (1, 128, 160)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert len(network.encoder.channels) >= 4
    assert max(network.encoder.channels) == 32


def test_the_paper_tried_sixteen():
    assert len(ENCODERS) == 16
    assert {known.library for known in ENCODERS.values()} == {"transformers", "timm"}


@pytest.mark.parametrize("name", SMALL)
def test_those_of_transformers_are_built_small_and_run(name):
    run(NetworkConfig(encoder=name, backbone=SMALL[name], widths=WIDTHS))


@pytest.mark.encoders
@pytest.mark.parametrize("name", ENCODERS)
def test_each_is_built_at_its_own_size_and_runs(name):
    if ENCODERS[name].library == "timm":
        pytest.importorskip("timm", reason="timm isn't installed: make test-encoders has it")
    run(NetworkConfig(encoder=name, widths=WIDTHS))


def test_timm_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    monkeypatch.setattr("glioma_hf.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"timm isn't installed; pip install 'glioma_hf\[encoders\]' brings it"):
        UNet(NetworkConfig(encoder="vgg19"))


def test_an_encoder_without_a_pyramid_is_named():
    flat = {
        "model_type": "dinov2",
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "image_size": 32,
        "patch_size": 16,
    }
    with pytest.raises(InputError, match=r"the encoder flat gives no feature pyramid \(its maps are of strides 16\)"):
        UNet(NetworkConfig(encoder="flat", backbone=flat))
    tokens = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    with pytest.raises(InputError, match="the encoder vit"):
        UNet(NetworkConfig(encoder="vit", backbone=tokens))


def test_a_name_that_is_not_known_lists_those_that_are():
    with pytest.raises(InputError, match=r"the encoder resnet-5 isn't known; it is lite0, .*mit-b3.*vgg19"):
        UNet(NetworkConfig(encoder="resnet-5"))


def test_weights_that_cannot_be_had_are_named():
    from glioma_hf.models.unet.network import pretrained_unet

    with pytest.raises(InputError, match=r"the encoder mit-b3: its ImageNet weights can't be loaded .*take the"):
        pretrained_unet(NetworkConfig(encoder="mit-b3"))
