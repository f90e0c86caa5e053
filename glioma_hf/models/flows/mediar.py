"""MediarFormer's published checkpoints, made saved models of this family by one command.

    python -m glioma_hf.models.flows.mediar from_phase2.pth --out mediarformer

The checkpoint is read as plain tensors, nothing in it is run. OUT is then a model like any that `train` writes: it
predicts, and `train --model flows:OUT` goes on from it.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer
from torch import Tensor

from glioma_hf.errors import InputError
from glioma_hf.models.checked import check_finite
from glioma_hf.models.flows.family import FAMILY, MEDIARFORMER
from glioma_hf.models.flows.manet import MIT, MediarNetwork
from glioma_hf.models.flows.recipe import Encoder, MediarConfig
from glioma_hf.models.flows.segment import FlowSegmenter
from glioma_hf.models.saved import ModelFolder

SHOWN = 3  # names that an error lists of those that differ
# The encoder's parts by their names in checkpoints, and here.
PARTS = (
    (r"encoder\.patch_embed(\d)\.norm\.", r"encoder.stages.\1.patch_embeddings.layer_norm."),
    (r"encoder\.patch_embed(\d)\.", r"encoder.stages.\1.patch_embeddings."),
    (r"encoder\.norm(\d)\.", r"encoder.stages.\1.layer_norm."),
    (r"encoder\.block(\d)\.(\d+)\.norm1\.", r"encoder.stages.\1.blocks.\2.layernorm_before."),
    (r"encoder\.block(\d)\.(\d+)\.norm2\.", r"encoder.stages.\1.blocks.\2.layernorm_after."),
    (r"encoder\.block(\d)\.(\d+)\.attn\.q\.", r"encoder.stages.\1.blocks.\2.attention.q_proj."),
    (r"encoder\.block(\d)\.(\d+)\.attn\.proj\.", r"encoder.stages.\1.blocks.\2.attention.o_proj."),
    (
        r"encoder\.block(\d)\.(\d+)\.attn\.sr\.",
        r"encoder.stages.\1.blocks.\2.attention.sequence_reduction.sequence_reduction.",
    ),
    (
        r"encoder\.block(\d)\.(\d+)\.attn\.norm\.",
        r"encoder.stages.\1.blocks.\2.attention.sequence_reduction.layer_norm.",
    ),
    (r"encoder\.block(\d)\.(\d+)\.attn\.kv\.", r"encoder.stages.\1.blocks.\2.attention.kv."),
    (r"encoder\.block(\d)\.(\d+)\.mlp\.", r"encoder.stages.\1.blocks.\2.mlp."),
)

app = typer.Typer(add_completion=False)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth file of MediarFormer's authors, or of their code's.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
) -> None:
    """Turn a checkpoint into a saved model."""
    try:
        network = network_of(read_checkpoint(checkpoint), str(checkpoint))
        segmenter = FlowSegmenter([network])
        ModelFolder(out).write(FAMILY, segmenter, MEDIARFORMER, FAMILY.read_recipe("mediarformer"))
    except InputError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(
        f"wrote {out}: encoder {network.config.encoder}, {sum(p.numel() for p in network.parameters()):,} numbers"
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names; ones that lie one dict deeper, or under "module.", are found.

    Raises `InputError` for a file that isn't there, isn't a checkpoint, or holds more than plain values.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from None
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds objects beside tensors, which could run code; it isn't read") from None
    except (RuntimeError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: not a checkpoint of PyTorch ({str(error).splitlines()[0][:100]})") from None
    if isinstance(content, Mapping) and not _holds_tensors(content):
        content = next((value for value in content.values() if _holds_tensors(value)), None)
    if not _holds_tensors(content):
        raise InputError(f"{path}: holds no tensors by name; give a checkpoint of MediarFormer's")
    return {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def network_of(theirs: Mapping[str, Tensor], where: str) -> MediarNetwork:
    """The network that holds a checkpoint's weights. Raises `InputError` that lists names which it lacks or has not."""
    config = config_of(theirs, where)
    ours = renamed(theirs)
    with torch.device("meta"):
        expected = MediarNetwork(config).state_dict()
    for what, names in (("lacks", set(expected) - set(ours)), ("holds the unknown", set(ours) - set(expected))):
        if names:
            shown, more = ", ".join(sorted(names)[:SHOWN]), len(names) - SHOWN
            raise InputError(
                f"{where}: not MediarFormer's weights: it {what} {shown}{f' and {more} more' if more > 0 else ''}"
            )
    for name, like in expected.items():
        if ours[name].shape != like.shape:
            raise InputError(f"{where}: {name} is of shape {list(ours[name].shape)}, expected {list(like.shape)}")
    check_finite(ours.items(), where)
    network = MediarNetwork(config)
    network.load_state_dict(ours)
    return network.eval()


def config_of(theirs: Mapping[str, Tensor], where: str) -> MediarConfig:
    """How the network was built that a checkpoint is of. Raises `InputError` where that isn't MediarFormer's."""
    blocks = [re.match(r"encoder\.block(\d)\.(\d+)\.norm1\.weight$", name) for name in theirs]
    depths = tuple(len([found for found in blocks if found and found[1] == stage]) for stage in "1234")
    try:
        sizes = tuple(len(theirs[f"encoder.norm{stage}.weight"]) for stage in (1, 2, 3, 4))
        widths = tuple(len(theirs[f"decoder.blocks.{number}.conv2.0.weight"]) for number in range(5))
        attention = len(theirs["decoder.center.top_conv.weight"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{where}: not MediarFormer's weights: it lacks {str(error).strip(chr(39))}") from None
    encoder = next((name for name in get_args(Encoder) if MIT[name][:2] == (depths, sizes)), None)
    if encoder is None:
        raise InputError(f"{where}: its encoder of {depths} blocks and {sizes} channels is none of {', '.join(MIT)}")
    try:
        return MediarConfig(decoder="manet", encoder=encoder, widths=widths, attention=attention)
    except ValueError as error:
        raise InputError(f"{where}: its decoder isn't MediarFormer's ({' '.join(str(error).split()[:20])})") from None


def renamed(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's weights by our names; keys and values of attention, which it holds as one, are taken apart."""
    ours = {}
    for name, value in theirs.items():
        for pattern, by in PARTS:
            if re.match(pattern, name):
                stage = str(int(re.match(r"encoder\.[a-z_]+(\d)", name)[1]) - 1)  # type: ignore[index]
                name = re.sub(pattern, by.replace(r"\1", stage), name)
                break
        if ".attention.kv." in name:
            for part, half in zip(("k_proj", "v_proj"), value.chunk(2), strict=True):
                ours[name.replace(".kv.", f".{part}.")] = half
        else:
            ours[name] = value
    return ours


def _holds_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and any(isinstance(value, Tensor) for value in content.values())


if __name__ == "__main__":
    app()
