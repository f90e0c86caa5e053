"""transformers' `SamModel` as a `CellModel`, and the embedded model's size and start values."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionAttention

from glioma_hf.models.sam.cell_model import CellModel, CentreHead, grid_of

WEIGHTS = Path(__file__).parent / "weights"


class CellSam(CellModel, SamModel):
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

    def encode(self, pixels: Tensor) -> Tensor:
        """Image embeddings (B, C, h, w) of normalised tiles (B, 3, S, S), with gradients."""
        return self.vision_encoder(pixels).last_hidden_state

    def attend(
        self, embedding: Tensor, points: Tensor, prompted: Tensor | None = None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First half of the mask decoder; see `CellModel.attend`, with E = C."""
        decoder = self.mask_decoder
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens, features = self._ask(own, embedding, points, prompted, boxes)
        return tokens[..., 1, :], features, decoder.iou_prediction_head(tokens[..., 0, :])[..., 0]

    def upscale(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Second half of the mask decoder: mask tokens (P, C), features (P, h * w, C) -> logits (P, 4h, 4w)."""
        decoder = self.mask_decoder
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(grid_of(features))))
        image = decoder.activation(decoder.upscale_conv2(image))
        weights = decoder.output_hypernetworks_mlps[0](tokens)
        return torch.einsum("pc,pchw->phw", weights, image)

    @property
    def patch(self) -> int:
        """Pixels of the tile per cell of the embedding."""
        return int(self.config.vision_config.patch_size)

    def at_tile(self, side: int) -> CellSam:
        """The model for another input size; see `CellModel.at_tile`."""
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
