"""SAM and SAM 2 with LoRA, as a family: what the rest of the package knows of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glioma_hf.models import EMBEDDED
from glioma_hf.models.adapters import ADAPTER_FILES, save_weights
from glioma_hf.models.base import Family, LabelledPixels, Run, Segmenter, typical_diameter
from glioma_hf.models.device import best_device
from glioma_hf.models.sam.generate import GenerationSettings, SamSegmenter
from glioma_hf.models.sam.lora import load_adapter, load_base
from glioma_hf.models.sam.recipe import RECIPES, SamRecipe
from glioma_hf.models.sam.train import train
from glioma_hf.models.sam.tune import tune
from glioma_hf.models.saved import ModelFolder


def load(base: str, folder: Path | None) -> SamSegmenter:
    """A base by name, or one with the adapter that lies in `folder`, at the input size it was trained at."""
    recipe = None if folder is None else ModelFolder(folder).recipe()
    model = load_base(base, None if recipe is None else recipe.tile).to(best_device())
    return SamSegmenter(model if folder is None else load_adapter(model, folder))


def train_segmenter(base: str, images: Sequence[LabelledPixels], recipe: SamRecipe, run: Run) -> SamSegmenter:
    """An adapter trained on images; it knows how large their cells are."""
    validate = run.validate
    trained = train(
        load_base(base, recipe.tile).to(best_device()),
        images,
        recipe,
        Run(
            run.work,
            run.on_progress,
            None if validate is None else lambda adapted: validate(SamSegmenter(adapted)),
            run.workers,
            run.tensorboard,
        ),
    )
    return SamSegmenter(trained, GenerationSettings(cell_diameter=typical_diameter(images)))


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """The adapter's files; they name the base, and no path of this machine."""
    assert isinstance(segmenter, SamSegmenter)
    assert segmenter.adapted is not None, "only an adapter is saved; the base stays where it is"
    segmenter.adapted.peft_config["default"].base_model_name_or_path = base
    save_weights(segmenter.adapted, folder)


def summary(base: str, recipe: SamRecipe) -> str:
    """What a card says of an adapter."""
    head = ", and a head that finds cell centres" if recipe.lora.centre_head else ""
    return (
        f"Base model: {base}. LoRA of rank {recipe.lora.rank} on the queries and values of the image encoder and the "
        f"mask decoder{head}, trained with `glioma_hf` on few annotated images."
    )


FAMILY = Family(
    name="sam",
    title="LoRA adapter of SAM",
    tuned="LoRA",
    summary=summary,
    bases=(EMBEDDED,),
    recipe=SamRecipe,
    settings=GenerationSettings,
    recipes=RECIPES,
    default_recipe="quick",
    weights=ADAPTER_FILES,
    load=load,
    train=train_segmenter,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(EMBEDDED,),
    tags=("lora",),
    library="peft",
)
