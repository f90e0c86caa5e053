"""Flows and label maps, as a family: what the rest of the package knows of this folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import set_seed

from glioma_hf.errors import InputError
from glioma_hf.models.base import Family, LabelledPixels, Run, Segmenter, typical_diameter
from glioma_hf.models.device import best_device
from glioma_hf.models.flows.manet import MediarNetwork, pretrained_mit
from glioma_hf.models.flows.network import FlowNetwork
from glioma_hf.models.flows.recipe import RECIPES, FlowsRecipe, LightConfig, MediarConfig, NetworkConfig
from glioma_hf.models.flows.segment import FlowSegmenter, FlowSettings, usual_settings
from glioma_hf.models.flows.train import train
from glioma_hf.models.flows.tune import tune
from glioma_hf.models.saved import ModelFolder
from glioma_hf.models.vision import network_files
from glioma_hf.models.vision.classes import classes_in
from glioma_hf.models.vision.encoders import stands_on
from glioma_hf.models.vision.network_files import CONFIG, WEIGHTS
from glioma_hf.models.vision.trunk import pretrained_trunk

IMAGENET, RANDOM = "imagenet", "random"  # bases that have seen no cell: a published encoder, or start values alone
MEDIARFORMER = "mediarformer"  # the base of what `mediar` made of a checkpoint of its authors

Network = FlowNetwork | MediarNetwork


def new_network(base: str, config: LightConfig | MediarConfig | None = None, seed: int = 0) -> Network:
    """A network to train from: `imagenet`, `random`, or what a folder holds.

    Raises `InputError` where there is no such base, a package that it stands on isn't installed, or `config` asks for
    another network than the folder's.
    """
    set_seed(seed)
    if base == RANDOM:
        return _built(config or LightConfig(encoder="tiny", frozen_features=None))
    if base == IMAGENET:
        if isinstance(config, MediarConfig):
            return MediarNetwork(config, pretrained_mit(config.encoder))
        return pretrained_trunk(FlowNetwork, config or LightConfig())
    trained = read_network(folder_of(base))
    if config is not None and config != trained.config:
        differing = [name for name, value in config if value != getattr(trained.config, name, None)]
        raise InputError(f"{base}: the recipe asks for another {differing[0]} than its network has; leave network out")
    return trained


def _built(config: LightConfig | MediarConfig) -> Network:
    return MediarNetwork(config) if isinstance(config, MediarConfig) else FlowNetwork(config)


def with_types(network: Network, images: Sequence[LabelledPixels]) -> Network:
    """A network that tells the categories of images apart: itself where it does, else with a label map for each.

    What was of all cells is of each class then. Raises `InputError` where there is one category alone.
    """
    if network.config.classes:
        return network
    classes = classes_in(images)
    typed = _built(network.config.model_copy(update={"classes": classes}))
    known, tensors = network.state_dict(), typed.state_dict()
    for name, old in known.items():
        if old.shape != tensors[name].shape:  # of the heads, the last layer
            tensors[name] = torch.cat([old] * len(classes))
        else:
            tensors[name] = old
    typed.load_state_dict(tensors)
    return typed.eval()


def folder_of(base: str) -> Path:
    """Where a trained base lies. Raises `InputError` if nowhere."""
    if not Path(base).is_dir():
        raise InputError(f"the model {base} can't be loaded; give {IMAGENET}, {RANDOM} or a folder that `train` wrote")
    return Path(base)


def read_network(folder: Path) -> Network:
    """The network that lies in a folder. Raises `InputError` that names what is wrong with it."""
    config = network_files.read_config(folder, NetworkConfig)
    return network_files.read_network(folder, lambda: _built(config))


def load(base: str, folder: Path | None) -> FlowSegmenter:
    """What lies in `folder`, whatever it was trained from, or in the folder that `base` names.

    Several folders, FOLDER+FOLDER, are asked together, by the thresholds of the first.
    """
    if folder is not None:
        return FlowSegmenter([read_network(folder).to(best_device())])
    if base in (IMAGENET, RANDOM):
        raise InputError(f"the model flows:{base} has seen no cell yet; train it first")
    folders = [folder_of(base)] if Path(base).is_dir() else [folder_of(name) for name in re.split(r"\+", base)]
    networks = [read_network(each).to(best_device()) for each in folders]
    return FlowSegmenter(networks, ModelFolder(folders[0]).settings())


def train_segmenter(base: str, images: Sequence[LabelledPixels], recipe: FlowsRecipe, run: Run) -> FlowSegmenter:
    """A network trained on images; it knows how large their cells are, and has the thresholds of a trained base."""
    network = new_network(base, recipe.network, recipe.seed)
    network = with_types(network, images) if recipe.types else network
    kept = None if base in (IMAGENET, RANDOM) else ModelFolder(folder_of(base)).settings()
    trained = train(network, images, recipe, run, base != RANDOM, lambda network: FlowSegmenter([network]))
    settings = kept or usual_settings(network)
    seen = {"scale": 1.0, "cell_diameter": typical_diameter(images)}
    return FlowSegmenter([trained], settings.model_copy(update=seen))


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights, all that prediction needs: no package, and not the base."""
    assert isinstance(segmenter, FlowSegmenter)
    network_files.save_network(segmenter.networks[0], segmenter.networks[0].config, folder)


def summary(base: str, recipe: FlowsRecipe) -> str:
    """What a card says of a model."""
    folder = Path(base)
    config = network_files.read_config(folder, NetworkConfig) if (folder / CONFIG).is_file() else recipe.network
    config = config or LightConfig()
    text = (
        f"Base: {base}. Flows to cells' middles and the chance of a cell (Cellpose's output), followed by the "
        "dynamics of the package `cellpose`: label maps, whose masks don't overlap; trained with `glioma_hf` on few "
        "annotated images."
    )
    if isinstance(config, MediarConfig):
        text += f" The network is MediarFormer's (Lee et al., 2022): MA-Net over {config.encoder}."
    if base == RANDOM:
        return f"{text} Nothing in it was trained before."
    if isinstance(config, MediarConfig):
        return f"{text} Its weights began as published ones, whose licences hold: the encoder's, or MediarFormer's."
    return f"{text} Its weights contain or began as those of: {stands_on(config)}."


FAMILY = Family(
    name="flows",
    title="Flows and label maps",
    tuned="trained",
    summary=summary,
    bases=(IMAGENET,),
    untrained=(IMAGENET,),
    recipe=FlowsRecipe,
    settings=FlowSettings,
    recipes=RECIPES,
    default_recipe="quick",
    weights=(CONFIG, WEIGHTS),
    load=load,
    train=train_segmenter,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(IMAGENET, RANDOM, MEDIARFORMER),
    tags=("flows",),
)
