"""LoRA fine-tuning of SAM on a few annotated images, CellSeg1's recipe, by transformers' `Trainer`."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from peft import PeftModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from glioma_hf.errors import InputError, WorkStopped
from glioma_hf.instances import Instances
from glioma_hf.models.sam import losses
from glioma_hf.models.sam.adapter_card import SCORES_FILE, adapter_card
from glioma_hf.models.sam.cell_model import CellModel
from glioma_hf.models.sam.generate import has_fast_bfloat16
from glioma_hf.models.sam.lora import LoraSettings, add_adapter
from glioma_hf.models.sam.prompt_crops import CELL, PADDING, CellCrops, CropSettings
from glioma_hf.models.training import (
    CHECKPOINTS,
    SCORE,
    CellTrainer,
    Report,
    Reporter,
    is_out_of_memory,
    last_checkpoint,
)


class TrainSettings(BaseModel):
    """Every number of the recipe; the defaults are the paper's (CellSeg1), the heat map's weight is ours."""

    model_config = ConfigDict(extra="forbid")

    lora: LoraSettings = LoraSettings()
    epochs: int = Field(300, ge=1)
    most_steps: int | None = Field(None, ge=1)  # an end before all epochs, for many images
    tile: int | None = Field(512, ge=64, le=2048, multiple_of=64)  # the input's side in pixels; None: as the model is
    tiles_per_image: int = Field(9, ge=1)  # 256-pixel tiles with half overlap of a 512-pixel image
    batch: int = Field(4, ge=1)
    accumulation: int = Field(8, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    warm_up: float = Field(0.3, ge=0, le=1)
    scale: tuple[float, float] = (0.5, 1.5)
    most_cells: int = Field(16, ge=1)
    dice_weight: float = Field(0.0, ge=0)
    heat_weight: float = Field(0.5, ge=0)
    quality: Literal["cell", "iou"] = "cell"  # what the IoU head learns: 1 for any cell (CellSeg1) or the mask's IoU
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bfloat16 where the device multiplies in it
    check_every: int = Field(20, ge=1)  # steps from checkpoint to checkpoint, and to validation where that is asked for
    patience: int = Field(0, ge=0)  # checks without a better validation AP before training ends; 0: never ends early
    seed: int = 0

    def steps(self, images: int) -> int:
        """Optimizer steps of a run on so many images."""
        steps = math.ceil(self.epochs * self.tiles_per_image * images / (self.batch * self.accumulation))
        return max(1, min(steps, self.most_steps or steps))


# For the small embedded model on a CPU: minutes instead of hours. Rank (of 4, 16 and 32) and epochs (of 40 and 80) were
# chosen on T98G validation images; dropout costs a fifth of the time on a CPU.
QUICK = TrainSettings(
    lora=LoraSettings(rank=16, dropout=0.0),
    tile=None,
    epochs=80,
    most_steps=600,
    tiles_per_image=12,
    batch=6,
    accumulation=1,
    learning_rate=2e-3,
    warm_up=0.2,
    scale=(0.7, 1.4),
    most_cells=12,
    dice_weight=1.0,
    quality="iou",
)


def read_recipe(name: str) -> TrainSettings:
    """`quick`, `paper` or a JSON file of `TrainSettings`. Raises `InputError` for anything else."""
    if name in ("quick", "paper"):
        return QUICK if name == "quick" else TrainSettings()
    try:
        return TrainSettings.model_validate_json(Path(name).read_text())
    except OSError:
        raise InputError(f"the recipe {name!r} isn't known; it is quick, paper or a JSON file") from None
    except ValueError as error:
        raise InputError(f"{name}: not a recipe ({' '.join(str(error).split()[:20])})") from None


def train(
    base: CellModel,
    images: Sequence[tuple[np.ndarray, Instances]],
    settings: TrainSettings | None = None,
    work: str | Path | None = None,
    report: Report = lambda step, steps, loss: None,
    workers: int = 1,
    validate: Callable[[PeftModel], float] | None = None,
    tensorboard: bool = False,
) -> PeftModel:
    """A LoRA adapter on `base`, trained on annotated images; returned in evaluation mode.

    Under `accelerate launch` the batch is shared out among the processes, the result is that of one.

    Args:
        base: the model; its qkv layers are split in place, its weights stay as they are.
        images: (image (H, W[, channels]), instances) pairs; overlaps are used as they are.
        settings: the recipe.
        work: folder for the log (`log.jsonl`) and `checkpoints`; nothing is written without it. Where it holds
            checkpoints of a run that was broken off, that run goes on from the last, to the same weights on a CPU.
        report: called after each optimizer step with the step, the number of steps and the loss; what it raises
            ends the run.
        workers: processes that prepare crops; 0 inside servers, whose threads a fork doesn't bear.
        validate: score of an adapter, higher is better; asked at each check if `settings.patience` is above 0. The
            best adapter is then returned. Needs `work`.
        tensorboard: write events for TensorBoard into `work` as well.

    Raises `InputError` for an image without cells and a batch that the processes can't share; `WorkStopped`, which
    leaves the checkpoints, where memory runs out or the loss isn't finite.
    """
    settings = settings or TrainSettings(tile=None)
    set_seed(settings.seed)
    adapted = add_adapter(base, settings.lora)
    if settings.lora.centre_head:
        base.config.centres_trained = True
    steps = settings.steps(len(images))
    crops = CropSettings(base.tile, base.mask_side, base.heat_side, settings.scale, most_cells=settings.most_cells)
    dataset = CellCrops(images, steps * settings.batch * settings.accumulation, crops, settings.seed)
    device = next(base.parameters()).device
    state = PartialState(cpu=device.type == "cpu")
    if settings.batch % state.num_processes:
        raise InputError(f"a batch of {settings.batch} can't be shared out among {state.num_processes} processes")
    if work is None or not settings.patience:
        validate = None
    if tensorboard:
        _prepare_tensorboard(work)
    arguments = _arguments(
        settings, steps, work, device, state.num_processes, workers, validate is not None, tensorboard
    )
    log = None if work is None else Path(work) / "log.jsonl"
    callbacks: list[TrainerCallback] = [Reporter(report, steps, log)]
    if validate is not None:
        callbacks.append(EarlyStoppingCallback(settings.patience))
    trainer = CellTrainer(
        partial(training_loss, settings=settings),
        settings.warm_up,
        validate,
        model=adapted,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=dataset if validate is not None else None,
        data_collator=trimmed_batch,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    last = None if work is None else last_checkpoint(work)
    try:
        trainer.train(resume_from_checkpoint=last)
    except FloatingPointError as error:
        raise WorkStopped(f"{error}; {_kept(work)}") from None
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise WorkStopped(
            f"memory ran out in training: lower the recipe's batch ({settings.batch}) and raise its accumulation "
            f"({settings.accumulation}) as much, or lower most_cells ({settings.most_cells}); {_kept(work)}"
        ) from None
    return adapted.eval()


def _arguments(
    settings: TrainSettings,
    steps: int,
    work: str | Path | None,
    device: torch.device,
    processes: int,
    workers: int,
    validated: bool,
    tensorboard: bool,
) -> TrainingArguments:
    """The recipe in the words of `Trainer`."""
    checked: dict[str, Any] = {"save_strategy": "no"}
    if work is not None:
        checked = {"save_strategy": "steps", "save_steps": settings.check_every}
    if validated:
        checked |= {
            "eval_strategy": "steps",
            "eval_steps": settings.check_every,
            "load_best_model_at_end": True,
            "metric_for_best_model": SCORE,
            "restore_callback_states_from_checkpoint": True,
        }
    return TrainingArguments(
        output_dir=str(Path(work or tempfile.gettempdir()) / CHECKPOINTS),  # is made, if only to stay empty
        max_steps=steps,
        per_device_train_batch_size=settings.batch // processes,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        bf16=has_fast_bfloat16(device) if settings.precision == "auto" else settings.precision == "bf16",
        use_cpu=device.type == "cpu",
        dataloader_num_workers=workers,
        dataloader_pin_memory=device.type != "cpu",
        remove_unused_columns=False,
        label_names=["masks"],
        max_grad_norm=1.0,
        logging_steps=1,
        save_total_limit=2,
        ddp_find_unused_parameters=False,
        report_to=["tensorboard"] if tensorboard else [],
        disable_tqdm=True,
        seed=settings.seed,
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


def trimmed_batch(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of `CellCrops` items without the points that are padding in each of them: nobody need decode those."""
    most = max(int((item["kind"] != PADDING).sum()) for item in items)
    per_point = ("points", "kind", "masks")
    return {
        name: torch.stack([item[name][:most] if name in per_point else item[name] for item in items])
        for name in items[0]
    }


