"""transformers' `Sam2Model` as a `CellModel`: a hierarchical encoder, whose finer features help to draw masks."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2Config, Sam2Model

from glioma_hf.models.sam.cell_model import CellModel, CentreHead, grid_of


class CellSam2(CellModel, Sam2Model):
    """`Sam2Model` with a `centre_head`, asked for the first mask of each point.

    An embedding has E = 4C channels: the C that SAM's has, then the features of twice and of four times its
    resolution, folded down (C/4 of 2 x 2 cells, C/8 of 4 x 4), so that whatever hands embeddings on needn't know
    of them.
    """

    def __init__(self, config: Sam2Config):
        super().__init__(config)
        self.centre_head = CentreHead(self.hidden_dim)
        if not hasattr(config, "centres_trained"):
            config.centres_trained = False

    def encode(self, pixels: Tensor) -> Tensor:
        """Image embeddings (B, 4C, h, w) of normalised tiles (B, 3, S, S), with gradients."""
        found: Any = self.get_image_features(pixels, return_dict=True)
        sizes = self.backbone_feature_sizes
        fine, middle, coarse = (
            part.permute(1, 2, 0).unflatten(2, tuple(size))
            for part, size in zip(found.fpn_hidden_states, sizes, strict=True)
        )
        coarse = coarse + self.no_memory_embedding.reshape(1, -1, 1, 1)
        return torch.cat([coarse, F.pixel_unshuffle(middle, 2), F.pixel_unshuffle(fine, 4)], 1)

    def attend(
        self, embedding: Tensor, points: Tensor, prompted: Tensor | None = None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First half of the mask decoder; see `CellModel.attend`, with E = 4C."""
        decoder = self.mask_decoder
        own = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens, seen = self._ask(own, embedding[:, : self.hidden_dim], points, prompted, boxes)
        finer = embedding[:, self.hidden_dim :].flatten(2).transpose(1, 2)[:, None].expand(*points.shape[:2], -1, -1)
        finer = finer if prompted is None else finer[prompted]
        quality = decoder.iou_prediction_head(tokens[..., 1, :])[..., 0]
        return tokens[..., 2, :], torch.cat([seen, finer.to(seen.dtype)], -1), quality

    def upscale(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Second half of the mask decoder: mask tokens (P, C), features (P, h * w, 4C) -> logits (P, 4h, 4w)."""
        decoder = self.mask_decoder
        coarse, middle, fine = grid_of(features).split([self.hidden_dim, self.hidden_dim, 2 * self.hidden_dim], 1)
        image = decoder.upscale_conv1(coarse) + F.pixel_shuffle(middle, 2)
        image = decoder.activation(decoder.upscale_layer_norm(image))
        image = decoder.activation(decoder.upscale_conv2(image) + F.pixel_shuffle(fine, 4))
        return torch.einsum("pc,pchw->phw", decoder.output_hypernetworks_mlps[0](tokens), image)

    @property
    def patch(self) -> int:
        """Pixels of the tile per cell of the embedding."""
        return int(self.config.prompt_encoder_config.patch_size)

    def at_tile(self, side: int) -> CellSam2:
        """The model for another input size; see `CellModel.at_tile`. Its encoder interpolates positions by itself."""
        if side == self.tile:
            return self
        config = copy.deepcopy(self.config)
        config.prompt_encoder_config.image_size = side
        config.vision_config.backbone_config.image_size = [side, side]
        config.vision_config.backbone_feature_sizes = [[side * k // self.patch] * 2 for k in (4, 2, 1)]
        model = CellSam2(config)
        model.load_state_dict(self.state_dict())
        return model.train(self.training)
