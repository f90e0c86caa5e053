"""A SAM that can also say where to ask: transformers' `SamModel` with a light head for cell centres.

A grid of points asks mostly background. The head reads the image embedding and gives a heat map of
cell cores at twice its resolution; its peaks are the prompts. It is one more module of the model, so
that `peft` trains and stores it with an adapter (`modules_to_save`). A checkpoint without the head
(any `facebook/sam-vit-*`) loads as well; it is then asked on a grid until the head is trained.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention

from glioma_hf.models.sam.decoder import two_way
from glioma_hf.models.sam.preprocess import to_pixels

EMBEDDED = "embedded"
WEIGHTS = Path(__file__).parent / "weights"
CENTRE_PRIOR = 0.02  # share of heat-map cells that are centres: the start value of the head's bias


class CentreHead(nn.Module):
    """Heat map of cell cores from an image embedding: (B, C, h, w) -> logits (B, 2h, 2w)."""

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
        hidden = self.activation(self.mix(embedding))
        hidden = self.activation(self.refine(self.activation(self.upscale(hidden))))
        return self.out(hidden).squeeze(1)


class CellSam(SamModel):
    """`SamModel` with a `centre_head`; `config.centres_trained` says whether the head was ever trained."""

    def __init__(self, config: SamConfig):
        super().__init__(config)
        # A handful of tokens against a thousand pixels: plain products beat fused attention there.
        config.mask_decoder_config._attn_implementation = "eager"
        vision = config.vision_config
        if not vision.use_rel_pos:
            # The same holds for the few tokens of a window, above all in the backward pass on a CPU.
            for layer in self.vision_encoder.layers:
                if layer.window_size > 0:
                    plain = SamVisionAttention(vision, layer.window_size)
                    plain.qkv, plain.proj = layer.attn.qkv, layer.attn.proj
                    layer.attn = plain
        self.centre_head = CentreHead(config.vision_config.output_channels)
        if not hasattr(config, "centres_trained"):
            config.centres_trained = False

    def forward(self, *args: Any, tiles: Tensor | None = None, **kwargs: Any) -> Any:
        """As `SamModel`'s; with `tiles`, all that training needs in one call, as wrappers of models want it.

        Args:
            tiles: contrast-raised grey tiles (B, S, S); then also
            points: (B, P, 2) prompts,
            asked: bool (B, P), those that are no padding, and
            drawn: bool (B, P), those of them whose masks are wanted.

        Returns with `tiles`: a dict of `heat` (B, S/4, S/4), `quality` (B, P), 0 for padding, and `logits`
        (drawn, S/2, S/2).
        """
        if tiles is None:
            return super().forward(*args, **kwargs)
        embedding = self.encode(to_pixels(tiles))
        asked, drawn = kwargs["asked"], kwargs["drawn"]
        tokens, features, quality = self.attend(embedding, kwargs["points"], asked)
        chosen = drawn[asked]
        spread = torch.zeros_like(asked, dtype=quality.dtype).masked_scatter(asked, quality)
        return {
            "heat": self.centre_head(embedding),
            "quality": spread,
            "logits": self.upscale(tokens[chosen], features[chosen]),
        }

    def encode(self, pixels: Tensor) -> Tensor:
        """Image embeddings (B, C, h, w) of normalised tiles (B, 3, S, S), with gradients."""
        return self.vision_encoder(pixels).last_hidden_state

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

    def attend(self, embedding: Tensor, points: Tensor, asked: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """First half of the mask decoder, for every point: what decides whether its mask is worth drawing.

        Returns the mask token (B, P, C), the image features seen from each point (B, P, h * w, C) and
        the predicted IoU (B, P); with `asked`, bool (B, P), of the K points asked alone, without the axis B.
        `upscale` turns the first two into a mask.
        """
        decoder = self.mask_decoder
        b, p = points.shape[:2]
        labels = torch.ones(points.shape[:2], dtype=torch.int64, device=points.device)
        prompts, dense = self.prompt_encoder(points[:, :, None], labels[:, :, None], None, None)
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(b, p, -1, -1)
        tokens = torch.cat([own, prompts.to(own.dtype)], 2)
        position = self.get_image_wide_positional_embeddings().to(embedding.dtype)
        image = (embedding + dense[:b].to(embedding.dtype)).flatten(2).transpose(1, 2)
        tokens, features = two_way(decoder.transformer, tokens, image, position.flatten(2).transpose(1, 2), asked)
        if asked is not None:
            tokens, features = tokens[:, 0], features[:, 0]
        return tokens[..., 1, :], features, decoder.iou_prediction_head(tokens[..., 0, :])[..., 0]

    def upscale(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Second half of the mask decoder: mask tokens (P, C), features (P, h * w, C) -> logits (P, 4h, 4w)."""
        decoder = self.mask_decoder
        side = math.isqrt(features.shape[1])
        image = features.transpose(1, 2).reshape(len(features), -1, side, side)
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image)))
        image = decoder.activation(decoder.upscale_conv2(image))
        weights = decoder.output_hypernetworks_mlps[0](tokens)
        return torch.einsum("pc,pchw->phw", weights, image)

    @property
    def tile(self) -> int:
        """Side of the square input in pixels."""
        return int(self.config.vision_config.image_size)

    @property
    def mask_side(self) -> int:
        """Side of the decoder's masks in pixels."""
        return 4 * self.tile // int(self.config.vision_config.patch_size)

    @property
    def heat_side(self) -> int:
        """Side of the heat map of cores."""
        return 2 * self.tile // int(self.config.vision_config.patch_size)

    def at_tile(self, side: int) -> CellSam:
        """The model for another input size: positions are interpolated, all other weights are the same.

        Example: CellSeg1 runs SAM, made for 1024 pixels, at 512 (a quarter of the work).
        """
        if side == self.tile:
            return self
        config = copy.deepcopy(self.config)
        config.vision_config.image_size = config.prompt_encoder_config.image_size = side
        grid = side // config.vision_config.patch_size
        config.prompt_encoder_config.image_embedding_size = grid
        model = CellSam(config)
        state = self.state_dict()
        for name, value in model.state_dict().items():
            kept = state[name].float()
            if kept.shape != value.shape and "pos_embed" in name:  # (1, h, w, C)
                kept = F.interpolate(kept.permute(0, 3, 1, 2), (grid, grid), mode="bicubic").permute(0, 2, 3, 1)
            elif kept.shape != value.shape:  # relative positions (2h - 1, c) of global attention
                kept = F.interpolate(kept.T[None], value.shape[0], mode="linear")[0].T
            state[name] = kept
        model.load_state_dict(state)
        return model.train(self.training)


