"""A SAM that can also say where to ask: what `SamModel` and `Sam2Model` of transformers have in common here.

A grid of points asks mostly background. A light head reads the image embedding and gives a heat map of
cell cores at twice its resolution; its peaks are the prompts. It is one more module of the model, so
that `peft` trains and stores it with an adapter (`modules_to_save`). A checkpoint without the head
(any `facebook/sam-vit-*` or `facebook/sam2*`) loads as well; it is then prompted on a grid until the head is trained.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from glioma_hf.models.sam.decoder import two_way
from glioma_hf.models.sam.preprocess import to_pixels

# To type checkers a module's parts are anything, as those of transformers' untyped models.
Module: Any = nn.Module

CENTRE_PRIOR = 0.02  # share of heat-map cells that are centres: the start value of the head's bias


class CentreHead(nn.Module):
    """Heat map of cell cores from an image embedding's first C channels: (B, E, h, w) -> logits (B, 2h, 2w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.upscale = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
        self.refine = nn.Conv2d(channels // 2, channels // 4, 3, padding=1)
        self.out = nn.Conv2d(channels // 4, 1, 1)
        self.activation = nn.GELU()
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias, math.log(CENTRE_PRIOR / (1 - CENTRE_PRIOR)))

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits of the heat map."""
        hidden = self.activation(self.mix(embedding[:, : self.mix.in_channels]))
        hidden = self.activation(self.refine(self.activation(self.upscale(hidden))))
        return self.out(hidden).squeeze(1)


class CellModel(Module):
    """A promptable model with a `centre_head`; `config.centres_trained` says whether the head was ever trained."""

    config: Any
    centre_head: CentreHead

    def forward(self, *args: Any, tiles: Tensor | None = None, **kwargs: Any) -> Any:
        """As transformers' forward; with `tiles`, all that training needs in one call, as wrappers of models want it.

        Args:
            tiles: contrast-raised grey tiles (B, S, S); then also
            points: (B, P, 2) prompts,
            prompted: bool (B, P), those that are no padding, and
            drawn: bool (B, P), those of them whose masks are drawn.

        Returns with `tiles`: a dict of `heat` (B, S/4, S/4), `quality` (B, P), 0 for padding, and `logits`
        (drawn, S/2, S/2).
        """
        if tiles is None:
            return super().forward(*args, **kwargs)
        embedding = self.encode(to_pixels(tiles))
        prompted, drawn = kwargs["prompted"], kwargs["drawn"]
        tokens, features, quality = self.attend(embedding, kwargs["points"], prompted)
        chosen = drawn[prompted]
        spread = torch.zeros_like(prompted, dtype=quality.dtype).masked_scatter(prompted, quality)
        return {
            "heat": self.centre_head(embedding),
            "quality": spread,
            "logits": self.upscale(tokens[chosen], features[chosen]),
        }

    @abstractmethod
    def encode(self, pixels: Tensor) -> Tensor:
        """Image embeddings (B, E, h, w) of normalised tiles (B, 3, S, S), with gradients."""

    def decode(self, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """One mask per point of each image: logits (B, P, m, m) with m = 4h, predicted IoU (B, P).

        Args:
            embedding: (B, C, h, w) from `encode`.
            points: (B, P, 2), (x, y) in pixels of the tile.
        """
        tokens, features, quality = self.attend(embedding, points)
        b, p = points.shape[:2]
        masks = self.upscale(tokens.flatten(0, 1), features.flatten(0, 1))
        return masks.reshape(b, p, *masks.shape[-2:]), quality

    @abstractmethod
    def attend(
        self, embedding: Tensor, points: Tensor, prompted: Tensor | None = None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First half of the mask decoder, for every point: what decides whether its mask is worth drawing.

        With `boxes` (B, P, 4), left, top, right and bottom in pixels of the tile, each point is asked with its box.

        Returns the mask token (B, P, C), the image features seen from each point (B, P, h * w, E) and
        the predicted IoU (B, P); with `prompted`, bool (B, P), of the K prompted points alone, without the axis B.
        `upscale` turns the first two into a mask.
        """

    def _ask(
        self, own: Tensor, image: Tensor, points: Tensor, prompted: Tensor | None, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The decoder's transformer on its `own` tokens (T, C), an image (B, C, h, w) and points (B, P, 2).

        Returns tokens (B, P, T', C), the own ones first, and image features (B, P, h * w, C); for `prompted` and
        `boxes` see `attend`.
        """
        b, p = points.shape[:2]
        labels = torch.ones(points.shape[:2], dtype=torch.int64, device=points.device)
        prompts, dense = self.prompt_encoder(points[:, :, None], labels[:, :, None], boxes, None)
        tokens = torch.cat([own.expand(b, p, -1, -1), prompts.to(own.dtype)], 2)
        position = self.get_image_wide_positional_embeddings().to(image.dtype)
        image = (image + dense[:b].to(image.dtype)).flatten(2).transpose(1, 2)
        position = position.flatten(2).transpose(1, 2)
        tokens, features = two_way(self.mask_decoder.transformer, tokens, image, position, prompted)
        return (tokens, features) if prompted is None else (tokens[:, 0], features[:, 0])

    @abstractmethod
    def upscale(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Second half of the mask decoder: mask tokens (P, C), features (P, h * w, E) -> logits (P, 4h, 4w)."""

    @abstractmethod
    def at_tile(self, side: int) -> CellModel:
        """The model for another input size: positions are interpolated, all other weights are the same.

        Example: CellSeg1 runs SAM, made for 1024 pixels, at 512 (a quarter of the work).
        """

    @property
    @abstractmethod
    def patch(self) -> int:
        """Pixels of the tile per cell of the embedding."""

    @property
    def tile(self) -> int:
        """Side of the square input in pixels."""
        return int(self.config.prompt_encoder_config.image_size)

    @property
    def mask_side(self) -> int:
        """Side of the decoder's masks in pixels."""
        return 4 * self.tile // self.patch

    @property
    def heat_side(self) -> int:
        """Side of the heat map of cores."""
        return 2 * self.tile // self.patch


def grid_of(features: Tensor) -> Tensor:
    """Features (P, h * w, C) of a square image as (P, C, h, w)."""
    side = math.isqrt(features.shape[1])
    return features.transpose(1, 2).reshape(len(features), -1, side, side)
