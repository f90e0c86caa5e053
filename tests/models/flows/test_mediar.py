from __future__ import annotations

import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file
from typer.testing import CliRunner

from glioma_hf import InputError
from glioma_hf.models import load_segmenter
from glioma_hf.models.flows.family import FAMILY, new_network, read_network
from glioma_hf.models.flows.manet import MediarNetwork, PlaceAttention
from glioma_hf.models.flows.mediar import app, network_of, read_checkpoint, renamed
from glioma_hf.models.flows.recipe import MediarConfig
from glioma_hf.models.saved import ModelFolder
from tests.conftest import ROOT

FACTS = ROOT.parent / "shared" / "facts" / "mediar"
SMALL = MediarConfig(decoder="manet", encoder="tiny", widths=(8, 8, 8, 8, 8), attention=4)
there = pytest.mark.skipif(
    not FACTS.is_dir(), reason="the authors' output is not beside the checkout (../shared/facts)"
)


def as_published(network: MediarNetwork) -> dict[str, torch.Tensor]:
    """A network's weights by its authors' names."""
    inner = {
        "layernorm_before.": "norm1.",
        "layernorm_after.": "norm2.",
        "attention.q_proj.": "attn.q.",
        "attention.o_proj.": "attn.proj.",
        "attention.sequence_reduction.sequence_reduction.": "attn.sr.",
        "attention.sequence_reduction.layer_norm.": "attn.norm.",
        "mlp.": "mlp.",
    }
    state, theirs = network.state_dict(), {}
    for name, value in state.items():
        if not (found := re.match(r"encoder\.stages\.(\d)\.(.+)", name)):
            theirs[name] = value
            continue
        stage, rest = int(found[1]) + 1, found[2]
        if rest.startswith("patch_embeddings."):
            rest = rest.removeprefix("patch_embeddings.").replace("layer_norm.", "norm.")
            theirs[f"encoder.patch_embed{stage}.{rest}"] = value
        elif rest.startswith("layer_norm."):
            theirs[f"encoder.norm{stage}.{rest.removeprefix('layer_norm.')}"] = value
        elif "k_proj" in rest:
            both = torch.cat([value, state[name.replace("k_proj", "v_proj")]])
            rest = rest.replace("blocks.", "").replace("attention.k_proj.", "attn.kv.")
            theirs[f"encoder.block{stage}.{rest}"] = both
        elif "v_proj" not in rest:
            _, number, rest = rest.split(".", 2)
            rest = next(rest.replace(ours, other, 1) for ours, other in inner.items() if rest.startswith(ours))
            theirs[f"encoder.block{stage}.{number}.{rest}"] = value
    return theirs


@pytest.fixture(scope="module")
def network() -> MediarNetwork:
    torch.manual_seed(0)
    return MediarNetwork(SMALL).eval()


@there
def test_it_gives_the_output_that_its_authors_network_gives():
    ours = network_of(load_file(FACTS / "mit_b0_small.safetensors"), "the fixture")
    assert ours.config == MediarConfig(
        decoder="manet", encoder="nvidia/mit-b0", widths=(96, 48, 32, 24, 16), attention=32
    )
    known = load_file(FACTS / "mit_b0_small_io.safetensors")
    with torch.inference_mode():
        said = ours(known["image"])
    output = torch.cat([said["flows"], said["cells"]], 1)
    torch.testing.assert_close(output, known["output"], rtol=0, atol=1e-4)


@there
def test_every_name_of_the_published_network_is_ours():
    published = json.loads((FACTS / "mit_b5_state_dict.json").read_text())
    with torch.device("meta"):
        state = MediarNetwork(MediarConfig(decoder="manet")).state_dict()
        theirs = renamed({name: torch.empty(shape) for name, shape in published["state_dict"].items()})
    assert {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in state.items()}


