"""Training YOLO11-seg by the package's trainer: images and outlines as it reads them, none of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import WorkStopped
from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.outside.wrapped import replaced
from glioma_hf.progress import Progress

PERCENTILES = (0.1, 99.9)  # of an image's grey values, which become 0 and 255


def eight_bit(grey: np.ndarray) -> np.ndarray:
    """Grey values between an image's percentiles: uint8 (H, W)."""
    low, high = np.percentile(grey, PERCENTILES)
    return (((grey - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255).round().astype(np.uint8)


def trained_weights(net: Any, name: str, recipe: Any, run: Run, work: Path) -> dict[str, Any]:
    """The running mean of the weights, at the end. No checkpoint is written or read, since those are pickles."""
    import torch
    from ultralytics.engine import trainer as engine
    from ultralytics.models.yolo.segment import SegmentationTrainer

    class Trainer(SegmentationTrainer):
        def save_model(self) -> bool:
            return False

        def validate(self) -> tuple[dict[str, float], float]:
            return {}, 0.0

        def final_eval(self) -> None:
            return None

    gpu = torch.cuda.is_available()
    overrides = {
        "model": f"{name}.yaml",
        "data": str(work / "data.yaml"),
        "project": str(work),
        "name": "run",
        "epochs": recipe.epochs,
        "patience": recipe.epochs,
        "imgsz": recipe.size,
        "batch": recipe.batch,
        "nbs": recipe.nominal_batch,
        "optimizer": recipe.optimizer,
        "lr0": recipe.learning_rate,
        "warmup_epochs": recipe.warmup_epochs,
        "overlap_mask": recipe.overlap_mask,
        "mosaic": recipe.mosaic,
        "close_mosaic": recipe.close_mosaic,
        "flipud": recipe.flipud,
        "seed": recipe.seed,
        "device": "0" if gpu else "cpu",
        "amp": "bf16" if gpu else False,  # "True" would first fetch another network to try it on
        "workers": run.workers,
        "plots": False,
        "save": False,
        "val": False,
        "verbose": False,
    }
    done = 0

    def heard(trainer: Any) -> None:
        nonlocal done
        done += 1
        total = trainer.epochs * len(trainer.train_loader)
        run.on_progress(Progress(done=done, total=total, loss=float(trainer.loss.detach()) / trainer.batch_size))

    with replaced(engine.callbacks, "add_integration_callbacks", lambda instance: None):  # they tell of the run online
        trainer = Trainer(overrides=overrides)
        trainer.add_callback("on_train_batch_end", heard)
        trainer.model = net
        try:
            trainer.train()
        except RuntimeError as error:
            if "NaN" in str(error):
                raise WorkStopped("the loss isn't finite; lower the recipe's learning rate") from None
            raise
    return {
        key: value.float().cpu() if value.is_floating_point() else value.cpu()
        for key, value in trainer.ema.ema.state_dict().items()
    }


def write_data_set(images: Sequence[LabelledPixels], categories: Sequence[int], work: Path) -> None:
    """A data set as the package reads it: images, and a text file of outlines in shares of the sides for each."""
    for name in ("images", "labels"):
        (work / name).mkdir()
    for number, (image, cells) in enumerate(images):
        view = np.asarray(image, np.float32)
        pixels = eight_bit(view[..., :3].mean(2) if view.ndim == 3 else view)
        Image.fromarray(pixels).convert("RGB").save(work / "images" / f"{number:05d}.png")
        lines = []
        for category, crowd, polygons in zip(cells.categories, cells.crowd, cells.to_polygons(), strict=True):
            if polygons and not crowd:
                outline = np.array(max(polygons, key=len)).reshape(-1, 2) / pixels.shape[::-1]  # of its largest part
                lines.append(
                    " ".join([str(categories.index(category)), *(f"{value:.6f}" for value in outline.ravel())])
                )
        (work / "labels" / f"{number:05d}.txt").write_text("\n".join(lines))
    names = dict(enumerate(CATEGORIES[category] for category in categories))
    text = {"path": str(work), "train": "images", "val": "images", "names": names}
    (work / "data.yaml").write_text(yaml.safe_dump(text))
