"""The recipe of training flows: every number.

`recipes/full.json` and `recipes/quick.json` are the label-map siblings of the family `centres`: the same encoder,
decoder, crops and budget, other heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from glioma_hf.models.base import TrainerRecipe
from glioma_hf.models.vision.config import COARSEST, Augmentation, TrunkConfig
from glioma_hf.synthetic.compose import OverlapConfig

if TYPE_CHECKING:
    from typing_extensions import Self

RECIPES = Path(__file__).parent / "recipes"


class LightConfig(TrunkConfig):
    """A network as `centres` has it, with heads for flows; kept as `config.json` beside its weights."""

    decoder: Literal["light"] = "light"


class FlowsRecipe(TrainerRecipe):
    """Every number of the recipe."""

    network: LightConfig | None = None  # None: as the base's, or the default where the base is only an encoder
    augmentation: Augmentation = Augmentation()
    max_steps: int = Field(850, ge=1, le=10**7)
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
        """Optimizer steps of a run, however many images there are."""
        return self.max_steps

    def for_steps(self, steps: int) -> Self:
        """The recipe with so many steps."""
        return self.model_copy(update={"max_steps": max(1, steps)})
