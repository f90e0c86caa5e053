"""Runs of training that learn, break off, go on, stop early or can't go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file

from glioma_hf.errors import WorkStopped
from glioma_hf.models.base import Run
from glioma_hf.models.centres import train as training
from glioma_hf.models.centres.family import new_network
from glioma_hf.models.centres.recipe import CentresRecipe
from glioma_hf.models.centres.train import train
from glioma_hf.models.checkpoints import last_checkpoint
from glioma_hf.models.vision.averaged import Averaged
from glioma_hf.progress import Progress
from tests.conftest import run_in_two_processes
from tests.models.centres.test_contract import TINY
from tests.models.contract import PAIR

SHORT = CentresRecipe(
    network=TINY, max_steps=6, batch=2, crop=64, max_cells=4, precision="fp32", check_every=2, learning_rate=5e-3
)


def trained(run: Run, recipe: CentresRecipe = SHORT, pretrained: bool = True) -> dict[str, torch.Tensor]:
    return train(new_network("random", TINY), [PAIR], recipe, run, pretrained).state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_learns():
    losses: list[float] = []
    recipe = SHORT.model_copy(update={"max_steps": 40})
    train(new_network("random", TINY), [PAIR], recipe, Run(on_progress=lambda p: losses.append(p.loss), workers=0))
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_a_run_that_was_broken_off_ends_in_the_same_weights(tmp_path):
    unbroken = trained(Run(tmp_path / "unbroken"))

    def break_off(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(Run(tmp_path / "run", break_off))
    assert Path(last_checkpoint(tmp_path / "run")).name == "checkpoint-4"
    seen: list[float] = []
    assert same(unbroken, trained(Run(tmp_path / "run", lambda p: seen.append(p.done))))
    assert seen == [5, 6]
    logs = [[json.loads(r) for r in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("unbroken", "run")]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


def test_one_cell_is_enough_and_it_may_be_laid_over_itself():
    image, cells = PAIR
    inner = next(i for i in range(len(cells)) if not cells.touching_border(2)[i] and cells.areas[i] > 200)
    recipe = SHORT.model_copy(update={"max_steps": 2, "composed": 1})
    weights = train(new_network("random", TINY), [(image, cells.select([inner]))], recipe, Run(workers=0)).state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_frozen_blocks_stay_and_the_encoder_learns_more_slowly():
    start = new_network("random", TINY).state_dict()
    after = trained(Run(workers=0))
    for name, value in start.items():
        if name.startswith(("encoder.stem.", "encoder.blocks.0.", "encoder.blocks.1.")):
            assert torch.equal(value, after[name]), name
    moved = {"encoder.blocks.4.narrow.0.weight", "controller.0.weight"}
    assert all(not torch.equal(start[name], after[name]) for name in moved)
    still = trained(Run(workers=0), SHORT.model_copy(update={"encoder_rate": 0.0, "weight_decay": 0.0}))
    assert torch.equal(still["encoder.blocks.4.narrow.0.weight"], start["encoder.blocks.4.narrow.0.weight"])


def test_the_result_is_the_running_mean_of_the_weights():
    network = new_network("random", TINY)
    averaged = Averaged(network, 0.9)
    with torch.no_grad():
        values = [float(network.controller[0].bias[0])]
        mean = values[0]
        for step in range(1, 120):
            network.controller[0].bias[0] += 1
            averaged.update(step)
            decay = min(0.9, step / (step + 9))
            mean = decay * mean + (1 - decay) * float(network.controller[0].bias[0])
    assert float(averaged.mean.controller[0].bias[0]) == pytest.approx(mean, rel=1e-5)
    assert not any(parameter.requires_grad for parameter in averaged.mean.parameters())
    assert not averaged.train().mean.training


def test_it_stops_early_and_returns_the_best_weights(tmp_path):
    scores, kept, steps = iter([0.1, 0.4, 0.3, 0.4, 0.9]), [], []

    def validate(network) -> float:
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(scores)

    recipe = SHORT.model_copy(update={"patience": 2, "max_steps": 20})
    best = trained(Run(tmp_path, lambda p: steps.append(p.done), validate), recipe)
    assert steps[-1] == 8  # of 20: the checks at 6 and 8 weren't better than that at 4
    assert same(kept[1], best)
    assert not same(kept[1], kept[3])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    real, calls = training.training_loss, []

    def loss(outputs, batch, recipe):
        calls.append(1)
        return real(outputs, batch, recipe) * (float("nan") if len(calls) > 5 else 1.0)

    monkeypatch.setattr(training, "training_loss", loss)
    with pytest.raises(WorkStopped, match=r"isn't finite at step 5; lower the learning rate; .*checkpoint-4$"):
        trained(Run(tmp_path))
    tensors = load_file(Path(last_checkpoint(tmp_path)) / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_running_out_of_memory_says_what_to_lower(monkeypatch):
    def exhausted(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(training, "training_loss", exhausted)
    with pytest.raises(WorkStopped, match=r"batch \(2\) and raise its accumulation \(1\) as much, or lower max_cells"):
        trained(Run(workers=0))


SHARED = """
import sys, torch
from accelerate import PartialState
from glioma_hf.models.base import Run
from tests.models.centres.test_train_runs import trained
state = PartialState(cpu=True)
weights = trained(Run(sys.argv[1], workers=0))
if state.is_main_process:
    assert state.num_processes == 2
    torch.save(weights, sys.argv[1] + "/weights.pt")
"""


@pytest.mark.alone
def test_two_processes_share_a_batch(tmp_path):
    run_in_two_processes(SHARED, tmp_path)
    weights, start = (
        torch.load(tmp_path / "run" / "weights.pt", weights_only=True),
        new_network("random", TINY).state_dict(),
    )
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert not torch.equal(weights["controller.0.weight"], start["controller.0.weight"])
    rows = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    # Each process has batch norms of its own half of a batch: near one process's loss, not equal to it.
    alone: list[float] = []
    trained(Run(on_progress=lambda progress: alone.append(progress.loss), workers=0))
    assert json.loads(rows[0])["loss"] == pytest.approx(alone[0], rel=0.1)
