"""The peers of `benchmarks/sam.py`: transformers' pipeline and the segment-anything package, with our weights.

Both read only the mask tokens of the "multimask" output, ours is the single one: the two tokens of the small
decoder are swapped for them, which changes nothing else. torchvision, of which there is no build for CPUs alone
here, is stood in for by `install_stand_in`; both need little more of it than suppression by boxes.
"""

from __future__ import annotations

import copy
import sys
import types
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import SamModel
from transformers.pipelines.mask_generation import MaskGenerationPipeline

from glioma_hf.instances import Instances
from glioma_hf.models.sam.sam import CellSam

# From the names of segment-anything to those of transformers, in order.
RENAMED = (
    ("iou_prediction_head.layers.0", "iou_prediction_head.proj_in"),
    ("iou_prediction_head.layers.1", "iou_prediction_head.layers.0"),
    ("iou_prediction_head.layers.2", "iou_prediction_head.proj_out"),
    ("output_upscaling.0", "upscale_conv1"),
    ("output_upscaling.1", "upscale_layer_norm"),
    ("output_upscaling.3", "upscale_conv2"),
    ("mask_downscaling.0", "mask_embed.conv1"),
    ("mask_downscaling.1", "mask_embed.layer_norm1"),
    ("mask_downscaling.3", "mask_embed.conv2"),
    ("mask_downscaling.4", "mask_embed.layer_norm2"),
    ("mask_downscaling.6", "mask_embed.conv3"),
    ("point_embeddings", "point_embed"),
    ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    ("image_encoder", "vision_encoder"),
    ("neck.0", "neck.conv1"),
    ("neck.1", "neck.layer_norm1"),
    ("neck.2", "neck.conv2"),
    ("neck.3", "neck.layer_norm2"),
    ("patch_embed.proj", "patch_embed.projection"),
    (".norm", ".layer_norm"),
    ("blocks", "layers"),
)


def swap_mask_tokens(model: SamModel) -> SamModel:
    """A copy whose two mask tokens have changed places."""
    model = copy.deepcopy(model)
    decoder = model.mask_decoder
    with torch.no_grad():
        decoder.mask_tokens.weight.copy_(decoder.mask_tokens.weight.flip(0))
        last = decoder.iou_prediction_head.proj_out
        last.weight.copy_(last.weight.flip(0))
        last.bias.copy_(last.bias.flip(0))
    first, second = decoder.output_hypernetworks_mlps
    decoder.output_hypernetworks_mlps = nn.ModuleList([second, first])
    return model