def test_a_checkpoint_becomes_a_saved_model(network, tmp_path):
    checkpoint = tmp_path / "from_phase2.pth"
    torch.save({f"module.{name}": value for name, value in as_published(network).items()}, checkpoint)
    result = CliRunner().invoke(app, [str(checkpoint), "--out", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    assert "encoder tiny" in result.output
    again = read_network(tmp_path / "model")
    assert again.config == SMALL
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    segmenter = load_segmenter(tmp_path / "model")
    settings = segmenter.settings
    assert (settings.tile, settings.tile_overlap, settings.views) == (512, 0.6, 3)
    assert ModelFolder(tmp_path / "model").recipe() == FAMILY.read_recipe("mediarformer")
    base = str(tmp_path / "model")
    assert torch.equal(new_network(base).decoder.center.out_conv.weight, network.decoder.center.out_conv.weight)
    with pytest.raises(InputError, match="the recipe asks for another encoder than its network has"):
        new_network(base, MediarConfig(decoder="manet"))


def test_weights_may_lie_a_dict_deeper(network, tmp_path):
    torch.save({"epoch": 3, "model_state_dict": as_published(network)}, tmp_path / "c.pth")
    assert network_of(read_checkpoint(tmp_path / "c.pth"), "c").config == SMALL


class Code:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path, capsys):
    torch.save({"weights": Code()}, tmp_path / "bad.pth")
    result = CliRunner().invoke(app, [str(tmp_path / "bad.pth"), "--out", str(tmp_path / "model")])
    assert result.exit_code == 2
    assert re.search(r"bad\.pth: holds objects beside tensors, which could run code; it isn't read", result.output)
    assert "it ran" not in capsys.readouterr().out + result.output
    assert not (tmp_path / "model").exists()


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.pth: can't be read"):
        read_checkpoint(tmp_path / "no.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pth: (not a checkpoint of PyTorch|holds objects)"):
        read_checkpoint(tmp_path / "text.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match=r"empty\.pth: holds no tensors by name"):
        read_checkpoint(tmp_path / "empty.pth")


def test_weights_of_another_network_are_named(network):
    theirs = as_published(network)
    with pytest.raises(InputError, match=r"not MediarFormer's weights: it lacks encoder\.norm1\.weight"):
        network_of({"layer.weight": torch.zeros(3)}, "x.pth")
    lacking = {name: value for name, value in theirs.items() if not name.startswith("cellprob_head")}
    with pytest.raises(InputError, match=r"x\.pth: .*it lacks cellprob_head\.0\.bias, .* and \d+ more"):
        network_of(lacking, "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: .*it holds the unknown extra\.weight$"):
        network_of({**theirs, "extra.weight": torch.zeros(1)}, "x.pth")
    other = {**theirs, "cellprob_head.0.weight": torch.zeros(4, 9, 3, 3)}
    with pytest.raises(InputError, match=r"0\.weight is of shape \[4, 9, 3, 3\], expected \[4, 8, 3, 3\]"):
        network_of(other, "x.pth")
    with pytest.raises(InputError, match="weights that aren't finite"):
        network_of({**theirs, "cellprob_head.0.bias": torch.full((4,), np.nan)}, "x.pth")
    with pytest.raises(InputError, match=r"its encoder of \(2, 1, 1, 1\) blocks"):
        network_of({**theirs, "encoder.block1.1.norm1.weight": torch.zeros(8)}, "x.pth")


def test_attention_over_places_reaches_everywhere():
    torch.manual_seed(0)
    attention = PlaceAttention(4, 2).eval()
    x = torch.randn(1, 4, 6, 8, requires_grad=True)
    attention(x)[0, :, 0, 0].sum().backward()
    assert (x.grad.abs().sum(1) > 0).all()


def test_an_encoder_that_can_t_be_had_is_named():
    with pytest.raises(InputError, match=r"nvidia/mit-b0 can't be loaded .*the Hub must be reached once"):
        new_network("imagenet", MediarConfig(decoder="manet", encoder="nvidia/mit-b0"))
    with pytest.raises(InputError, match="tiny was never pretrained"):
        new_network("imagenet", SMALL)
