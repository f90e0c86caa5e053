"""Training that families share: transformers' `Trainer` with a loss of ours, checkpoints, resume, early stop, a log."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from glioma_hf.errors import InputError, WorkStopped
from glioma_hf.models.base import Run, TrainerRecipe
from glioma_hf.models.checkpoints import CHECKPOINTS, last_checkpoint, note_checkpoint
from glioma_hf.models.device import has_fast_bfloat16
from glioma_hf.progress import OnProgress, Progress

LOG = "log.jsonl"
SCORE = "eval_score"

Loss = Callable[[Any, dict[str, Tensor]], Tensor]  # of the model and a batch, with gradient
Save = Callable[[Any, str], None]  # the model's weights into a folder


@dataclass(frozen=True)
class Trainable:
    """What a family trains.

    Attributes:
        model: a module; trained in place.
        dataset: of `steps` x batch x accumulation items.
        steps: of the optimizer.
        loss: of the model and a batch.
        save: writes the model's weights into a checkpoint's folder.
        collate: a batch from items.
        label: the batch's entry that holds what is learned.
        on_memory: what else than the batch may be lowered where memory runs out.
        rate_of: learning rate of a parameter by its name, relative to the recipe's; the same for all without it.
        after_step: called after each optimizer step with its number, from 1.
        fixed_rate: whether the learning rate stays what it is, instead of going up and down once.
    """

    model: Any
    dataset: Dataset
    steps: int
    loss: Loss
    save: Save
    collate: Callable[[list[Any]], dict[str, Tensor]]
    label: str
    on_memory: str = ""
    rate_of: Callable[[str], float] | None = None
    after_step: Callable[[int], None] | None = None
    fixed_rate: bool = False


def fit(trainable: Trainable, recipe: TrainerRecipe, run: Run) -> None:
    """Train a model in place; see `Run` for what is written, resumed and told.

    Under `accelerate launch` the batch is shared out among the processes, the result is that of one. `run.validate`
    is given the model.

    Raises `InputError` for a batch that the processes can't share; `WorkStopped`, which leaves the checkpoints, where
    memory runs out or the loss isn't finite.
    """
    device = next(trainable.model.parameters()).device
    state = PartialState(cpu=device.type == "cpu")
    if recipe.batch % state.num_processes:
        raise InputError(f"a batch of {recipe.batch} can't be shared out among {state.num_processes} processes")
    validate = run.validate if run.work is not None and recipe.patience else None
    if run.tensorboard:
        _prepare_tensorboard(run.work)
    log = None if run.work is None else Path(run.work) / LOG
    callbacks: list[TrainerCallback] = [Reporter(run.on_progress, trainable.steps, log)]
    if trainable.after_step is not None:
        callbacks.append(AfterStep(trainable.after_step))
    if validate is not None:
        callbacks.append(EarlyStoppingCallback(recipe.patience))
    trainer = FamilyTrainer(
        trainable,
        recipe.warmup_ratio,
        validate,
        model=trainable.model,
        args=_arguments(trainable, recipe, run, device, state.num_processes, validate is not None),
        train_dataset=trainable.dataset,
        eval_dataset=trainable.dataset if validate is not None else None,
        data_collator=trainable.collate,
        callbacks=callbacks,
        optimizers=(_optimizer(trainable, recipe), None),
    )
    trainer.remove_callback(PrinterCallback)
    last = None if run.work is None else last_checkpoint(run.work, run.on_progress)
    try:
        trainer.train(resume_from_checkpoint=last)
    except FloatingPointError as error:
        raise WorkStopped(f"{error}; {_kept(run.work)}") from None
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise WorkStopped(
            f"memory ran out in training: lower the recipe's batch ({recipe.batch}) and raise its accumulation "
            f"({recipe.accumulation}) as much{trainable.on_memory}; {_kept(run.work)}"
        ) from None


class FamilyTrainer(Trainer):
    """A `Trainer` whose loss, weights' files and validation score a family gives; see `fit`."""

    def __init__(
        self, trainable: Trainable, warmup_ratio: float, validate: Callable[[Any], float] | None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.trainable, self.warmup_ratio, self.validate = trainable, warmup_ratio, validate
        self.model_accepts_loss_kwargs = False  # or the loss wouldn't be divided by the accumulated batches

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch. Raises FloatingPointError where it isn't finite."""
        loss = self.trainable.loss(model, inputs)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss isn't finite at step {self.state.global_step}; lower the learning rate")
        return (loss, {}) if return_outputs else loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """One cycle: up to the learning rate of each group, then down; or none at all."""
        self._created_lr_scheduler = True
        if self.trainable.fixed_rate:
            fixed: Any = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, _one)
            self.lr_scheduler = fixed
            return fixed
        total = num_training_steps + 1
        self.lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer or self.optimizer,
            [group["lr"] for group in (optimizer or self.optimizer).param_groups],
            total_steps=total,
            pct_start=min(1.0, max(self.warmup_ratio, 2 / total)),  # a warm-up of no step divides by zero
            cycle_momentum=False,
        )
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
        self.trainable.save(self.accelerator.unwrap_model(self.model), output_dir or self.args.output_dir)


