"""What a network of few images sees, how its encoder and decoder are built, how crops differ from images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SHRINK = 2  # pixels of the image per pixel that the network sees, at scale 1
STRIDE = 2  # of those per cell of the heat map and of the masks
COARSEST = 32  # pixels that the network sees per cell of its coarsest map: the least step of its input's sides
# Axes turned round, by the number of views of an image that are averaged; three are MediarFormer's.
MIRRORED: dict[int, list[list[int]]] = {
    1: [[]],
    2: [[], [-2, -1]],
    3: [[], [-1], [-2]],
    4: [[], [-1], [-2], [-2, -1]],
}

Width = Annotated[int, Field(ge=4, le=1024)]


class EncoderConfig(BaseModel):
    """Which encoder a network has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field("lite0", max_length=200)  # lite0, lite2, tiny or a backbone of transformers by its Hub name
    backbone: dict[str, Any] | None = None  # the config of such a backbone; filled in when it is loaded


class TrunkConfig(EncoderConfig):
    """How an encoder and the decoder above it are built; a family adds its heads."""

    frozen_features: Literal["deepsea"] | None = "deepsea"  # a network for phase contrast read beside the encoder
    frozen_scale: float = Field(0.8, ge=0.1, le=4)  # of the input that it sees
    widths: tuple[Width, Width, Width, Width] = (128, 96, 64, 32)  # of the decoder at strides 16, 8, 4, 2
    joined: Width = 32  # channels that frozen features are brought down to


class Augmentation(BaseModel):
    """How crops differ from the images; lengths are half ranges, of logarithms where a factor is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    near_cell: float = Field(0.75, ge=0, le=1)  # share of crops that lie about a cell
    scale: tuple[float, float] = (0.7, 1.4)  # least and greatest
    aspect: float = Field(0.1, ge=0, le=1)
    gamma: float = Field(0.3, ge=0, le=2)
    gain: float = Field(0.4, ge=0, le=2)
    offset: float = Field(0.3, ge=0, le=5)  # in standard deviations of the image, as the next two
    illumination: float = Field(0.35, ge=0, le=5)  # standard deviation of a 3 x 3 field laid over the crop
    illuminated: float = Field(0.4, ge=0, le=1)  # share of crops
    noise: float = Field(0.25, ge=0, le=5)  # greatest
    noisy: float = Field(0.5, ge=0, le=1)  # share of crops
    blur: tuple[float, float] = (0.3, 1.3)  # pixels of the crop
    blurred: float = Field(0.35, ge=0, le=1)  # share of crops

    @field_validator("scale", "blur")
    @classmethod
    def _in_order(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0.05 <= limits[0] <= limits[1] <= 20:
            raise ValueError("from the least to the greatest, within 0.05 and 20")
        return limits
