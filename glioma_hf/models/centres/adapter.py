"""LoRA on the convolutions of a trained network, as an ordinary `peft` adapter; its heads are trained and saved whole.

Convolutions that filter each channel by itself hold little and stay as they are; so do all batch norms, statistics
included, outside the heads.
"""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError

from glioma_hf.errors import InputError
from glioma_hf.models.adapters import ADAPTER_FILES, read_adapter_config
from glioma_hf.models.centres.network import CentreNetwork
from glioma_hf.models.centres.recipe import AdapterSettings
from glioma_hf.models.checked import check_finite, read_tensors

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
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / ADAPTER_FILES[1]).chmod(0o644)  # as its neighbours; safetensors leaves it to the owner alone


def load_adapter(network: CentreNetwork, folder: Path) -> PeftModel:
    """A network with the adapter that lies in a folder. Raises `InputError` where it doesn't fit or isn't one."""
    config = read_adapter_config(folder, TARGETS, HEADS)
    path = folder / ADAPTER_FILES[1]
    try:
        adapted = get_peft_model(network, config)
        tensors = read_tensors(path, get_peft_model_state_dict(adapted, save_embedding_layers=False))
        set_peft_model_state_dict(adapted, tensors)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{folder}: the adapter doesn't fit the network ({reason}); give the base it was made for"
        ) from None
    check_finite(tensors.items(), str(path))
    return adapted.eval()


def unwrap(network: CentreNetwork | PeftModel) -> CentreNetwork:
    """The network inside, whose layers carry the adapter."""
    return network.get_base_model() if isinstance(network, PeftModel) else network


def merge(adapted: PeftModel) -> CentreNetwork:
    """The adapter's weights added into the network's: a plain one that says the same."""
    merged: CentreNetwork = adapted.merge_and_unload()
    merged.fixed_norms = False
    return merged.eval()
