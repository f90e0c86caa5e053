"""The recipe of training a U-Net: every number.

`recipes/paper.json` is the paper's fine-tuning at its lowest resolution, `recipes/quick.json` one for a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from glioma_hf.models.base import TrainerRecipe
from glioma_hf.models.vision.config import EncoderConfig, Width

if TYPE_CHECKING:
    from typing_extensions import Self

RECIPES = Path(__file__).parent / "recipes"

Side = Annotated[int, Field(ge=16, le=16384)]
Share = Annotated[float, Field(ge=0.05, le=1)]


class NetworkConfig(EncoderConfig):
    """How a U-Net is built and what it is given; kept as `config.json` beside its weights."""

    widths: tuple[Width, Width, Width, Width, Width] = (
        256,
        128,
        64,
        32,
        16,
    )  # of the decoder at strides 16, 8, 4, 2, 1
    # Contrast is raised first: these percentiles of an image's values become black and white.
    percentiles: tuple[float, float] = (0.5, 99.5)

    @field_validator("percentiles")
    @classmethod
    def _in_order(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= limits[0] < limits[1] <= 100:
            raise ValueError("a lower and a higher percentile, within 0 and 100")
        return limits


class Augmentation(BaseModel):
    """How what is learned differs from the images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Random resized crops: a window with this share of the image's sides, drawn from the least to the greatest, is
    # resized to the resolution. The paper's 57 % +- 30 is [0.27, 0.87]. None: the whole image is.
    crop_sides: tuple[Share, Share] | None = None
    flips: bool = False  # across both axes, each for every other image
    sharpness: float = Field(0.0, ge=0, le=10)  # how much of what a blur takes away is added at most, to every other
    contrast: float = Field(0.0, ge=0, le=10)  # by what share of itself contrast rises at most, in every other

    @field_validator("crop_sides")
    @classmethod
    def _in_order(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and limits[0] > limits[1]:
            raise ValueError("from the least to the greatest")
        return limits


class UNetRecipe(TrainerRecipe):
    """Every number of the recipe."""

    network: NetworkConfig | None = None  # None: as the base's, or the default one
    resolution: tuple[Side, Side] | None = (704, 512)  # (width, height) of what is learned; None: the images' own
    # Whether images are resized to the resolution, or windows of that size are cut from them as they are.
    method: Literal["resize", "crop"] = "resize"
    augmentation: Augmentation = Augmentation()
    epochs: int = Field(300, ge=1, le=10**6)  # how often each image is seen
    max_steps: int = Field(0, ge=0, le=10**7)  # in place of epochs; 0: as many as those make
    batch: int = Field(4, ge=1, le=4096)
    # Whether on a GPU the batch is halved until it fits; on a CPU, whose memory is lent out page by page, it never is.
    largest_batch: bool = True
    learning_rate: float = Field(1e-4, gt=0, le=10)  # Adam's, the same all the time
    max_grad_norm: float = Field(10**6, gt=0, le=10**6)

    @model_validator(mode="after")
    def _consistent(self) -> UNetRecipe:
        if self.augmentation.crop_sides is not None and (self.method == "crop" or self.resolution is None):
            raise ValueError("crop_sides asks for a resolution to resize to: give one, and the method resize")
        if self.method == "crop" and self.resolution is None:
            raise ValueError("the method crop asks for a resolution: the size of what is cut out")
        return self

    def steps(self, images: int) -> int:
        """Optimizer steps of a run."""
        return self.max_steps or -(-self.epochs * images // (self.batch * self.accumulation))

    def for_steps(self, steps: int) -> Self:
        """The recipe with so many steps."""
        return self.model_copy(update={"max_steps": max(1, steps)})
