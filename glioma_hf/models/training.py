"""transformers' `Trainer` as LoRA on SAM needs it: the loss, the schedule, validation by a score, checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from torch import Tensor
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from glioma_hf.models.sam.prompt_crops import CELL, PADDING

CHECKPOINTS = "checkpoints"  # under the work folder
SCORE = "eval_score"

Report = Callable[[int, int, float], None]  # step, steps, loss


class CellTrainer(Trainer):
    """A `Trainer` of a `CellModel` with an adapter.

    Args:
        loss: of the model's outputs and the batch.
        warm_up: share of the steps in which the learning rate rises.
        validate: score of the adapter, asked in the first process alone.
    """

    def __init__(
        self,
        loss: Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor],
        warm_up: float,
        validate: Callable[[PeftModel], float] | None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.loss, self.warm_up, self.validate = loss, warm_up, validate
        self.model_accepts_loss_kwargs = False  # or the loss wouldn't be divided by the accumulated batches

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch. Raises FloatingPointError where it isn't finite."""
        kind = inputs["kind"]
        outputs = model(tiles=inputs["tiles"], points=inputs["points"], asked=kind != PADDING, drawn=kind == CELL)
        loss = self.loss(outputs, inputs)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss isn't finite at step {self.state.global_step}; lower the learning rate")
        return (loss, outputs) if return_outputs else loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """One cycle, as CellSeg1 has it."""
        total = num_training_steps + 1
        self.lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer or self.optimizer,
            self.args.learning_rate,
            total_steps=total,
            pct_start=min(1.0, max(self.warm_up, 2 / total)),  # a warm-up of no step divides by zero
            cycle_momentum=False,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The validation score, the same in every process."""
        assert self.validate is not None
        training, model = self.model.training, self.accelerator.unwrap_model(self.model)
        score = [self.validate(model) if self.is_world_process_zero() else 0.0]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(score)
        self.model.train(training)
        metrics = {SCORE: score[0]}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = output_dir or self.args.output_dir
        # SAM has no word embeddings; with "auto" `peft` would ask the Hub.
        self.accelerator.unwrap_model(self.model).save_pretrained(folder, save_embedding_layers=False)


class Reporter(TrainerCallback):
    """Tells of each step and keeps the log, a JSON object a line."""

    def __init__(self, report: Report, steps: int, log: Path | None):
        self.report, self.steps, self.log = report, steps, log

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut what a broken-off run wrote after its last checkpoint."""
        if self.log is not None and self.log.exists() and state.is_world_process_zero:
            rows = self.log.read_text().splitlines(keepends=True)
            self.log.write_text("".join(row for row in rows if _step(row) <= state.global_step))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """One step's loss, or a validation score."""
        if not logs or not state.is_world_process_zero or not ({"loss", SCORE} & set(logs)):
            return
        if "loss" in logs:
            self.report(state.global_step, self.steps, float(logs["loss"]))
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def last_checkpoint(work: str | Path) -> str | None:
    """The last whole checkpoint under a work folder; one that was being written is deleted."""
    folder = Path(work) / CHECKPOINTS
    if not folder.is_dir():
        return None
    while (last := get_last_checkpoint(str(folder))) is not None:
        if (Path(last) / "trainer_state.json").is_file():  # written last
            return last
        shutil.rmtree(last)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _step(row: str) -> int:
    try:
        return int(json.loads(row)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 60
