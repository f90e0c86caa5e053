"""The recipe of training flows: every number.

`recipes/full.json` and `recipes/quick.json` are the label-map siblings of the family `centres`: the same encoder,
decoder, crops and budget, other heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from glioma_hf.models.base import TrainerRecipe
from glioma_hf.models.vision.classes import ClassesConfig
from glioma_hf.models.vision.config import COARSEST, Augmentation, TrunkConfig, Width
from glioma_hf.synthetic.compose import OverlapConfig

if TYPE_CHECKING:
    from typing_extensions import Self

RECIPES = Path(__file__).parent / "recipes"

Encoder = Literal[
    "nvidia/mit-b0",
    "nvidia/mit-b1",
    "nvidia/mit-b2",
    "nvidia/mit-b3",
    "nvidia/mit-b4",
    "nvidia/mit-b5",
    "tiny",
]


class LightConfig(ClassesConfig, TrunkConfig):
    """A network as `centres` has it, with heads for flows; kept as `config.json` beside its weights."""

    decoder: Literal["light"] = "light"


class MediarConfig(ClassesConfig):
    """MediarFormer's network; kept as `config.json` beside its weights."""

    decoder: Literal["manet"]
    encoder: Encoder = "nvidia/mit-b5"
    widths: tuple[Width, Width, Width, Width, Width] = (1024, 512, 256, 128, 64)  # at strides 16, 8, 4, 2, 1
    attention: Width = 256  # channels of the attention over places


NetworkConfig = Annotated[LightConfig | MediarConfig, Field(discriminator="decoder")]


class MediarAugmentation(BaseModel):
    """How MediarFormer's crops differ from the images, whose grey values are 0 ... 1.

    What is drawn and how often is its authors'; how far each goes, where they don't say it, is ours.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: Literal["mediar"]
    zoom: tuple[float, float] = (0.25, 1.5)  # least and greatest
    zoomed: float = Field(0.5, ge=0, le=1)  # share of crops
    often: float = Field(0.25, ge=0, le=1)  # share of crops that each of the following is done to
    cells: tuple[float, float] = (0.5, 1.5)  # what one cell, or each of all, is multiplied by
    noise: float = Field(0.1, ge=0, le=1)  # standard deviation
    gamma: tuple[float, float] = (1.0, 2.0)
    blur: tuple[float, float] = (1.0, 2.0)  # pixels
    sharpen: tuple[float, float] = (1.0, 2.0)  # how much of what a blur takes away is added
    shift: float = Field(0.1, ge=0, le=0.3)  # greatest, of each of three grey values; others follow linearly

    @field_validator("zoom", "cells", "gamma", "blur", "sharpen")
    @classmethod
    def _in_order(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0.05 <= limits[0] <= limits[1] <= 20:
            raise ValueError("from the least to the greatest, within 0.05 and 20")
        return limits


class FlowsRecipe(TrainerRecipe):
    """Every number of the recipe."""

    network: NetworkConfig | None = None  # None: as the base's, or the light one where the base is only an encoder
    augmentation: Augmentation | MediarAugmentation = Augmentation()  # of the light network, or of MediarFormer's
    # Whether the categories of the training images, if there are several, get a label map each; a base that tells some
    # apart goes on with those.
    types: bool = False
    max_steps: int = Field(850, ge=1, le=10**7)
    epochs: int = Field(0, ge=0, le=10**6)  # over the images, in place of max_steps; 0: so many steps
    batch: int = Field(6, ge=1, le=4096)
    crop: int = Field(192, ge=64, le=2048, multiple_of=COARSEST)  # side of a crop as the network sees it
    priority: Literal["first", "last"] = "first"  # of annotated cells that share a pixel, the one that has it
    # Copies of each training image, beside it, with cells of all of them laid over its own.
    composed: int = Field(0, ge=0, le=1000)
    overlaps: OverlapConfig = OverlapConfig()  # how they are laid
    learning_rate: float = Field(2e-3, gt=0, le=10)
    encoder_rate: float = Field(0.3, ge=0, le=10)  # learning rate of a pretrained encoder, relative to the rest's
    frozen_blocks: int = Field(2, ge=0, le=64)  # blocks of a pretrained encoder that stay as they are, after its stem
    warmup_ratio: float = Field(0.15, ge=0, le=1)
    weight_decay: float = Field(0.02, ge=0, le=1)
    max_grad_norm: float = Field(5.0, gt=0, le=10**6)
    average: float = Field(0.99, ge=0, lt=1)  # of the weights over steps: the result is their running mean
    flow_weight: float = Field(0.5, ge=0, le=1000)  # of flows' squared error beside the cells' cross-entropy
    check_every: int = Field(50, ge=1, le=10**6)

    def steps(self, images: int) -> int:
        """Optimizer steps of a run; where `epochs` are asked for an image's crop is seen once in each."""
        if not self.epochs:
            return self.max_steps
        return -(-self.epochs * images * (1 + self.composed) // (self.batch * self.accumulation))

    def for_steps(self, steps: int) -> Self:
        """The recipe with so many steps."""
        return self.model_copy(update={"max_steps": max(1, steps), "epochs": 0})
