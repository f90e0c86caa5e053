"""LoRA on the convolutions of a trained network, as an ordinary `peft` adapter; its heads are trained and saved whole.

Convolutions that filter each channel by itself hold little and stay as they are; so do all batch norms, statistics
included, outside the heads.
"""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model

from glioma_hf.models.adapters import load_weights, save_weights
from glioma_hf.models.centres.network import CentreNetwork
from glioma_hf.models.centres.recipe import AdapterSettings

# Of the encoder's blocks all but the first two, which see edges and spots, as in any image.
TARGETS = r"encoder\.blocks\.(?!0\.|1\.)\d+\.(widen|narrow)\.0|(narrow|join)\.\d+\.0|fuse\.\d+\.\d+\.0"
HEADS = ("heat", "features", "surface", "controller")


def add_adapter(network: CentreNetwork, settings: AdapterSettings) -> PeftModel:
    """A fresh adapter around a trained network, in place; it still says the same."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.rank,
        lora_dropout=settings.dropout,
        target_modules=TARGETS,
        modules_to_save=list(HEADS),
    )
    network.fixed_norms = True
    return get_peft_model(network, config)


def save_adapter(adapted: PeftModel, folder: Path, base: str) -> None:
    """The adapter's files as `peft` writes them; they name the base, and no path of this machine."""
    adapted.peft_config["default"].base_model_name_or_path = base
    save_weights(adapted, folder)


def load_adapter(network: CentreNetwork, folder: Path) -> PeftModel:
    """A network with the adapter that lies in a folder. Raises `InputError` where it doesn't fit or isn't one."""
    return load_weights(lambda config: get_peft_model(network, config), folder, TARGETS, HEADS, "network")


def unwrap(network: CentreNetwork | PeftModel) -> CentreNetwork:
    """The network inside, whose layers carry the adapter."""
    return network.get_base_model() if isinstance(network, PeftModel) else network


def merge(adapted: PeftModel) -> CentreNetwork:
    """The adapter's weights added into the network's: a plain one that says the same."""
    merged: CentreNetwork = adapted.merge_and_unload()
    merged.fixed_norms = False
    return merged.eval()
