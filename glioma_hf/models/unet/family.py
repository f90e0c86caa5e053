"""The U-Net as a family: what the rest of the package knows of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import set_seed

from glioma_hf.errors import InputError
from glioma_hf.models.base import Family, LabelledPixels, Run, Segmenter, typical_diameter
from glioma_hf.models.device import best_device
from glioma_hf.models.saved import ModelFolder
from glioma_hf.models.unet.encoders import ENCODERS
from glioma_hf.models.unet.network import UNet, pretrained_unet
from glioma_hf.models.unet.recipe import RECIPES, NetworkConfig, UNetRecipe
from glioma_hf.models.unet.segment import UNetSegmenter, UNetSettings
from glioma_hf.models.unet.train import train
from glioma_hf.models.unet.tune import tune
from glioma_hf.models.vision import network_files
from glioma_hf.models.vision.encoders import stands_on
from glioma_hf.models.vision.network_files import CONFIG, WEIGHTS

IMAGENET, RANDOM = "imagenet", "random"  # bases that have seen no cell: a published encoder, or start values alone


def new_network(base: str, config: NetworkConfig | None = None, seed: int = 0) -> UNet:
    """A network to train from: `imagenet`, `random`, or the whole network that a folder holds.

    Raises `InputError` where there is no such base, an encoder can't be had, or `config` asks for another network than
    the folder's.
    """
    set_seed(seed)
    if base == RANDOM:
        return UNet(config or NetworkConfig())
    if base == IMAGENET:
        return pretrained_unet(config or NetworkConfig())
    trained = read_network(folder_of(base))
    if config is None:
        return trained
    if config.encoder != trained.design.encoder:
        raise InputError(
            f"{base}: its weights are of the encoder {trained.design.encoder}, the recipe asks for {config.encoder}; "
            "give weights of that encoder, or leave network out"
        )
    known = trained.design if config.backbone is not None else trained.design.model_copy(update={"backbone": None})
    if config != known:
        differing = [name for name, value in config if value != getattr(known, name)]
        raise InputError(f"{base}: the recipe asks for another {differing[0]} than its network has; leave network out")
    return trained


def folder_of(base: str) -> Path:
    """Where a trained base lies. Raises `InputError` if nowhere."""
    if not Path(base).is_dir():
        raise InputError(f"the model {base} can't be loaded; give {IMAGENET}, {RANDOM} or a folder that `train` wrote")
    return Path(base)


def read_network(folder: Path) -> UNet:
    """The network that lies in a folder. Raises `InputError` that names what is wrong with it."""
    config = network_files.read_config(folder, NetworkConfig)
    return network_files.read_network(folder, lambda: UNet(config))


def load(base: str, folder: Path | None) -> UNetSegmenter:
    """What lies in `folder`, whatever it was trained from, or in the folder that `base` names."""
    if folder is not None:
        return UNetSegmenter(read_network(folder).to(best_device()))
    if base in (IMAGENET, RANDOM):
        raise InputError(f"the model unet:{base} has seen no cell yet; train it first")
    place = folder_of(base)
    return UNetSegmenter(read_network(place).to(best_device()), ModelFolder(place).settings())


def train_segmenter(base: str, images: Sequence[LabelledPixels], recipe: UNetRecipe, run: Run) -> UNetSegmenter:
    """A network trained on images; it sees others at the scale of those, and knows how large their cells are."""
    network = new_network(base, recipe.network, recipe.seed)
    kept = None if base in (IMAGENET, RANDOM) else ModelFolder(folder_of(base)).settings()

    def predicts(network: UNet) -> UNetSegmenter:
        seen = {"scale": seen_scale(images, recipe), "cell_diameter": typical_diameter(images)}
        return UNetSegmenter(network, (kept or UNetSettings()).model_copy(update=seen))

    return predicts(train(network, images, recipe, run, predicts))


def seen_scale(images: Sequence[LabelledPixels], recipe: UNetRecipe) -> float:
    """Pixels that the network sees per pixel of an image, the median over images.

    With random crops it is that of the middle of their sides.
    """
    if recipe.method == "crop" or recipe.resolution is None:
        return 1.0
    width, height = recipe.resolution
    scales = [(width * height / (pixels.shape[0] * pixels.shape[1])) ** 0.5 for pixels, _ in images]
    sides = recipe.augmentation.crop_sides or (1.0, 1.0)
    return float(np.clip(np.median(scales) / np.mean(sides), 0.05, 20))


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights, all that prediction needs: no package, and not the base."""
    assert isinstance(segmenter, UNetSegmenter)
    network_files.save_network(segmenter.network, segmenter.network.design, folder)


def summary(base: str, recipe: UNetRecipe) -> str:
    """What a card says of a model."""
    folder = Path(base)
    config = network_files.read_config(folder, NetworkConfig) if (folder / CONFIG).is_file() else recipe.network
    config = config or NetworkConfig()
    text = (
        f"Base: {base}. A U-Net over the encoder {config.encoder}, which says of each pixel how likely it is a cell's; "
        "connected parts of those are its instances, which don't overlap. Trained with `glioma_hf`."
    )
    if base == RANDOM:
        return f"{text} Nothing in it was trained before."
    known = ENCODERS.get(config.encoder)
    began = f"{known.library}' {known.checkpoint}" if known is not None else stands_on(config)
    return f"{text} Its weights began as those of: {began}."


FAMILY = Family(
    name="unet",
    title="Foreground by a U-Net",
    tuned="trained",
    summary=summary,
    bases=(IMAGENET,),
    untrained=(IMAGENET,),
    recipe=UNetRecipe,
    settings=UNetSettings,
    recipes=RECIPES,
    default_recipe="quick",
    weights=(CONFIG, WEIGHTS),
    load=load,
    train=train_segmenter,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(IMAGENET, RANDOM),
    tags=("unet", "semantic-segmentation"),
)
