"""The recipe of training centres and their masks: every number.

`recipes/full.json` is for some fifteen annotated images, `recipes/quick.json` for one. Its numbers were chosen on T98G
validation images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from glioma_hf.models.base import TrainerRecipe
from glioma_hf.models.vision.classes import ClassesConfig
from glioma_hf.models.vision.config import COARSEST, Augmentation, TrunkConfig, Width
from glioma_hf.synthetic.compose import OverlapConfig

if TYPE_CHECKING:
    from typing_extensions import Self

RECIPES = Path(__file__).parent / "recipes"


class NetworkConfig(ClassesConfig, TrunkConfig):
    """How the network is built; kept as `config.json` beside its weights."""

    features: int = Field(8, ge=1, le=64)  # maps that masks are drawn from
    hidden: int = Field(8, ge=1, le=64)  # channels inside a centre's own mask network
    controller: Width = 128  # channels of what writes that network
    reach: int = Field(40, ge=4, le=200)  # cells from a centre to its window's edge: 40 are 160 pixels at scale 1

    def to_dict(self) -> dict[str, Any]:
        """As `peft` asks a model's config for itself."""
        return self.model_dump()

    @property
    def window(self) -> int:
        """Side of a mask's window in cells."""
        return 2 * self.reach + 1


class AdapterSettings(BaseModel):
    """An adapter: LoRA on the convolutions, the heads whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(8, ge=1, le=1024)
    dropout: float = Field(0.0, ge=0, lt=1)


class CentresRecipe(TrainerRecipe):
    """Every number of the recipe."""

    network: NetworkConfig | None = None  # None: as the base's, or the default where the base is only an encoder
    # Whether the categories that the training images have are told apart, each with a heat map of its own.
    types: bool = False
    # None: the whole network is trained. Else an adapter of a base that was trained before, and that alone is saved.
    adapter: AdapterSettings | None = None
    augmentation: Augmentation = Augmentation()
    max_steps: int = Field(850, ge=1, le=10**7)
    batch: int = Field(6, ge=1, le=4096)
    crop: int = Field(192, ge=64, le=2048, multiple_of=COARSEST)  # side of a crop as the network sees it
    max_cells: int = Field(8, ge=1, le=4096)  # whose masks are drawn in a crop
    # Copies of each training image, beside it, with cells of all of them laid over its own.
    composed: int = Field(0, ge=0, le=1000)
    overlaps: OverlapConfig = OverlapConfig()  # how they are laid
    jitter: float = Field(0.5, ge=0, le=4)  # of the point at which a mask is asked, in spreads of its centre's bump
    learning_rate: float = Field(2e-3, gt=0, le=10)
    encoder_rate: float = Field(0.3, ge=0, le=10)  # learning rate of a pretrained encoder, relative to the rest's
    frozen_blocks: int = Field(2, ge=0, le=64)  # blocks of a pretrained encoder that stay as they are, after its stem
    warmup_ratio: float = Field(0.15, ge=0, le=1)
    weight_decay: float = Field(0.02, ge=0, le=1)
    max_grad_norm: float = Field(5.0, gt=0, le=10**6)
    average: float = Field(0.99, ge=0, lt=1)  # of the weights over steps: the result is their running mean
    dice_weight: float = Field(2.0, ge=0, le=1000)
    pixel_weight: float = Field(1.0, ge=0, le=1000)
    iou_weight: float = Field(0.3, ge=0, le=1000)
    thin: float = Field(3.0, ge=1, le=100)  # most that the mask of a thin cell counts, where a round one's counts 1
    surface_weight: float = Field(0.5, ge=0, le=1000)  # of foreground and boundary, which only training looks at
    check_every: int = Field(50, ge=1, le=10**6)

    def steps(self, images: int) -> int:
        """Optimizer steps of a run, however many images there are."""
        return self.max_steps

    def for_steps(self, steps: int) -> Self:
        """The recipe with so many steps."""
        return self.model_copy(update={"max_steps": max(1, steps)})
