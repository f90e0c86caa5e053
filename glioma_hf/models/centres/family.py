"""Centres and dynamic masks, as a family: what the rest of the package knows of this folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from peft import PeftModel
from torch.nn import functional as F
from transformers import set_seed

from glioma_hf.errors import InputError
from glioma_hf.models.adapters import ADAPTER_FILES
from glioma_hf.models.base import Family, LabelledPixels, Run, Segmenter, typical_diameter
from glioma_hf.models.centres.adapter import add_adapter, load_adapter, merge, save_adapter
from glioma_hf.models.centres.network import CentreNetwork
from glioma_hf.models.centres.recipe import RECIPES, CentresRecipe, NetworkConfig
from glioma_hf.models.centres.segment import CentreSegmenter, CentreSettings
from glioma_hf.models.centres.train import train
from glioma_hf.models.centres.tune import tune
from glioma_hf.models.device import best_device
from glioma_hf.models.saved import ModelFolder
from glioma_hf.models.vision import network_files
from glioma_hf.models.vision.classes import classes_in
from glioma_hf.models.vision.encoders import stands_on
from glioma_hf.models.vision.network_files import CONFIG, WEIGHTS
from glioma_hf.models.vision.trunk import pretrained_trunk

SHIPPED = Path(__file__).parent / "weights"  # a folder for each trained model that comes with the package
COMES_ALONG = ("general", "glioblastoma")  # of those folders, the default first
IMAGENET, RANDOM = "imagenet", "random"  # bases that have seen no cell: a published encoder, or start values alone


def new_network(base: str, config: NetworkConfig | None = None, seed: int = 0) -> CentreNetwork:
    """A network to train from: `imagenet`, `random`, or what a folder holds.

    Raises `InputError` where there is no such base, a package that it stands on isn't installed, or `config` asks for
    another network than the folder's.
    """
    set_seed(seed)
    if base == RANDOM:
        return CentreNetwork(config or NetworkConfig(encoder="tiny", frozen_features=None))
    if base == IMAGENET:
        return pretrained_trunk(CentreNetwork, config or NetworkConfig())
    network = trained_network(base)
    if config is not None and config != network.config:
        differing = [
            name for name in NetworkConfig.model_fields if getattr(config, name) != getattr(network.config, name)
        ]
        raise InputError(f"{base}: the recipe asks for another {differing[0]} than its network has; leave network out")
    return network


def with_types(network: CentreNetwork, images: Sequence[LabelledPixels], adapter: bool) -> CentreNetwork:
    """A network that tells the categories of images apart: itself where it does, else with a heat map for each.

    What was of all cells is of each class then. Raises `InputError` where there is one category alone,
    and where an adapter is wanted, which can't carry that.
    """
    if network.config.classes:
        return network
    if adapter:
        raise InputError(
            "an adapter is put on a model that tells types apart already; train one whole with types first"
        )
    classes = classes_in(images)
    typed = CentreNetwork(network.config.model_copy(update={"classes": classes}))
    known, tensors = network.state_dict(), typed.state_dict()
    for name, value in tensors.items():
        old = known[name]
        if old.shape != value.shape and len(old) == 1:  # of the heat map, the last layer
            tensors[name] = old.expand_as(value).clone()
        elif old.shape != value.shape:  # of the controller, the first, which is told the class in further columns
            tensors[name] = F.pad(old, (0, len(classes)))
        else:
            tensors[name] = old
    typed.load_state_dict(tensors)
    return typed.eval()


def folder_of(base: str) -> Path:
    """Where a trained base lies: one that comes with the package, or a folder. Raises `InputError` if nowhere."""
    folder = SHIPPED / base if re.fullmatch(r"\w+", base) and (SHIPPED / base).is_dir() else Path(base)
    if not folder.is_dir():
        raise InputError(f"the model {base} can't be loaded; give {IMAGENET}, {RANDOM} or a folder that `train` wrote")
    return folder


def trained_network(base: str) -> CentreNetwork:
    """The network of a trained base; an adapter is merged. Raises `InputError` as `read_network`."""
    folder = folder_of(base)
    if not _holds_adapter(folder):
        return read_network(folder)
    below = folder_of(ModelFolder(folder).info().base)
    if _holds_adapter(below):
        raise InputError(f"{folder}: an adapter of an adapter; train on {below} without adapter in the recipe first")
    return merge(load_adapter(read_network(below), folder))


def _holds_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_FILES[0]).is_file()


def read_network(folder: Path) -> CentreNetwork:
    """The network that lies in a folder. Raises `InputError` that names what is wrong with it."""
    config = network_files.read_config(folder, NetworkConfig)
    return network_files.read_network(folder, lambda: CentreNetwork(config))


def load(base: str, folder: Path | None) -> CentreSegmenter:
    """What lies in `folder`, whatever it was trained from, or in the folder that `base` names."""
    if folder is None and base in (IMAGENET, RANDOM):
        raise InputError(f"the model centres:{base} has seen no cell yet; train it first")
    if folder is None:
        return CentreSegmenter(trained_network(base).to(best_device()), ModelFolder(folder_of(base)).settings())
    if not _holds_adapter(folder):
        return CentreSegmenter(read_network(folder).to(best_device()))
    if base in (IMAGENET, RANDOM):
        raise InputError(f"{folder}: an adapter of {base}, which holds no trained model; give the base it was made for")
    return CentreSegmenter(load_adapter(trained_network(base).to(best_device()), folder))


def train_segmenter(base: str, images: Sequence[LabelledPixels], recipe: CentresRecipe, run: Run) -> CentreSegmenter:
    """A network trained on images; it knows how large their cells are, and has the thresholds of a trained base."""
    if recipe.adapter is not None and base in (IMAGENET, RANDOM):
        raise InputError(f"an adapter is put on a trained model, not on {base}; leave adapter out of the recipe")
    network: CentreNetwork | PeftModel = new_network(base, recipe.network, recipe.seed)
    if recipe.types:
        network = with_types(network, images, recipe.adapter is not None)
    if recipe.adapter is not None:
        network = add_adapter(network, recipe.adapter)
    kept = None if base in (IMAGENET, RANDOM) else ModelFolder(folder_of(base)).settings()
    trained = train(network, images, recipe, run, base != RANDOM, CentreSegmenter)
    settings = (kept or CentreSettings()).model_copy(update={"scale": 1.0, "cell_diameter": typical_diameter(images)})
    return CentreSegmenter(trained, settings)


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights, all that prediction needs: no package, and not the base; of an adapter its files alone."""
    assert isinstance(segmenter, CentreSegmenter)
    if segmenter.adapted is not None:
        save_adapter(segmenter.adapted, folder, base)
        return
    network_files.save_network(segmenter.network, segmenter.network.config, folder)


