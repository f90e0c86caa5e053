"""The weights that come with the package, each by one command, which goes on where it was broken off.

    python -m glioma_hf.models.centres.pretrain general --out runs/general
    python -m glioma_hf.models.centres.pretrain glioblastoma --data t98g --base runs/general/model --out runs/glio

`general` sees synthetic scenes, cells laid over one another, and the training images of prepared data sets where any
are given; `glioblastoma` is that, trained on the training images of one data set. `OUT/model` is what the package
carries: a saved model with weights in half precision, or an adapter of the base where the recipe asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file

from glioma_hf.data.splits import LabelledImage, has_split, load_images
from glioma_hf.models.base import LabelledPixels, Run
from glioma_hf.models.centres.family import FAMILY, IMAGENET
from glioma_hf.models.centres.segment import CentreSegmenter
from glioma_hf.models.saved import ModelFolder, TrainingScores
from glioma_hf.models.vision.network_files import WEIGHTS
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
HELD_OUT = 8  # scenes on which thresholds are chosen where no data set has validation images

app = typer.Typer(add_completion=False)
Out = Annotated[Path, typer.Option(help="Folder for checkpoints, the log and the model.")]


@app.command()
def general(
    out: Out,
    scenes: Annotated[int, typer.Option(min=HELD_OUT + 1, help="Synthetic scenes.")] = 300,
    data: Annotated[list[Path] | None, typer.Option(help="A prepared data set to learn from too; repeatable.")] = None,
    base: str = IMAGENET,
    recipe: Annotated[str, typer.Option(help="A recipe's name or JSON file.")] = "general",
) -> None:
    """Train a model for cells in general."""
    drawn = [generate_scene((77, number), SCENES) for number in range(scenes)]
    pairs: list[LabelledPixels] = [(scene.image, scene.instances()) for scene in drawn if len(scene.instances())]
    learned, held_out = pairs[:-HELD_OUT], pairs[-HELD_OUT:]
    names = [f"{len(learned)} synthetic scenes"]
    for folder in data or ():
        images, validation = _images(folder)
        learned += images
        names += [f"{len(images)} images of {folder.name}"]
        held_out = [*held_out, *validation]
    make(out, base, learned, held_out, FAMILY.read_recipe(recipe), names)


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
) -> float:
    """Train, choose thresholds on images that were held out, and save into `out / "model"`; returns the AP there.

    Args:
        names: what the model's scores say that it was trained on.
    """
    tell = to_lines(typer.echo, every=20)
    segmenter = FAMILY.train(base, learned, recipe, Run(out, tell, workers=1))
    tell(Progress("choosing thresholds"))
    segmenter, ap = FAMILY.tune(segmenter, held_out, tell)
    scores = TrainingScores(
        data="; ".join(names), training_images=names, validation_images=["held out"] * len(held_out), validation_ap50=ap
    )
    ModelFolder(out / "model").write(FAMILY, segmenter, base, recipe, scores)
    assert isinstance(segmenter, CentreSegmenter)
    if segmenter.adapted is None:
        save_file(halves(segmenter), out / "model" / WEIGHTS)
    typer.echo(f"{out / 'model'}: AP50 {ap:.3f} on {len(held_out)} images that were held out")
    return ap


def halves(segmenter: CentreSegmenter) -> dict[str, torch.Tensor]:
    """The weights of a network, matrices and kernels in half precision: half as large, and the masks stay as they are.

    What batch norms multiply by and add stays as it is: it is little, and statistics may be too large for halves.
    """
    return {
        name: value.half().contiguous() if value.ndim > 1 else value.contiguous()
        for name, value in segmenter.network.state_dict().items()
    }


def _images(folder: Path) -> tuple[list[LabelledPixels], list[LabelledPixels]]:
    """Training and validation images of a prepared data set."""

    def pairs(images: Sequence[LabelledImage]) -> list[LabelledPixels]:
        return [(item.pixels, item.instances) for item in images if len(item.instances)]

    validation = load_images(folder, "validation") if has_split(folder, "validation") else []
    return pairs(load_images(folder, "train")), pairs(validation)


if __name__ == "__main__":
    app()
