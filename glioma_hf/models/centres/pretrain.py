"""The weights that come with the package, each by one command, which goes on where it was broken off.

    python -m glioma_hf.models.centres.pretrain general --a549 cytounet/examples/original_data/a549 --out runs/general
    python -m glioma_hf.models.centres.pretrain glioblastoma --data t98g --base runs/general/model --out runs/glio

`general` sees synthetic scenes with cells laid over one another; then, at lower rates, half of its crops are of real
phase contrast: 30 images of A549 cells of cytounet (github.com/Nelson-Gon/cytounet, MIT licence, Copyright (c) 2021
Nelson Gonzabato), whose cells are those that DeepSea finds there. `glioblastoma` is that, trained on the training
images of one data set. `OUT/model` is what the package carries: a saved model with weights in half precision, or an
adapter of the base where the recipe asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from glioma_hf.data.images import SUFFIXES, read_image
from glioma_hf.data.splits import LabelledImage, has_split, load_images
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.centres.family import FAMILY, IMAGENET
from glioma_hf.models.centres.segment import CentreSegmenter
from glioma_hf.models.saved import ModelFolder, TrainingScores
from glioma_hf.models.vision.network_files import save_tensors
from glioma_hf.models.vision.phase_cells import deepsea
from glioma_hf.models.vision.preprocess import grey_of, shrunk
from glioma_hf.progress import Progress, to_lines
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

# Wider than what `data synthesize` draws by default: a base model should have seen more than it will meet.
SCENES = SceneConfig(
    width=448,
    height=448,
    scale=(0.9, 2.2),
    cells_per_megapixel=(30, 190),
    halo=(1.8, 9.0),
    noise=(0.5, 5.0),
    debris_per_megapixel=(20, 160),
)
HELD_OUT = 8  # scenes on which thresholds are chosen
SETTLED = "settled"  # the recipe of the second part
A549_SHRINK = 3  # by which A549 cells are brought to the size of others
A549_STAMPED = 0.08  # of the height, at the lower edge, where the time is burnt in
A549_CROWDED = 0.25  # share of foreground from which DeepSea doesn't tell A549 cells apart: such images are left out
A549_HELD_OUT = 4  # of the others

app = typer.Typer(add_completion=False)
Out = Annotated[Path, typer.Option(help="Folder for checkpoints, the log and the model.")]


@app.command()
def general(
    out: Out,
    scenes: Annotated[int, typer.Option(min=HELD_OUT + 1, help="Synthetic scenes.")] = 300,
    a549: Annotated[Path | None, typer.Option(help="Folder with cytounet's images of A549 cells.")] = None,
    base: str = IMAGENET,
    recipe: Annotated[str, typer.Option(help="A recipe's name or JSON file.")] = "general",
    settled: Annotated[str, typer.Option(help="The same for the second part.")] = SETTLED,
) -> None:
    """Train a model for cells in general."""
    drawn = [generate_scene((77, number), SCENES) for number in range(scenes)]
    pairs: list[LabelledPixels] = [(scene.image, scene.instances()) for scene in drawn if len(scene.instances())]
    learned, held_out = pairs[:-HELD_OUT], pairs[-HELD_OUT:]
    names = [f"{len(learned)} synthetic scenes"]
    if a549 is None:
        make(out, base, learned, held_out, FAMILY.read_recipe(recipe), names)
        return
    real = a549_cells(a549)  # before any training: its errors come first
    make(out / "scenes", base, learned, held_out, FAMILY.read_recipe(recipe), names)
    taught, kept = real[:-A549_HELD_OUT], real[-A549_HELD_OUT:]
    learned += taught * max(1, len(learned) // max(1, len(taught)))
    names.append(f"{len(taught)} images of A549 cells of cytounet, with labels of DeepSea's")
    make(out, str(out / "scenes" / "model"), learned, [*held_out, *kept], FAMILY.read_recipe(settled), names, base)


def a549_cells(folder: Path) -> list[LabelledPixels]:
    """cytounet's images of A549 cells, three times smaller and without the burnt-in time, with DeepSea's cells.

    Raises `InputError` for a folder without images and where DeepSea's package isn't installed.
    """
    files = sorted(p for p in folder.glob("*/images/*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no images lie in folders of that name there; give cytounet's a549")
    segmenter, pairs = deepsea(), []
    for file in files:
        grey = grey_of(read_image(file))
        height, width = (side // A549_SHRINK * A549_SHRINK for side in grey.shape)
        small = shrunk(grey[:height, :width], A549_SHRINK)
        small = small[: round(len(small) * (1 - A549_STAMPED))].round().astype(np.uint8)
        cells = segmenter.segment(small)
        if len(cells) and (cells.to_label_map() > 0).mean() <= A549_CROWDED:
            pairs.append((small, Instances.from_rles(cells.rles, cells.size)))
    return pairs


@app.command()
def glioblastoma(
    out: Out,
    data: Annotated[Path, typer.Option(help="A prepared data set, such as T98G.")],
    base: Annotated[str, typer.Option(help="What `general` made.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name or JSON file.")] = "full",
) -> None:
    """Go on from a model for cells in general, on the training images of a data set."""
    learned, held_out = _images(data)
    make(out, base, learned, held_out, FAMILY.read_recipe(recipe), [f"{len(learned)} images of {data.name}"])


def make(
    out: Path,
    base: str,
    learned: Sequence[LabelledPixels],
    held_out: Sequence[LabelledPixels],
    recipe: Any,
    names: list[str],
    called: str | None = None,
) -> float:
    """Train, choose thresholds on images that were held out, and save into `out / "model"`; returns the AP there.

    Args:
        names: what the model's scores say that it was trained on.
        called: the base that the model's card names; `base` itself if left out.
    """
    tell = to_lines(typer.echo, every=20)
    segmenter = FAMILY.train(base, learned, recipe, Run(out, tell, workers=1))
    tell(Progress("choosing thresholds"))
    segmenter, ap = FAMILY.tune(segmenter, held_out, tell)
    scores = TrainingScores(
        data="; ".join(names), training_images=names, validation_images=["held out"] * len(held_out), validation_ap50=ap
    )
    ModelFolder(out / "model").write(FAMILY, segmenter, called or base, recipe, scores)
    assert isinstance(segmenter, CentreSegmenter)
    if segmenter.adapted is None:
        save_tensors(halves(segmenter), out / "model")
    typer.echo(f"{out / 'model'}: AP50 {ap:.3f} on {len(held_out)} images that were held out")
    return ap


def halves(segmenter: CentreSegmenter) -> dict[str, torch.Tensor]:
    """The weights of a network, matrices and kernels in half precision: half as large, and the masks stay as they are.

    What batch norms multiply by and add stays as it is: it is little, and statistics may be too large for halves.
    """
    return {name: value.half() if value.ndim > 1 else value for name, value in segmenter.network.state_dict().items()}


def _images(folder: Path) -> tuple[list[LabelledPixels], list[LabelledPixels]]:
    """Training and validation images of a prepared data set."""

    def pairs(images: Sequence[LabelledImage]) -> list[LabelledPixels]:
        return [(item.pixels, item.instances) for item in images if len(item.instances)]

    validation = load_images(folder, "validation") if has_split(folder, "validation") else []
    return pairs(load_images(folder, "train")), pairs(validation)


if __name__ == "__main__":
    app()
