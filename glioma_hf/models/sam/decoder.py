"""The mask decoder's two-way transformer for many points of one image, without work done twice.

transformers' own forward repeats the image for each point before the first layer, though until that layer's end
the image is the same for all: its keys, values and queries are computed here once. The weights, and the result
within rounding, are those of `SamTwoWayTransformer` and `Sam2TwoWayTransformer`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def two_way(
    transformer: Any, tokens: Tensor, image: Tensor, position: Tensor, prompted: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Tokens and image features after the transformer.

    Args:
        transformer: the decoder's transformer, with or without an adapter in its layers.
        tokens: (B, P, T, C), for each of P points.
        image: (B, N, C), the embedding of each image.
        position: (1, N, C), that of its places.
        prompted: bool (B, P), the K points that are no padding; without it all are.

    Returns tokens (B, P, T, C) and the image as seen from each point (B, P, N, C); with `prompted` (K, 1, T, C) and
    (K, 1, N, C).
    """
    first, seen, places = tokens, image[:, None], position[:, None]
    for number, layer in enumerate(transformer.layers):
        if number == 1 and prompted is not None:
            tokens, first, seen = tokens[prompted][:, None], first[prompted][:, None], seen[prompted][:, None]
        query = tokens if number == 0 else tokens + first
        changed = attention(layer.self_attn, query, query, tokens)
        tokens = layer.layer_norm1(changed if number == 0 else tokens + changed)
        placed = seen + places
        tokens = layer.layer_norm2(tokens + attention(layer.cross_attn_token_to_image, tokens + first, placed, seen))
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
        seen = layer.layer_norm4(seen + attention(layer.cross_attn_image_to_token, placed, tokens + first, tokens))
    changed = attention(transformer.final_attn_token_to_image, tokens + first, seen + places, seen)
    return transformer.layer_norm_final_attn(tokens + changed), seen


def attention(module: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of (B, P, Q, C) on (B, P, K, C); where one side has P = 1, it serves all points of the other."""
    heads = module.num_attention_heads
    query, key, value = (
        projected.unflatten(-1, (heads, -1)).transpose(2, 3)  # (B, P, heads, length, channels)
        for projected in (module.q_proj(query), module.k_proj(key), module.v_proj(value))
    )
    points = max(query.shape[1], key.shape[1])
    if key.shape[1] == 1 < points:  # all points' queries at once
        folded = query.transpose(1, 2).flatten(2, 3)
        attended = _attend(folded, key[:, 0], value[:, 0], module.scaling)
        attended = attended.unflatten(2, (points, -1)).transpose(1, 2)
    elif query.shape[1] == 1 < points:  # all points' keys at once, but each point's softmax of its own
        folded = key.transpose(1, 2).flatten(2, 3)
        weights = (query[:, 0] @ folded.transpose(2, 3)) * module.scaling
        weights = weights.unflatten(-1, (points, -1))  # (B, heads, Q, P, K)
        weights = torch.softmax(weights, -1, dtype=torch.float32).to(value.dtype)
        attended = weights.permute(0, 3, 1, 2, 4) @ value
    else:
        attended = _attend(query, key, value, module.scaling)
    project = module.o_proj if hasattr(module, "o_proj") else module.out_proj  # SAM 2's, SAM's
    return project(attended.transpose(2, 3).flatten(3))


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    weights = torch.softmax((query @ key.transpose(-2, -1)) * scaling, -1, dtype=torch.float32)
    return weights.to(value.dtype) @ value
