from __future__ import annotations

import json

import pytest
import torch
from accelerate.state import AcceleratorState

from glioma_hf.models.sam import pretrain_tiles as scenes
from glioma_hf.models.sam.pretrain import PretrainConfig, export, pretrain
from glioma_hf.models.sam.sam import CellSam, new_model
from glioma_hf.synthetic.scenes import SceneConfig


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """Its state is one per process, and another test may have trained in another precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.long
def test_a_short_run_learns_resumes_and_exports(tiny_model, tmp_path, monkeypatch):
    small = SceneConfig(width=96, height=96, cells_per_megapixel=(700, 900))
    original = scenes.draw_scenes
    monkeypatch.setattr(
        "glioma_hf.models.sam.pretrain.draw_scenes", lambda folder, count, seed: original(folder, count, seed, small)
    )
    config = PretrainConfig(steps=100, batch=2, points=6, scenes=6, check_every=50)
    whole = pretrain(tmp_path / "run", config, tiny_model, tmp_path / "cache")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [50, 100]
    assert log[1]["dense"] < log[0]["dense"]
    # Starting it again with nothing left to do gives the trained weights back, not new ones.
    again = pretrain(tmp_path / "run", config, new_model(tiny_model.config, seed=9), tmp_path / "cache")
    for (name, a), (_, b) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    export(again, tmp_path / "weights")
    loaded = CellSam.from_pretrained(tmp_path / "weights")
    assert loaded.config.centres_trained
    assert next(loaded.parameters()).dtype == torch.float16