def small_config(
    image_size: int = 256, hidden: int = 192, layers: int = 8, heads: int = 6, channels: int = 128
) -> SamConfig:
    """A SAM of a few million parameters: patches of 8 pixels, masks at half the input's resolution."""
    vision = SamVisionConfig(
        hidden_size=hidden,
        output_channels=channels,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=image_size,
        patch_size=8,
        initializer_range=0.02,  # the library's default, 1e-10, never learns from scratch
        use_rel_pos=False,
        window_size=8,
        global_attn_indexes=[i for i in range(layers) if i % 4 == 3 or i == layers - 1],
        num_pos_feats=channels // 2,
    )
    prompt = SamPromptEncoderConfig(hidden_size=channels, image_size=image_size, patch_size=8)
    prompt.image_embedding_size = image_size // 8
    decoder = SamMaskDecoderConfig(
        hidden_size=channels,
        mlp_dim=4 * channels,
        num_attention_heads=4,
        num_multimask_outputs=1,
        iou_head_hidden_dim=channels,
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def new_model(config: SamConfig, seed: int = 0) -> CellSam:
    """A model with start values from which SAM learns from scratch.

    Against the library's: a Fourier matrix of spread 1 that stays fixed, cross-attention whose queries
    and keys begin equal (a point then finds its own place), larger decoder weights.
    """
    torch.manual_seed(seed)
    model = CellSam(config)
    with torch.no_grad():
        matrix = model.shared_image_embedding.positional_embedding
        matrix.normal_(0, 1.0)
        if model.prompt_encoder.shared_embedding.positional_embedding is not matrix:
            model.prompt_encoder.shared_embedding.positional_embedding.copy_(matrix)
        nn.init.normal_(model.vision_encoder.pos_embed, std=0.02)
        for module in model.mask_decoder.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
        transformer = model.mask_decoder.transformer
        crossings = [transformer.final_attn_token_to_image]
        for layer in transformer.layers:
            crossings += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
        for attention in crossings:
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            attention.k_proj.bias.copy_(attention.q_proj.bias)
    freeze_positions(model)
    return model


def freeze_positions(model: CellSam) -> None:
    """Keep the Fourier matrix of positions as it is while training."""
    for name, parameter in model.named_parameters():
        if "positional_embedding" in name:
            parameter.requires_grad_(False)