def transformers_pipeline(model: CellSam) -> MaskGenerationPipeline:
    """`mask-generation` around the model."""
    from transformers.models.sam import image_processing_pil_sam as processing

    side = model.tile
    processor = processing.SamImageProcessorPil(
        size={"longest_edge": side},
        pad_size={"height": side, "width": side},
        mask_size={"longest_edge": side // 2},
        mask_pad_size={"height": side // 2, "width": side // 2},
    )
    # The method refuses without torchvision; the function it calls is content with the stand-in.
    processor.post_process_for_mask_generation = processing._post_process_for_mask_generation
    plain = SamModel(model.config)
    plain.load_state_dict(swap_mask_tokens(model).state_dict(), strict=False)
    return MaskGenerationPipeline(model=plain.eval(), image_processor=processor, device="cpu")


def segment_anything_model(model: CellSam) -> Any:
    """The same model in the package's own classes."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    vision, decoder = model.config.vision_config, model.config.mask_decoder_config
    side, channels = vision.image_size, vision.output_channels
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=vision.num_hidden_layers,
            embed_dim=vision.hidden_size,
            img_size=side,
            mlp_ratio=vision.mlp_ratio,
            norm_layer=partial(nn.LayerNorm, eps=vision.layer_norm_eps),
            num_heads=vision.num_attention_heads,
            patch_size=vision.patch_size,
            qkv_bias=vision.qkv_bias,
            use_rel_pos=vision.use_rel_pos,
            global_attn_indexes=vision.global_attn_indexes,
            window_size=vision.window_size,
            out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(channels, (side // vision.patch_size,) * 2, (side, side), 16),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=decoder.num_multimask_outputs,
            transformer=TwoWayTransformer(
                decoder.num_hidden_layers, decoder.hidden_size, decoder.num_attention_heads, decoder.mlp_dim
            ),
            transformer_dim=channels,
            iou_head_depth=decoder.iou_head_depth,
            iou_head_hidden_dim=decoder.iou_head_hidden_dim,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    ours = swap_mask_tokens(model).state_dict()
    sam.load_state_dict({name: ours[_renamed(name)] for name in sam.state_dict()})
    return sam.eval()


def pipeline_masks(model: CellSam, grey: np.ndarray, options: dict[str, Any]) -> Instances:
    """Masks of a grey picture (H, W) in 0 ... 1 by transformers' pipeline."""
    picture = Image.fromarray(np.round(grey * 255).astype(np.uint8)).convert("RGB")
    found = transformers_pipeline(model)(
        picture,
        points_per_batch=options["points_per_batch"],
        points_per_crop=options["points"],
        crops_n_layers=options["layers"],
        pred_iou_thresh=options["score"],
        stability_score_thresh=options["stability"],
        stability_score_offset=options["offset"],
        crops_nms_thresh=options["nms"],
    )
    masks = [np.asarray(mask, bool) for mask in found["masks"]]
    return Instances.from_masks(masks, grey.shape, scores=np.asarray(found["scores"], float).ravel())


def segment_anything_masks(model: CellSam, grey: np.ndarray, options: dict[str, Any]) -> Instances:
    """Masks of a grey picture (H, W) in 0 ... 1 by segment-anything's generator."""
    from segment_anything import SamAutomaticMaskGenerator

    generator = SamAutomaticMaskGenerator(
        segment_anything_model(model),
        points_per_side=options["points"],
        points_per_batch=options["points_per_batch"],
        pred_iou_thresh=options["score"],
        stability_score_thresh=options["stability"],
        stability_score_offset=options["offset"],
        box_nms_thresh=options["nms"],
        crop_n_layers=options["layers"],
        crop_nms_thresh=options["nms"],
        output_mode="coco_rle",
    )
    found = generator.generate(np.repeat(np.round(grey * 255).astype(np.uint8)[..., None], 3, 2))
    scores = np.array([row["predicted_iou"] for row in found], float)
    rles = [{**row["segmentation"], "counts": row["segmentation"]["counts"].encode()} for row in found]
    return Instances.from_rles(rles, grey.shape, scores=scores)


def install_stand_in() -> None:
    """Modules named as torchvision's, with the few functions that the peers call."""
    if "torchvision" in sys.modules:
        return

    def box_area(boxes: torch.Tensor) -> torch.Tensor:
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: Any, iou_threshold: float) -> torch.Tensor:
        order = scores.flatten().argsort(descending=True)
        boxes = boxes[order].double()
        low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        shared = (high - low).clamp(min=0).prod(-1)
        area = box_area(boxes)
        clash = shared > iou_threshold * (area[:, None] + area[None] - shared)
        kept = torch.ones(len(boxes), dtype=torch.bool)
        for i in range(len(boxes)):
            if kept[i]:
                kept[i + 1 :] &= ~clash[i, i + 1 :]
        return order[kept]

    def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)

    made = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
    }
    for name, functions in made.items():
        module = types.ModuleType(name)
        module.__dict__.update(functions)
        sys.modules[name] = module


def _renamed(name: str) -> str:
    if "output_hypernetworks_mlps" in name:
        head, layer = name.rsplit(".layers.", 1)
        number, kind = layer.split(".")
        return f"{head}.{('proj_in', 'layers.0', 'proj_out')[int(number)]}.{kind}"
    for old, new in RENAMED:
        name = name.replace(old, new)
    return name
