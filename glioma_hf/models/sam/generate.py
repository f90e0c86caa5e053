"""From an image of any size to instances that may overlap: SAM asked tile by tile.

Tiles overlap; each prompt is asked in the tile in whose middle it lies, so that a cell cut by one
tile's edge is seen whole by the next. Prompts are the peaks of the centre head, a grid (CellSeg1's
mode), or what another model found. Masks are judged by the predicted IoU before they are drawn and by
stability before they are enlarged; only survivors get pixels at full resolution, inside their own boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from peft import PeftModel
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size
from glioma_hf.models.base import Pixels, Segmenter, check_image
from glioma_hf.models.candidates import Ranked, SelectionSettings, enlarge
from glioma_hf.models.device import has_fast_bfloat16
from glioma_hf.models.sam.cell_model import CellModel
from glioma_hf.models.sam.lora import unwrap
from glioma_hf.models.sam.preprocess import raise_contrast, to_pixels
from glioma_hf.models.sam.prompts import in_tile, prompts_of
from glioma_hf.models.sam.recipe import Scale
from glioma_hf.models.tiles import Tile, owned, tiles_over
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.rle import BoxMask


class GenerationSettings(SelectionSettings):
    """How masks are asked for and which are kept; thresholds are to be chosen on validation data."""

    prompts: Literal["centres", "grid", "model"] = "centres"  # model: what another one finds, see `prompted_by`
    prompt_boxes: bool = False  # with the prompts of a model: its boxes too, which published SAMs know how to read
    centre_thresh: float = Field(0.15, ge=0, le=1)  # heat from which a peak is asked
    points_per_side: int = Field(16, ge=1, le=256)  # of the grid in one tile; CellSeg1 has 32 on a tile twice as wide
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1, max_length=8)  # the image is seen at
    overlap: float = Field(0.5, ge=0, le=0.9)  # of neighbouring tiles; 0.375 is 1.5 times faster
    cell_diameter: float = Field(50.0, gt=0, le=10**5)  # pixels: the circle of the area of cells in training
    pred_iou_thresh: float = Field(0.5, ge=0, le=1)  # predicted IoU
    stability_score_thresh: float = Field(0.6, ge=0, le=1)
    stability_score_offset: float = Field(0.8, ge=0, le=100)  # of the logits, up and down
    max_area_share: float = Field(0.6, ge=0, le=1)  # of a tile
    tiles_per_batch: int = Field(4, ge=1, le=256)
    points_per_batch: int = Field(16, ge=1, le=4096)

    @property
    def least_score(self) -> float:
        """See `SelectionSettings`."""
        return self.pred_iou_thresh

    def for_diameter(self, diameter: float) -> GenerationSettings:
        """The settings for images whose cells are about `diameter` pixels wide instead of `cell_diameter`."""
        factor = diameter / self.cell_diameter
        return self.model_copy(
            update={
                "scales": tuple(scale / factor for scale in self.scales),
                "min_area": round(self.min_area * factor**2),
                "cell_diameter": diameter,
            }
        )


class SamSegmenter(Segmenter):
    """A `Segmenter` around a SAM, with or without an adapter.

    Example:
        segmenter = SamSegmenter(load_base())
        cells = segmenter.segment(read_image("cells.tif"))
    """

    def __init__(self, model: CellModel | PeftModel, settings: GenerationSettings | None = None):
        self.adapted = model if isinstance(model, PeftModel) else None
        self.model = unwrap(model).eval()
        self.settings = settings or GenerationSettings()
        self.finder: Segmenter | None = None
        self.device = next(self.model.parameters()).device
        self.fast = has_fast_bfloat16(self.device)

    @property
    def score_threshold(self) -> float:
        """The predicted IoU from which a mask is kept."""
        return self.settings.pred_iou_thresh

    def with_score_threshold(self, threshold: float) -> SamSegmenter:
        """The same model with another threshold of the predicted IoU."""
        return self.with_settings(pred_iou_thresh=threshold)

    def for_diameter(self, diameter: float) -> SamSegmenter:
        """The same model for images whose cells are about `diameter` pixels across."""
        other = self.with_settings(**self.settings.for_diameter(diameter).model_dump())
        other.finder = None if self.finder is None else self.finder.for_diameter(diameter)
        return other

    def prompted_by(self, finder: Segmenter) -> SamSegmenter:
        """The same model, asked for the masks of what `finder` finds; see `Segmenter`."""
        other = self.with_settings(prompts="model")
        other.finder = finder
        return other

    @property
    def prompts(self) -> str:
        """How masks are asked for: a model whose head for centres was never trained is asked on a grid.

        Raises `InputError` where another model should say where, and none was given.
        """
        if self.settings.prompts == "model":
            if self.finder is None:
                raise InputError("prompts of a model need one that finds cells; give it as the finder")
            return "model"
        return self.settings.prompts if self.model.config.centres_trained else "grid"

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first; see `Segmenter`."""
        return Ranked(self.candidates(image, on_progress)).select(self.settings)

    @torch.inference_mode()
    def candidates(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Every mask that passes the thresholds of `settings`, before they are compared with each other."""
        image = check_image(image)
        size = image.shape[:2]
        side = self.model.tile
        picture = raise_contrast(image)
        views = [_resized(picture, scale, side) for scale in self.settings.scales]
        overlap = self.settings.overlap
        tiles = [
            tiles_over(v.shape, side, overlap, scale) for v, scale in zip(views, self.settings.scales, strict=True)
        ]
        total = sum(map(len, tiles))
        asked = self._found(image, total, on_progress)
        masks: list[BoxMask] = []
        scores: list[float] = []
        done = 0
        for view, parts in zip(views, tiles, strict=True):
            for start in range(0, len(parts), self.settings.tiles_per_batch):
                batch = parts[start : start + self.settings.tiles_per_batch]
                pixels = np.stack([view[t.top : t.top + side, t.left : t.left + side] for t in batch])
                for mask, score in self._masks_of_tiles(batch, torch.from_numpy(pixels).to(self.device), asked, size):
                    masks.append(mask)
                    scores.append(score)
                done += len(batch)
                on_progress(Progress(done=done, total=total))
        return Instances.from_box_masks(masks, size, scores=np.array(scores))

    def _found(self, image: np.ndarray, total: int, on_progress: OnProgress) -> np.ndarray | None:
        """The prompts of another model, see `prompts_of`, where that is what the settings ask for."""
        if self.prompts != "model":
            return None
        assert self.finder is not None
        return prompts_of(self.finder.segment(image, lambda _: on_progress(Progress("finding cells", 0, total))))

    def _masks_of_tiles(
        self, tiles: list[Tile], pixels: Tensor, asked: np.ndarray | None, size: tuple[int, int]
    ) -> Iterator[tuple[BoxMask, float]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            embeddings = self.model.encode(to_pixels(pixels))
            points = self._prompts(embeddings, tiles, asked)
            for number, tile in enumerate(tiles):
                for chunk in points[number].split(self.settings.points_per_batch):
                    yield from self._masks_of_points(embeddings[number : number + 1], chunk, tile, size)

    def _prompts(self, embeddings: Tensor, tiles: list[Tile], asked: np.ndarray | None) -> list[Tensor]:
        """Points (P, 2), or with boxes (P, 6), in pixels of each tile, inside the part it answers for."""
        if asked is not None:
            side, boxes = self.model.tile, self.settings.prompt_boxes
            return [in_tile(asked, tile, side, boxes).to(self.device) for tile in tiles]
        if self.prompts == "centres":
            heat = torch.sigmoid(self.model.centre_head(embeddings).float())
            peaks = (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat >= self.settings.centre_thresh)
            # A peak may move by a cell of the heat map between tiles: both answer there, lest neither does.
            stride = margin = self.model.tile / heat.shape[-1]
            points = [torch.nonzero(p).flip(1) * stride + stride / 2 for p in peaks]
        else:
            step = self.model.tile / self.settings.points_per_side
            axis = (torch.arange(self.settings.points_per_side, device=self.device) + 0.5) * step
            grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
            points, margin = [grid] * len(tiles), 0.0
        return [owned(each.float(), tile, margin) for each, tile in zip(points, tiles, strict=True)]

    def _masks_of_points(
        self, embedding: Tensor, points: Tensor, tile: Tile, size: tuple[int, int]
    ) -> Iterator[tuple[BoxMask, float]]:
        settings, side = self.settings, self.model.tile
        if not len(points):
            return
        boxes = points[None, :, 2:] if points.shape[1] > 2 else None
        tokens, features, quality = self.model.attend(embedding, points[None, :, :2], boxes=boxes)
        quality = quality[0].float()
        kept = quality >= settings.pred_iou_thresh
        if not kept.any():
            return
        logits = self.model.upscale(tokens[0, kept], features[0, kept]).float()
        quality = quality[kept]
        wide = (logits > -settings.stability_score_offset).sum((1, 2))
        narrow = (logits > settings.stability_score_offset).sum((1, 2))
        area = (logits > 0).sum((1, 2)) * (side / logits.shape[-1]) ** 2
        kept = (
            (narrow / wide.clamp(min=1) >= settings.stability_score_thresh)
            & (area >= settings.min_area * tile.scale**2)
            & (area <= settings.max_area_share * side**2)
        )
        for mask, score in zip(logits[kept].cpu().numpy(), quality[kept].tolist(), strict=True):
            corner, stride = (tile.top / tile.scale, tile.left / tile.scale), side / len(mask) / tile.scale
            box_mask = enlarge(mask, 0, corner, stride, size)
            if box_mask is not None:
                yield box_mask, min(max(score, 0.0), 1.0)


def _resized(picture: np.ndarray, scale: float, side: int) -> np.ndarray:
    """The picture at another scale, at least one tile large."""
    if scale != 1:
        height, width = (max(1, round(length * scale)) for length in picture.shape)
        check_size((height, width))
        grey = torch.from_numpy(picture)[None, None]
        picture = F.interpolate(grey, (height, width), mode="bilinear", antialias=scale < 1)[0, 0].numpy()
    missing = [max(0, side - length) for length in picture.shape]
    mode: Literal["reflect", "edge"] = "reflect" if max(missing) < min(picture.shape) else "edge"
    return np.pad(picture, ((0, missing[0]), (0, missing[1])), mode=mode)