def summary(base: str, recipe: CentresRecipe) -> str:
    """What a card says of a model."""
    config = _config_of(base, recipe)
    text = (
        f"Base: {base}. A heat map of cell centres and a mask network for each centre (CondInst's idea), so that masks "
        "may overlap; trained with `glioma_hf` on few annotated images."
    )
    if recipe.adapter is not None:
        text += (
            f" This is a `peft` adapter of the base: LoRA of rank {recipe.adapter.rank} on convolutions, heads whole."
        )
    if base == RANDOM:
        return f"{text} Nothing in it was trained before."
    return f"{text} Its weights contain or began as those of: {stands_on(config)}."


def _config_of(base: str, recipe: CentresRecipe) -> NetworkConfig:
    """The network's, as far as it is known from here."""
    for folder in (SHIPPED / base, Path(base)):
        if (folder / CONFIG).is_file():
            config: NetworkConfig = network_files.read_config(folder, NetworkConfig)
            return config
    return recipe.network or NetworkConfig()


FAMILY = Family(
    name="centres",
    title="Centres and dynamic masks",
    tuned="trained",
    summary=summary,
    bases=(*COMES_ALONG, IMAGENET),
    untrained=(IMAGENET,),
    recipe=CentresRecipe,
    settings=CentreSettings,
    recipes=RECIPES,
    default_recipe="quick",
    weights=(CONFIG, WEIGHTS),
    adapter=ADAPTER_FILES,
    load=load,
    train=train_segmenter,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(*COMES_ALONG, IMAGENET, RANDOM),
    tags=("centres",),
)
