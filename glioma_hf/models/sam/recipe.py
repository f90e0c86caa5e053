"""The recipe of fine-tuning SAM: every number, the paper's (CellSeg1) where nothing else is said.

`recipes/paper.json` has CellSeg1's numbers. `recipes/quick.json` is for the small embedded model on a CPU, minutes
instead of hours: rank (of 4, 16 and 32) and epochs (of 40 and 80) were chosen on T98G validation images; dropout
costs a fifth of the time on a CPU and is left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from glioma_hf.models.base import TrainerRecipe

if TYPE_CHECKING:
    from typing_extensions import Self

RECIPES = Path(__file__).parent / "recipes"
MAX_ITEMS = 10**9  # crops of a run; they are drawn one by one, but counted in advance
Scale = Annotated[float, Field(ge=0.05, le=20)]


class LoraSettings(BaseModel):
    """The adapter's size: the paper's values (CellSeg1) by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(4, ge=1, le=1024)
    dropout: float = Field(0.1, ge=0, lt=1)
    centre_head: bool = True  # train the head that finds prompts, whole, beside the adapter
    use_rslora: bool = False  # scaled by 1 / sqrt(rank) instead of 1 / rank
    use_dora: bool = False  # direction and length of the weights apart


class SamRecipe(TrainerRecipe):
    """Every number of the recipe; the defaults are the paper's (CellSeg1), the heat map's weight is ours."""

    lora: LoraSettings = LoraSettings()
    epochs: int = Field(300, ge=1, le=10**6)
    max_steps: int | None = Field(None, ge=1, le=10**7)  # an end before all epochs, for many images
    tile: int | None = Field(512, ge=64, le=2048, multiple_of=64)  # the input's side in pixels; None: as the model is
    tiles_per_image: int = Field(9, ge=1, le=10**5)  # 256-pixel tiles with half overlap of a 512-pixel image
    accumulation: int = Field(8, ge=1, le=4096)
    learning_rate: float = Field(3e-3, gt=0, le=10)
    scale: tuple[Scale, Scale] = (0.5, 1.5)  # least and greatest
    max_cells: int = Field(16, ge=1, le=4096)  # points in cells per crop
    dice_weight: float = Field(0.0, ge=0, le=1000)
    heat_weight: float = Field(0.5, ge=0, le=1000)
    iou_target: Literal["cell", "iou"] = "cell"  # what the IoU head learns: 1 for any cell (CellSeg1) or the mask's IoU

    @field_validator("scale")
    @classmethod
    def _in_order(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the least scale comes first")
        return scale

    @model_validator(mode="after")
    def _within_reason(self) -> Self:
        items = self.steps(1) * self.batch * self.accumulation
        if items > MAX_ITEMS:
            raise ValueError(f"{items} crops for one image are over {MAX_ITEMS}: fewer epochs or steps")
        return self

    def steps(self, images: int) -> int:
        """Optimizer steps of a run on so many images."""
        steps = math.ceil(self.epochs * self.tiles_per_image * images / (self.batch * self.accumulation))
        return max(1, min(steps, self.max_steps or steps))

    def for_steps(self, steps: int) -> SamRecipe:
        """The recipe with as many epochs as make about so many steps on one image."""
        epochs = round(steps * self.batch * self.accumulation / self.tiles_per_image)
        return self.model_copy(update={"epochs": max(1, epochs)})