class AfterStep(TrainerCallback):
    """Calls a family's hook after each optimizer step, before that step's checkpoint is written."""

    def __init__(self, hook: Callable[[int], None]):
        self.hook = hook

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step's number is known by now."""
        self.hook(state.global_step)


class Reporter(TrainerCallback):
    """Tells of each step and keeps the log, a JSON object a line."""

    def __init__(self, on_progress: OnProgress, steps: int, log: Path | None):
        self.on_progress, self.steps, self.log = on_progress, steps, log

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut what a broken-off run wrote after its last checkpoint."""
        if self.log is not None and self.log.exists() and state.is_world_process_zero:
            rows = self.log.read_text().splitlines(keepends=True)
            self.log.write_text("".join(row for row in rows if _step(row) <= state.global_step))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Each process writes files of its own: the checkpoint is whole when all have."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            note_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """One step's loss, or a validation score."""
        if not logs or not state.is_world_process_zero or not ({"loss", SCORE} & set(logs)):
            return
        if "loss" in logs:
            self.on_progress(Progress(done=state.global_step, total=self.steps, loss=float(logs["loss"])))
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def _one(step: int) -> float:
    """The share of the learning rate where that is fixed."""
    return 1.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _optimizer(trainable: Trainable, recipe: TrainerRecipe) -> torch.optim.Optimizer | None:
    """AdamW with a group for each learning rate; None where they are all the same, which `Trainer` makes itself."""
    if trainable.rate_of is None:
        return None
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in trainable.model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(trainable.rate_of(name), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group, "lr": recipe.learning_rate * rate} for rate, group in groups.items()],
        weight_decay=recipe.weight_decay,
    )


def _arguments(
    trainable: Trainable, recipe: TrainerRecipe, run: Run, device: torch.device, processes: int, validated: bool
) -> TrainingArguments:
    """The recipe in the words of `Trainer`."""
    checked: dict[str, Any] = {"save_strategy": "no"}
    if run.work is not None:
        checked = {"save_strategy": "steps", "save_steps": recipe.check_every}
    if validated:
        checked |= {
            "eval_strategy": "steps",
            "eval_steps": recipe.check_every,
            "load_best_model_at_end": True,
            "metric_for_best_model": SCORE,
            "restore_callback_states_from_checkpoint": True,
        }
    return TrainingArguments(
        output_dir=str(Path(run.work or tempfile.gettempdir()) / CHECKPOINTS),  # is made, if only to stay empty
        max_steps=trainable.steps,
        per_device_train_batch_size=recipe.batch // processes,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        bf16=has_fast_bfloat16(device) if recipe.precision == "auto" else recipe.precision == "bf16",
        use_cpu=device.type == "cpu",
        dataloader_num_workers=run.workers,
        dataloader_pin_memory=device.type != "cpu",
        remove_unused_columns=False,
        label_names=[trainable.label],
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        logging_steps=1,
        save_total_limit=2,
        ddp_find_unused_parameters=False,
        report_to=["tensorboard"] if run.tensorboard else [],
        disable_tqdm=True,
        seed=recipe.seed,
        log_level="error",
        **checked,
    )


def _kept(work: str | Path | None) -> str:
    last = None if work is None else last_checkpoint(work)
    return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"


def _prepare_tensorboard(work: str | Path | None) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("TensorBoard isn't installed; pip install tensorboard, or leave its log out")
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(work or ".") / "tensorboard")


def _step(row: str) -> int:
    try:
        return int(json.loads(row)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 60
