"""Runs of fine-tuning that stop early, break off, go on, or are shared out among processes."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from glioma_hf import InputError
from glioma_hf.errors import WorkStopped
from glioma_hf.models import training as shared
from glioma_hf.models.adapters import save_weights
from glioma_hf.models.base import Run
from glioma_hf.models.checkpoints import CHECKPOINTS, last_checkpoint
from glioma_hf.models.sam import train as training
from glioma_hf.models.sam.family import FAMILY
from glioma_hf.models.sam.lora import load_adapter
from glioma_hf.models.sam.recipe import LoraSettings
from glioma_hf.models.sam.sam import new_model, small_config
from glioma_hf.models.sam.train import train
from glioma_hf.progress import Progress
from tests.conftest import run_in_two_processes
from tests.models.sam.test_train import PAIR, SHORT

EXACT = SHORT.model_copy(update={"precision": "fp32", "check_every": 2, "lora": LoraSettings(dropout=0.2)})


def weights(adapted) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in adapted.named_parameters() if p.requires_grad}


def same(first, second) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_run_that_was_broken_off_ends_in_the_same_weights(tiny_model, tmp_path):
    unbroken = weights(train(copy.deepcopy(tiny_model), [PAIR], EXACT, Run(tmp_path / "unbroken")))

    def break_off(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(copy.deepcopy(tiny_model), [PAIR], EXACT, Run(tmp_path / "run", break_off))
    last = last_checkpoint(tmp_path / "run")
    assert Path(last).name == "checkpoint-4"
    seen: list[float] = []
    resumed = train(copy.deepcopy(tiny_model), [PAIR], EXACT, Run(tmp_path / "run", lambda p: seen.append(p.done)))
    assert seen == [5, 6]
    assert same(unbroken, weights(resumed))
    logs = [[json.loads(r) for r in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("unbroken", "run")]
    assert [[row["step"] for row in log] for log in logs] == [[1, 2, 3, 4, 5, 6]] * 2
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


def test_a_checkpoint_that_was_being_written_is_passed_over(tiny_model, tmp_path):
    train(tiny_model, [PAIR], EXACT, Run(tmp_path))
    newest = Path(last_checkpoint(tmp_path))
    (newest / "trainer_state.json").unlink()
    assert Path(last_checkpoint(tmp_path)) != newest
    assert not newest.exists()
    shutil.rmtree(tmp_path / CHECKPOINTS)
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_batches_train_as_one(tiny_model, parts):
    whole = EXACT.model_copy(update={"lora": LoraSettings(dropout=0)})
    split = whole.model_copy(update={"batch": 4 // parts, "accumulation": parts})
    first = weights(train(copy.deepcopy(tiny_model), [PAIR], whole))
    second = weights(train(copy.deepcopy(tiny_model), [PAIR], split))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=2e-4, msg=name)


def test_it_stops_early_and_returns_the_best_adapter(tiny_model, tmp_path):
    patient = EXACT.model_copy(update={"patience": 2, "tiles_per_image": 80})
    scores = iter([0.1, 0.4, 0.3, 0.4, 0.9])
    kept = []

    def validate(adapted) -> float:
        kept.append(weights(adapted))
        return next(scores)

    steps: list[float] = []
    best = train(tiny_model, [PAIR], patient, Run(tmp_path, lambda p: steps.append(p.done), validate))
    assert steps[-1] == 8  # of 20: the checks at 6 and 8 weren't better than that at 4
    assert len(kept) == 4
    assert same(kept[1], weights(best))
    assert not same(kept[1], kept[3])
    rows = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["eval_score"] for row in rows if "eval_score" in row] == [0.1, 0.4, 0.3, 0.4]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_model, tmp_path, monkeypatch):
    real, calls = training.training_loss, []

    def loss(outputs, batch, recipe):
        calls.append(1)
        return real(outputs, batch, recipe) * (float("nan") if len(calls) > 5 else 1.0)

    monkeypatch.setattr(training, "training_loss", loss)
    base = copy.deepcopy(tiny_model)
    with pytest.raises(WorkStopped, match=r"isn't finite at step 5; lower the learning rate; .*checkpoint-4$"):
        train(tiny_model, [PAIR], EXACT, Run(tmp_path))
    adapter = load_adapter(base, last_checkpoint(tmp_path))
    assert all(torch.isfinite(p).all() for p in adapter.parameters())
    monkeypatch.setattr(training, "training_loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(WorkStopped, match="there is no checkpoint yet"):
        train(copy.deepcopy(base), [PAIR], EXACT)


def test_running_out_of_memory_says_what_to_lower(tiny_model, monkeypatch):
    def exhausted(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(training, "training_loss", exhausted)
    with pytest.raises(WorkStopped, match=r"lower the recipe's batch \(4\) and raise its accumulation \(1\)"):
        train(tiny_model, [PAIR], EXACT)


@pytest.mark.parametrize("variant", [{"use_rslora": True}, {"use_dora": True}])
def test_other_kinds_of_lora_train_save_and_load(tiny_model, tmp_path, variant):
    settings = EXACT.model_copy(update={"lora": LoraSettings(dropout=0, **variant), "tiles_per_image": 8})
    base = copy.deepcopy(tiny_model)
    adapted = train(tiny_model, [PAIR], settings)
    save_weights(adapted, tmp_path)
    again = load_adapter(base, tmp_path).get_base_model().eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(adapted.get_base_model().encode(pixels), again.encode(pixels))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["use_rslora"], config["use_dora"]) == (
        settings.lora.use_rslora,
        settings.lora.use_dora,
    )


def test_recipes_from_a_file(tmp_path):
    (tmp_path / "r.json").write_text('{"learning_rate": 0.5, "lora": {"rank": 7}}')
    recipe = FAMILY.read_recipe(str(tmp_path / "r.json"))
    assert (recipe.learning_rate, recipe.lora.rank, recipe.epochs) == (0.5, 7, 300)
    (tmp_path / "r.json").write_text('{"lerning_rate": 0.5}')
    with pytest.raises(InputError, match=r"r\.json: not a recipe .*lerning_rate"):
        FAMILY.read_recipe(str(tmp_path / "r.json"))


def test_a_log_for_tensorboard(tiny_model, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_model, [PAIR], EXACT, Run(tmp_path, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(events.Scalars("train/loss")) == 6


SHARED = """
import sys, torch
from pathlib import Path
from accelerate import PartialState
from glioma_hf.models.sam.train import train
from tests.models.sam.test_train_runs import SHARED_RECIPE, PAIR, weights
from glioma_hf.models.sam.sam import new_model, small_config
from glioma_hf.models.base import Run
state = PartialState(cpu=True)
model = new_model(small_config(64, 32, 2, 2, 32), seed=0).eval()
adapted = train(model, [PAIR], SHARED_RECIPE, Run(sys.argv[1], workers=0))
if state.is_main_process:
    assert state.num_processes == 2
    torch.save(weights(adapted), sys.argv[1] + "/weights.pt")
state.destroy_process_group()  # as the commands do at their end
"""
SHARED_RECIPE = EXACT.model_copy(update={"lora": LoraSettings(dropout=0)})


@pytest.mark.alone
def test_two_processes_match_one(tmp_path):
    run_in_two_processes(SHARED, tmp_path)
    one = weights(train(new_model(small_config(64, 32, 2, 2, 32), seed=0).eval(), [PAIR], SHARED_RECIPE))
    two = torch.load(tmp_path / "run" / "weights.pt", weights_only=True)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=2e-4, msg=name)
    steps = [json.loads(row)["step"] for row in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_batch_that_processes_cannot_share(tiny_model, monkeypatch):
    class Three:
        num_processes = 3

    monkeypatch.setattr(shared, "PartialState", lambda cpu: Three())
    with pytest.raises(InputError, match="a batch of 4 can't be shared out among 3 processes"):
        train(tiny_model, [PAIR], EXACT)
