"""Cellpose 4, the real package: `cpsam` by name, trained and saved, with an encoder that is small enough for a test."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

torch = pytest.importorskip("torch")
try:
    THERE = version("cellpose")
except PackageNotFoundError:
    THERE = ""
if not THERE.startswith("4."):
    pytest.skip("Cellpose 4 isn't installed: make test-models has it", allow_module_level=True)

from glioma_hf import InputError
from glioma_hf.models import get_family, load_segmenter
from glioma_hf.models.base import Run
from glioma_hf.models.saved import ModelFolder
from tests.models.contract import PAIR, SCENE


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Where Cellpose keeps what it fetched, with weights of chance for a SAM encoder of two thin layers."""
    import cellpose.models
    from cellpose.vit import CPSAM
    from segment_anything import sam_model_registry
    from segment_anything.modeling import ImageEncoderViT

    class Thin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.image_encoder = ImageEncoderViT(
                depth=2, embed_dim=32, num_heads=2, qkv_bias=True, use_rel_pos=True, global_attn_indexes=(1,)
            )

    monkeypatch.setitem(sam_model_registry, "vit_l", lambda checkpoint: Thin())
    monkeypatch.setattr(cellpose.models, "MODEL_DIR", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.manual_seed(0)
    CPSAM().save_model(tmp_path / "cpsam")
    return tmp_path


def test_cpsam_is_loaded_by_name_trained_saved_and_loaded_again(models, tmp_path):
    family = get_family("cellpose")
    segmenter = load_segmenter("cellpose:cpsam")
    assert segmenter.segment(SCENE.image).size == SCENE.image.shape
    recipe = family.read_recipe("cpsam").model_copy(update={"epochs": 2, "learning_rate": 1e-3})
    told = []
    trained = family.train("cpsam", [PAIR], recipe, Run(on_progress=told.append, workers=0))
    assert [p.done for p in told] == [1, 2]
    assert told[-1].total == recipe.steps(1)
    loose = trained.with_settings(cellprob_threshold=-5.0, flow_threshold=0.0, min_area=1)
    ModelFolder(tmp_path / "one").write(family, loose, "cpsam", recipe)
    again = load_segmenter(tmp_path / "one")
    assert again.segment(SCENE.image) == loose.segment(SCENE.image)
    tuned, ap = family.tune(loose, [PAIR], lambda progress: None)
    assert type(tuned) is type(loose)
    assert 0 <= ap <= 1


def test_what_is_cellpose_3s_is_named(models):
    family = get_family("cellpose")
    with pytest.raises(InputError, match=r"cellpose:cyto3 wants Cellpose 3, and 4\..* .glioma_hf\[cellpose\]"):
        load_segmenter("cellpose:cyto3")
    with pytest.raises(InputError, match=r"cellpose:scratch wants Cellpose 3"):
        family.train("scratch", [PAIR], family.read_recipe("quick"), Run())
    with pytest.raises(InputError, match=r"a network of Cellpose 4; give a recipe of it \(--recipe cpsam\)"):
        family.train("cpsam", [PAIR], family.read_recipe("quick"), Run())
    assert (family.bases, family.default_recipe) == (("cpsam",), "cpsam")
    with pytest.raises(InputError, match=r"weights of cellpose:cpsam_v2 aren't here"):
        load_segmenter("cellpose:cpsam_v2")
