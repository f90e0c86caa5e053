"""An adapter of a trained network: what of it learns, what is saved, and that it is an ordinary `peft` one."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from glioma_hf import InputError
from glioma_hf.models import load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.card import card
from glioma_hf.models.centres.adapter import HEADS, add_adapter, load_adapter, merge
from glioma_hf.models.centres.family import FAMILY, new_network, read_network
from glioma_hf.models.centres.recipe import AdapterSettings
from glioma_hf.models.saved import ModelFolder
from tests.models.centres import test_contract
from tests.models.centres.test_contract import TINY
from tests.models.centres.test_train_runs import SHORT
from tests.models.contract import PAIR, SCENE

WHOLE = SHORT.model_copy(update={"network": None})
ADAPTED = WHOLE.model_copy(update={"adapter": AdapterSettings(rank=2)})
LOOSE = test_contract.TestCentres.loose


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """A trained model to put adapters on."""
    folder = tmp_path_factory.mktemp("base")
    start = FAMILY.train("random", [PAIR], SHORT, Run(workers=0)).with_settings(**LOOSE)
    ModelFolder(folder).write(FAMILY, start, "random", SHORT)
    return str(folder)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """The folder of an adapter that was trained on it."""
    folder = tmp_path_factory.mktemp("adapter")
    ModelFolder(folder).write(FAMILY, FAMILY.train(base, [PAIR], ADAPTED, Run(folder / "run")), base, ADAPTED)
    return folder


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_only_what_it_may(base, adapter):
    before, x = read_network(ModelFolder(base).path), torch.randn(1, 1, 64, 64)
    fresh = add_adapter(read_network(ModelFolder(base).path), AdapterSettings(rank=2)).eval()
    with torch.no_grad():
        torch.testing.assert_close(fresh.maps(x).heat, before.maps(x).heat)
        trained = load_adapter(read_network(ModelFolder(base).path), adapter)
        assert not torch.allclose(trained.maps(x).heat, before.maps(x).heat, atol=1e-4)
    kept = {name.replace(".base_layer", ""): value for name, value in trained.get_base_model().state_dict().items()}
    for name, value in before.state_dict().items():
        if not name.startswith(HEADS):  # batch norms' statistics among them
            assert torch.equal(kept[name], value), name


def test_it_is_small_and_loads_onto_its_base(base, adapter):
    folder = ModelFolder(adapter)
    assert folder.names() == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "model.json", "recipe.json", "thresholds.json",
    ]  # fmt: skip
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert sum(t.numel() for t in tensors.values()) < 0.6 * sum(t.numel() for t in new_network(base).parameters())
    segmenter = load_segmenter(adapter)
    cells = segmenter.segment(SCENE.image)
    assert len(cells) > 0
    assert cells != load_segmenter(f"centres:{base}").segment(SCENE.image)
    # As a base of its own it is merged.
    merged = load_segmenter(f"centres:{adapter}")
    assert merged.adapted is None
    with torch.no_grad():
        x = torch.randn(1, 1, 64, 64)
        torch.testing.assert_close(merged.network.maps(x).heat, segmenter.network.maps(x).heat, rtol=1e-3, atol=1e-4)
    assert "This is a `peft` adapter" in card(FAMILY, base, ADAPTED)


def test_peft_itself_reads_it(base, adapter):
    from peft import PeftModel

    ours = load_segmenter(adapter).network
    theirs = PeftModel.from_pretrained(read_network(ModelFolder(base).path), str(adapter)).eval()
    with torch.no_grad():
        x = torch.randn(1, 1, 64, 64)
        torch.testing.assert_close(theirs.maps(x).heat, ours.maps(x).heat)
        torch.testing.assert_close(merge(theirs).maps(x).heat, ours.maps(x).heat, rtol=1e-3, atol=1e-4)


def test_a_run_that_was_broken_off_ends_in_the_same_adapter(base, tmp_path):
    def weights(run: Run) -> dict[str, torch.Tensor]:
        return FAMILY.train(base, [PAIR], ADAPTED, run).adapted.state_dict()

    def break_off(progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    unbroken = weights(Run(tmp_path / "unbroken"))
    with pytest.raises(KeyboardInterrupt):
        weights(Run(tmp_path / "run", break_off))
    assert all(torch.equal(value, unbroken[name]) for name, value in weights(Run(tmp_path / "run")).items())


def test_what_does_not_fit_is_refused(base, adapter, tmp_path):
    for start in ("random", "imagenet"):
        with pytest.raises(InputError, match="put on a trained model"):
            FAMILY.train(start, [PAIR], ADAPTED, Run(workers=0))
    wide = SHORT.model_copy(update={"network": TINY.model_copy(update={"controller": 16})})
    other = tmp_path / "other"
    ModelFolder(other).write(FAMILY, FAMILY.train("random", [PAIR], wide, Run(workers=0)), "random", wide)
    with pytest.raises(InputError, match="controller"):
        load_segmenter(f"centres:{other}", adapter)
    with pytest.raises(InputError, match="holds no trained model"):
        load_segmenter("centres:random", adapter)
    twice = tmp_path / "twice"
    ModelFolder(twice).write(FAMILY, FAMILY.train(str(adapter), [PAIR], ADAPTED, Run(workers=0)), str(adapter), ADAPTED)
    assert load_segmenter(twice).segment(SCENE.image).size == SCENE.image.shape
    with pytest.raises(InputError, match="an adapter of an adapter"):
        load_segmenter(f"centres:{twice}")


@pytest.mark.parametrize("harm", ["config", "nan", "missing"])
def test_broken_files_are_named(base, adapter, tmp_path, harm):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken, ignore=shutil.ignore_patterns("run"))
    weights = broken / "adapter_model.safetensors"
    if harm == "config":
        config = json.loads((broken / "adapter_config.json").read_text())
        (broken / "adapter_config.json").write_text(json.dumps(config | {"target_modules": "(a+)+$"}))
    elif harm == "nan":
        tensors = load_file(weights)
        tensors[min(tensors)].fill_(float("nan"))
        save_file(tensors, weights)
    else:
        weights.unlink()
    with pytest.raises(InputError, match=str(broken)):
        load_segmenter(broken)