def save_adapter(
    adapted: PeftModel,
    folder: str | Path,
    base_name: str,
    settings: TrainSettings,
    scores: dict[str, Any] | None = None,
) -> None:
    """The adapter as `peft` saves it, with `training.json`, `scores.json` (see `adapter_card`) and a card beside it."""
    folder = Path(folder)
    adapted.peft_config["default"].base_model_name_or_path = base_name  # not a path of this machine
    adapted.save_pretrained(str(folder), save_embedding_layers=False)  # SAM has none; "auto" would ask the Hub
    (folder / "adapter_model.safetensors").chmod(0o644)  # as its neighbours; safetensors leaves it to the owner alone
    (folder / "training.json").write_text(settings.model_dump_json(indent=2))
    if scores is not None:
        (folder / SCORES_FILE).write_text(json.dumps(scores, indent=2))
    (folder / "README.md").write_text(adapter_card(base_name, settings, scores), encoding="utf-8")


def training_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor], settings: TrainSettings) -> Tensor:
    """CellSeg1's loss: cross-entropy of the masks of cell points, squared error of the IoU head on all points.

    Beside it, where their weights are above zero: soft Dice of the masks and the heat map of cores. Each term is
    averaged within a crop and then over the crops of the batch, so that a batch split among processes or
    accumulated in parts gives the same gradient as a whole one.
    """
    cell = batch["kind"] == CELL
    asked = batch["kind"] != PADDING
    found, quality = outputs["logits"].float(), outputs["quality"].float()
    wanted = batch["masks"][cell]
    goal = cell.float()
    if settings.quality == "iou":
        goal = torch.zeros_like(quality).masked_scatter(cell, losses.mask_iou(found, wanted))
    loss = _mean_of_crops((quality - goal) ** 2, asked)
    if len(wanted):
        each = F.binary_cross_entropy_with_logits(found, wanted, reduction="none").mean((1, 2))
        if settings.dice_weight:
            each = each + settings.dice_weight * losses.dice_loss(found, wanted)
        loss = loss + _mean_of_crops(torch.zeros_like(quality).masked_scatter(cell, each), cell)
    else:
        loss = loss + 0 * found.sum()
    if settings.heat_weight and settings.lora.centre_head:
        heats = zip(outputs["heat"].split(1), batch["heat"].split(1), strict=True)
        loss = loss + settings.heat_weight * torch.stack([losses.heat_loss(h, w) for h, w in heats]).mean()
    return loss


def _mean_of_crops(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the counted values (B, P) within each crop, then over the crops."""
    return ((values * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()
