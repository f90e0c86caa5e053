"""Pretraining of the embedded model from scratch, on synthetic images alone.

    python -m glioma_hf.models.sam.pretrain --out runs/base --steps 8000

The encoder learns dense targets (foreground, edges, offsets to the core) while the decoder learns
masks from points; heads for the dense targets are thrown away afterwards. A run that was broken off
goes on from its last checkpoint when started again with the same folder.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate import Accelerator
from accelerate.utils import set_seed
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from glioma_hf.models.sam import losses
from glioma_hf.models.sam.preprocess import to_pixels
from glioma_hf.models.sam.pretrain_tiles import SceneTiles, draw_scenes
from glioma_hf.models.sam.sam import CellSam, freeze_positions, new_model, small_config


class PretrainConfig(BaseModel):
    """All numbers of the pretraining run."""

    model_config = ConfigDict(extra="forbid")

    steps: int = 8000
    batch: int = 8
    points: int = 12
    scenes: int = 2000
    learning_rate: float = 1.5e-3
    warmup_ratio: float = 0.05
    weight_decay: float = 0.05
    dense_weight: float = 1.0
    heat_weight: float = 0.5
    seed: int = 0
    check_every: int = 250


class DenseHead(nn.Sequential):
    """Foreground, edge and offset logits at twice the embedding's resolution; pretraining only."""

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels // 2, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(channels // 2, 4, 1),
        )


class Learner(nn.Module):
    """The model with its pretraining heads: a batch of `SceneTiles` in, the loss and its parts out."""

    def __init__(self, model: CellSam, config: PretrainConfig):
        super().__init__()
        self.model, self.config = model, config
        self.dense = DenseHead(model.config.vision_config.output_channels)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The summed loss with gradient, and its parts by name without."""
        embedding = self.model.encode(to_pixels(batch["tile"]))
        heat = losses.heat_loss(self.model.centre_head(embedding), batch["heat"])
        dense = self._dense_loss(self.dense(embedding).float(), batch["dense"])
        tokens, features, quality = self.model.attend(embedding, batch["points"])
        positive, quality = batch["positive"], quality.float()
        logits = self.model.upscale(tokens[positive], features[positive]).float()  # background has no mask to draw
        masks = batch["masks"][positive]
        iou = losses.mask_iou(logits, masks)
        weight = losses.window_weight(masks, 12)
        pixels = F.binary_cross_entropy_with_logits(logits, masks, weight, reduction="none")
        pixel = (pixels.sum((1, 2)) / weight.sum((1, 2))).mean() * 2
        dice = losses.dice_loss(logits, masks).mean()
        goal = torch.zeros_like(quality).masked_scatter(positive, iou)
        score = F.mse_loss(quality, goal)
        parts = {"pixel": pixel, "dice": dice, "score": score, "heat": heat, "dense": dense}
        total = pixel + dice + score + self.config.heat_weight * heat + self.config.dense_weight * dense
        return total, {**{k: v.detach() for k, v in parts.items()}, "iou": iou.mean()}

    @staticmethod
    def _dense_loss(logits: Tensor, target: Tensor) -> Tensor:
        inside = target[:, :1]
        binary = F.binary_cross_entropy_with_logits(logits[:, :2], target[:, :2])
        offset = (F.smooth_l1_loss(logits[:, 2:], target[:, 2:], reduction="none") * inside).sum()
        return binary + offset / inside.sum().clamp(min=1)


def pretrain(out: Path, config: PretrainConfig, model: CellSam | None = None, cache: Path | None = None) -> CellSam:
    """Train, checkpointing into `out`; the model is saved there as `model/`. Returns it in evaluation mode."""
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision="bf16")
    set_seed(config.seed)
    learner = Learner(model or new_model(small_config(), config.seed), config)
    tile = learner.model.tile
    scenes = draw_scenes(cache or out / "scenes", config.scenes, config.seed)
    decayed = [p for p in learner.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in learner.parameters() if p.requires_grad and p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        config.learning_rate,
        config.steps,
        pct_start=config.warmup_ratio,
        div_factor=20,
        cycle_momentum=False,
    )
    learner, optimizer, schedule = accelerator.prepare(learner, optimizer, schedule)
    done = 0
    state = out / "state"
    if (state / "step.json").exists():
        accelerator.load_state(str(state))
        done = json.loads((state / "step.json").read_text())["step"]
    tiles = SceneTiles(
        scenes, tile, config.points, config.seed, start=done * config.batch, length=(config.steps - done) * config.batch
    )
    loader = accelerator.prepare(
        DataLoader(tiles, config.batch, num_workers=1, prefetch_factor=6, persistent_workers=False)
    )
    started = time.perf_counter()
    sums: dict[str, float] = {}
    with (out / "log.jsonl").open("a") as log:
        for step, batch in enumerate(loader, start=done + 1):
            loss, parts = learner(batch)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss isn't finite at step {step}; the last checkpoint is in {state}")
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            if step % 50 == 0:
                row = {k: round(v / 50, 4) for k, v in sums.items()}
                row |= {"step": step, "seconds": round(time.perf_counter() - started, 1)}
                log.write(json.dumps(row) + "\n")
                log.flush()
                accelerator.print(row)
                sums = {}
            if step % config.check_every == 0 or step == config.steps:
                accelerator.save_state(str(state))
                (state / "step.json").write_text(json.dumps({"step": step}))
                accelerator.unwrap_model(learner).model.save_pretrained(out / "model")
    trained = accelerator.unwrap_model(learner).model.eval()
    trained.config.centres_trained = True
    trained.save_pretrained(out / "model")
    return trained


def export(model: CellSam, folder: Path) -> None:
    """The model as the package carries it: half precision, safetensors, and marked as having learned centres."""
    model.config.centres_trained = True
    model.half().save_pretrained(folder)


def main(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, the log and the model.")],
    steps: int = PretrainConfig.model_fields["steps"].default,
    batch: int = PretrainConfig.model_fields["batch"].default,
    scenes: int = PretrainConfig.model_fields["scenes"].default,
    seed: int = 0,
    learning_rate: float = PretrainConfig.model_fields["learning_rate"].default,
    start: Annotated[
        Path | None, typer.Option(help="Folder of a model to go on from, instead of start values.")
    ] = None,
) -> None:
    """Pretrain the embedded model on synthetic images; `OUT/weights` then is what the package carries."""
    model = None if start is None else CellSam.from_pretrained(start, dtype=torch.float32)
    if model is not None:
        freeze_positions(model)
    config = PretrainConfig(steps=steps, batch=batch, scenes=scenes, seed=seed, learning_rate=learning_rate)
    trained = pretrain(out, config, model)
    export(trained, out / "weights")


if __name__ == "__main__":
    typer.run(main)
