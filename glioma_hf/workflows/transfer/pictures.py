"""A study's pictures: validation loss by epoch, as the paper's Figure 4, and predictions, as its Figure 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from glioma_hf.benchmark.study_results import RepeatResult
from glioma_hf.data.images import to_uint8
from glioma_hf.data.splits import LabelledImage
from glioma_hf.metrics.foreground import foreground
from glioma_hf.palette import RED, SKY_BLUE
from glioma_hf.plots import drawing
from glioma_hf.workflows.transfer.pieces import PANELS, picture_file

CURVES = "curves.png"
WIDTH = 640  # pixels of a panel, at most
SHADE = 0.45  # of a prediction's colour over the image
REFERENCE, PREDICTION = SKY_BLUE, RED


@dataclass(frozen=True)
class Panel:
    """A picture of the page: what one row predicted for an image, its first pair of resolutions."""

    image: str
    variant: str
    file: str


def draw_curves(path: Path, results: Mapping[str, Sequence[RepeatResult]]) -> bool:
    """The mean validation loss of each row by epoch, over the repeats that came so far; whether there is any."""
    lines = {name: mean_curve(each) for name, each in results.items()}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return False
    with drawing(path, None, (8, 4.5)) as axes:
        for name, line in lines.items():
            axes.plot(*zip(*line, strict=True), marker=".", label=name)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation loss, mean over repeats")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    return True


def mean_curve(results: Sequence[RepeatResult]) -> list[tuple[float, float]]:
    """(epoch, mean over the repeats that looked at it)."""
    looks: dict[float, list[float]] = {}
    for each in results:
        for epoch, loss in each.curve:
            looks.setdefault(epoch, []).append(loss)
    return [(epoch, float(np.mean(losses))) for epoch, losses in sorted(looks.items())]


def draw_panels(out: Path, images: Sequence[LabelledImage], keys: Mapping[str, str]) -> list[list[Panel]]:
    """A picture for each image and row; rows whose prediction isn't there are left out.

    Args:
        images: the first test images of the first repeat.
        keys: of the first repeat of each row, by the row's name.
    """
    drawn = []
    for place, item in enumerate(images):
        reference, panels = foreground(item.instances), []
        for name, key in keys.items():
            source = picture_file(out, key, place)
            if source.is_file():
                mask = np.asarray(Image.open(source)) > 0
                target = source.with_suffix(".jpg")
                panel(to_uint8(item.pixels), reference, mask).save(target, quality=88)
                panels.append(Panel(item.name, name, f"{PANELS}/{target.name}"))
        if panels:
            drawn.append(panels)
    return drawn


def panel(image: np.ndarray, reference: np.ndarray, prediction: np.ndarray) -> Image.Image:
    """An image (H, W) or (H, W, 3), uint8, its prediction shaded and the edge of its reference drawn."""
    picture = (np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image).astype(np.float32)
    picture[prediction] = (1 - SHADE) * picture[prediction] + SHADE * np.array(PREDICTION, np.float32)
    edge = max(1, round(max(reference.shape) / WIDTH))
    outline = reference & ~ndimage.binary_erosion(reference, iterations=edge)
    picture[outline] = REFERENCE
    drawn = Image.fromarray(picture.round().astype(np.uint8))
    drawn.thumbnail((WIDTH, WIDTH))
    return drawn
