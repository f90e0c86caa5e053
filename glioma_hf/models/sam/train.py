"""LoRA fine-tuning of SAM on a few annotated images, CellSeg1's recipe, by transformers' `Trainer`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from glioma_hf.instances import Instances
from glioma_hf.models.sam import losses
from glioma_hf.models.sam.crops import CELL, PADDING, CellCrops, CropSettings
from glioma_hf.models.sam.generate import has_fast_bfloat16
from glioma_hf.models.sam.lora import LoraSettings, add_adapter
from glioma_hf.models.sam.network import CellSam

# In place of the template that `peft` leaves to be filled in.
CARD = """---
library_name: peft
tags:
- lora
- image-segmentation
- cell-segmentation
---

# LoRA adapter of SAM for overlapping cells

Base model: {base}. LoRA of rank {rank} on the queries and values of the image encoder and the mask decoder, and a head
that finds cell centres, trained with `glioma_hf` on few annotated images. `training.json` holds the recipe,
`generation.json` the thresholds chosen on validation images.

```python
from glioma_hf.benchmark.jobs import open_segmenter

segmenter = open_segmenter("{base}", "THIS_FOLDER")
```
"""

Report = Callable[[int, int, float], None]  # step, steps, loss


class TrainSettings(BaseModel):
    """Every number of the recipe; the defaults are the paper's (CellSeg1), the heat map's weight is ours."""

    model_config = ConfigDict(extra="forbid")

    lora: LoraSettings = LoraSettings()
    epochs: int = Field(300, ge=1)
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
    seed: int = 0

    def steps(self, images: int) -> int:
        """Optimizer steps of a run on so many images."""
        return max(1, math.ceil(self.epochs * self.tiles_per_image * images / (self.batch * self.accumulation)))


# For the small embedded model on a CPU: minutes instead of hours. Set by judgement, not yet tuned on any data.
QUICK = TrainSettings(
    epochs=40,
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


def train(
    base: CellSam,
    images: Sequence[tuple[np.ndarray, Instances]],
    settings: TrainSettings | None = None,
    work: str | Path | None = None,
    report: Report = lambda step, steps, loss: None,
    workers: int = 1,
) -> PeftModel:
    """A LoRA adapter on `base`, trained on annotated images; returned in evaluation mode.

    Args:
        base: the model; its qkv layers are split in place, its weights stay as they are.
        images: (image (H, W[, channels]), instances) pairs; overlaps are used as they are.
        settings: the recipe.
        work: folder for the log (`log.jsonl`); nothing is written without it.
        report: called after each optimizer step with the step, the number of steps and the loss; what it raises
            ends the run.
        workers: processes that prepare crops; 0 inside servers, whose threads a fork doesn't bear.

    Raises `InputError` for an image without cells, FloatingPointError where the loss isn't finite.
    """
    settings = settings or TrainSettings()
    set_seed(settings.seed)
    adapted = add_adapter(base, settings.lora)
    if settings.lora.centre_head:
        base.config.centres_trained = True
    steps = settings.steps(len(images))
    crops = CropSettings(tile=base.tile, scale=settings.scale, most_cells=settings.most_cells)
    dataset = CellCrops(images, steps * settings.batch * settings.accumulation, crops, settings.seed)
    device = next(base.parameters()).device
    arguments = TrainingArguments(
        output_dir=str(work or "unused"),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        bf16=has_fast_bfloat16(device),
        use_cpu=device.type == "cpu",
        dataloader_num_workers=workers,
        dataloader_pin_memory=device.type != "cpu",
        remove_unused_columns=False,
        label_names=["masks"],
        max_grad_norm=1.0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=settings.seed,
        log_level="error",
    )
    log = None if work is None else Path(work) / "log.jsonl"
    trainer = _CellTrainer(
        settings, model=adapted, args=arguments, train_dataset=dataset, callbacks=[_Reporter(report, steps, log)]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return adapted.eval()


def save_adapter(adapted: PeftModel, folder: str | Path, base_name: str, settings: TrainSettings) -> None:
    """The adapter as `peft` saves it, with the recipe beside it in `training.json`."""
    folder = Path(folder)
    adapted.peft_config["default"].base_model_name_or_path = base_name  # not a path of this machine
    adapted.save_pretrained(str(folder), save_embedding_layers=False)  # SAM has none; "auto" would ask the Hub
    (folder / "training.json").write_text(settings.model_dump_json(indent=2))
    (folder / "README.md").write_text(CARD.format(base=base_name, rank=settings.lora.rank))


def training_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor], settings: TrainSettings) -> Tensor:
    """CellSeg1's loss: cross-entropy of the masks of cell points, squared error of the IoU head on all points.

    Beside it, where their weights are above zero: soft Dice of the masks and the heat map of cores.
    """
    cell = batch["kind"] == CELL
    asked = batch["kind"] != PADDING
    found, quality = outputs["logits"].float(), outputs["quality"].float()
    wanted = batch["masks"][cell]
    goal = cell.float()
    if settings.quality == "iou":
        goal = torch.zeros_like(quality).masked_scatter(cell, losses.mask_iou(found, wanted))
    loss = F.mse_loss(quality[asked], goal[asked])
    if len(wanted):
        loss = loss + F.binary_cross_entropy_with_logits(found, wanted)
        if settings.dice_weight:
            loss = loss + settings.dice_weight * losses.dice_loss(found, wanted).mean()
    else:
        loss = loss + 0 * found.sum()
    if settings.heat_weight and settings.lora.centre_head:
        loss = loss + settings.heat_weight * losses.heat_loss(outputs["heat"], batch["heat"])
    return loss


class _CellTrainer(Trainer):
    def __init__(self, settings: TrainSettings, **kwargs: Any):
        super().__init__(**kwargs)
        self.settings = settings

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(tiles=inputs["tiles"], points=inputs["points"], drawn=inputs["kind"] == CELL)
        loss = training_loss(outputs, inputs, self.settings)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss isn't finite at step {self.state.global_step}; lower the learning rate")
        return (loss, outputs) if return_outputs else loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        total = num_training_steps + 1
        self.lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer or self.optimizer,
            self.settings.learning_rate,
            total_steps=total,
            pct_start=min(1.0, max(self.settings.warm_up, 2 / total)),  # a warm-up of no step divides by zero
            cycle_momentum=False,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler


class _Reporter(TrainerCallback):
    def __init__(self, report: Report, steps: int, log: Path | None):
        self.report, self.steps, self.log = report, steps, log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        self.report(state.global_step, self.steps, float(logs["loss"]))
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
