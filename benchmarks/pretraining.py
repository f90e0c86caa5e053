"""Which of the start values, losses and stages of pretraining matter: short runs, each without one of them.

    python benchmarks/pretraining.py --work WORK [--steps 300] [--only NAME ...]

Every run trains the same small sibling of the embedded model (half as wide and deep, tiles of 128 pixels, so that a
run takes minutes) from scratch on the same generated tiles in the same order; then masks are asked for in the cells
of held-out generated tiles. Runs that are done already (a JSON file in WORK) are not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader

from glioma_hf.models.sam import losses, pretrain
from glioma_hf.models.sam.preprocess import to_pixels
from glioma_hf.models.sam.pretrain_tiles import SceneTiles, draw_scenes
from glioma_hf.models.sam.sam import CellSam, new_model, small_config

HELD_OUT = 128  # tiles
TILE, BATCH, POINTS = 128, 8, 8


def cross_attentions(model: CellSam) -> list[nn.Module]:
    """The attentions between tokens and image."""
    transformer = model.mask_decoder.transformer
    found = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        found += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    return found


def untied(model: CellSam) -> None:
    """Queries and keys of the cross-attentions begin apart."""
    for attention in cross_attentions(model):
        nn.init.xavier_uniform_(attention.k_proj.weight)


def small_weights(model: CellSam) -> None:
    """The decoder begins with the library's small weights (tied all the same)."""
    for module in model.mask_decoder.modules():
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
    for attention in cross_attentions(model):
        attention.k_proj.weight.data.copy_(attention.q_proj.weight.data)


def wide_fourier(model: CellSam) -> None:
    """The positions' Fourier matrix has the library's spread, half the width."""
    factor = model.config.vision_config.output_channels / 2
    for matrix in (model.shared_image_embedding, model.prompt_encoder.shared_embedding):
        matrix.positional_embedding.data.normal_(0, 1.0, generator=torch.Generator().manual_seed(0)).mul_(factor)


def tiny_encoder(model: CellSam) -> None:
    """The image encoder begins with the library's weights of spread 1e-10."""
    for module in model.vision_encoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=1e-10)


def even_weight(target: torch.Tensor, margin: int) -> torch.Tensor:
    """Every pixel of the tile counts alike in the masks' pixel loss."""
    return torch.ones_like(target)


Change = Callable[[CellSam], None]
START: dict[str, Change] = {
    "cross-attention not tied": untied,
    "small decoder weights": small_weights,
    "wide Fourier matrix": wide_fourier,
    "encoder of spread 1e-10": tiny_encoder,
}
NAMES = ["all as it is", *START, "no dense targets", "pixel loss over the whole tile", "encoder first, then both"]


def run(name: str, steps: int, scenes: Path, others: Path) -> dict[str, float]:
    """Train one variant and ask it for masks."""
    torch.manual_seed(0)
    config = pretrain.PretrainConfig(steps=steps, batch=BATCH, points=POINTS)
    model = new_model(small_config(TILE, hidden=96, layers=4, heads=3, channels=64), 0)
    if name in START:
        START[name](model)
    if name == "no dense targets":
        config.dense_weight = 0.0
    weight = even_weight if "whole tile" in name else losses.window_weight
    learner = pretrain.Learner(model, config)
    optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps, pct_start=0.1)
    loader = DataLoader(SceneTiles(scenes, TILE, POINTS, 0, 0, steps * BATCH), BATCH)
    started = time.perf_counter()
    with mock.patch.object(losses, "window_weight", weight):
        for step, batch in enumerate(loader):
            with torch.autocast("cpu", torch.bfloat16):
                loss, _ = learner(batch)
                if "encoder first" in name and step < steps // 2:
                    embedding = model.encode(to_pixels(batch["tile"]))
                    dense = learner._dense_loss(learner.dense(embedding).float(), batch["dense"])
                    loss = dense + config.heat_weight * losses.heat_loss(model.centre_head(embedding), batch["heat"])
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if math.isnan(float(loss.detach())):
                break
    return {**held_out(learner.eval(), others), "steps": steps, "seconds": round(time.perf_counter() - started)}


@torch.no_grad()
def held_out(learner: pretrain.Learner, scenes: Path) -> dict[str, float]:
    """Mean IoU of masks and the other parts of the loss on tiles of scenes that weren't trained on."""
    sums: dict[str, float] = {}
    for batch in DataLoader(SceneTiles(scenes, TILE, POINTS, 99, 0, HELD_OUT), BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            _, parts = learner(batch)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value) * BATCH / HELD_OUT
    return {name: round(value, 4) for name, value in sums.items()}


def main() -> None:
    """Run what isn't there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=NAMES, choices=NAMES)
    given = parser.parse_args()
    scenes = draw_scenes(given.work / "scenes", 400, 7)
    others = draw_scenes(given.work / "scenes", 40, 8)
    rows = {}
    for name in given.only:
        kept = given.work / f"{name.replace(' ', '_').replace(',', '')}.json"
        if not kept.exists():
            kept.write_text(json.dumps(run(name, given.steps, scenes, others)))
        rows[name] = json.loads(kept.read_text())
        print(
            f"| {name} | {rows[name]['iou']:.3f} | {rows[name]['heat']:.3f} | {rows[name]['score']:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
