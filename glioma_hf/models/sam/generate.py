"""From an image of any size to instances that may overlap: SAM asked tile by tile.

Tiles overlap; each prompt is asked in the tile in whose middle it lies, so that a cell cut by one
tile's edge is seen whole by the next. Prompts are the peaks of the centre head, or a grid
(CellSeg1's mode). Masks are judged by the predicted IoU before they are drawn and by stability before
they are enlarged; only survivors get pixels at full resolution, inside their own boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from peft import PeftModel
from pydantic import Field
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.instances import Instances, check_size
from glioma_hf.metrics.overlaps import overlaps
from glioma_hf.models.base import Segmenter, Settings, check_image
from glioma_hf.models.device import has_fast_bfloat16
from glioma_hf.models.sam.cell_model import CellModel
from glioma_hf.models.sam.lora import unwrap
from glioma_hf.models.sam.preprocess import raise_contrast, to_pixels
from glioma_hf.models.sam.recipe import Scale
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.rle import BoxMask

_BLOCK = 1024  # candidates that are compared with all behind them in one go


class GenerationSettings(Settings):
    """How masks are asked for and which are kept; thresholds are to be chosen on validation data."""

    prompts: Literal["centres", "grid"] = "centres"
    centre_thresh: float = Field(0.15, ge=0, le=1)  # heat from which a peak is asked
    points_per_side: int = Field(16, ge=1, le=256)  # of the grid in one tile; CellSeg1 has 32 on a tile twice as wide
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1, max_length=8)  # the image is seen at
    overlap: float = Field(0.5, ge=0, le=0.9)  # of neighbouring tiles; 0.375 is 1.5 times faster
    cell_diameter: float = Field(50.0, gt=0, le=10**5)  # pixels: the circle of the area of cells in training
    pred_iou_thresh: float = Field(0.5, ge=0, le=1)  # predicted IoU
    stability_score_thresh: float = Field(0.6, ge=0, le=1)
    stability_score_offset: float = Field(0.8, ge=0, le=100)  # of the logits, up and down
    mask_nms_iou: float = Field(0.35, ge=0, le=1)  # two masks of more are one cell; CellSeg1 has 0.05
    mask_nms_cover: float = Field(0.7, ge=0, le=1)  # of the smaller of two masks
    min_area: int = Field(60, ge=0, le=2**28)  # pixels
    max_area_share: float = Field(0.6, ge=0, le=1)  # of a tile
    tiles_per_batch: int = Field(4, ge=1, le=256)
    points_per_batch: int = Field(16, ge=1, le=4096)

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


@dataclass(frozen=True)
class _Tile:
    top: int
    left: int
    own: tuple[float, float, float, float]  # top, left, bottom, right of the part whose prompts it answers
    scale: float  # pixels of the tile per pixel of the image


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
        return self.with_settings(**self.settings.for_diameter(diameter).model_dump())

    @property
    def prompts(self) -> str:
        """How masks are asked for: a model whose head for centres was never trained is asked on a grid."""
        return self.settings.prompts if self.model.config.centres_trained else "grid"

    def segment(self, image: np.ndarray, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first; see `Segmenter`."""
        return keep_best(self.candidates(image, on_progress), self.settings)

    @torch.inference_mode()
    def candidates(self, image: np.ndarray, on_progress: OnProgress = ignore) -> Instances:
        """Every mask that passes the thresholds of `settings`, before `keep_best` compares them."""
        image = check_image(image)
        size = image.shape[:2]
        side = self.model.tile
        picture = raise_contrast(image)
        views = [_resized(picture, scale, side) for scale in self.settings.scales]
        overlap = self.settings.overlap
        tiles = [_tiles(v.shape, side, overlap, scale) for v, scale in zip(views, self.settings.scales, strict=True)]
        total = sum(map(len, tiles))
        masks: list[BoxMask] = []
        scores: list[float] = []
        done = 0
        for view, parts in zip(views, tiles, strict=True):
            for start in range(0, len(parts), self.settings.tiles_per_batch):
                batch = parts[start : start + self.settings.tiles_per_batch]
                pixels = np.stack([view[t.top : t.top + side, t.left : t.left + side] for t in batch])
                for mask, score in self._masks_of_tiles(batch, torch.from_numpy(pixels).to(self.device), size):
                    masks.append(mask)
                    scores.append(score)
                done += len(batch)
                on_progress(Progress(done=done, total=total))
        return Instances.from_box_masks(masks, size, scores=np.array(scores))

    def _masks_of_tiles(
        self, tiles: list[_Tile], pixels: Tensor, size: tuple[int, int]
    ) -> Iterator[tuple[BoxMask, float]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            embeddings = self.model.encode(to_pixels(pixels))
            points = self._prompts(embeddings, tiles)
            for number, tile in enumerate(tiles):
                for chunk in points[number].split(self.settings.points_per_batch):
                    yield from self._masks_of_points(embeddings[number : number + 1], chunk, tile, size)

    def _prompts(self, embeddings: Tensor, tiles: list[_Tile]) -> list[Tensor]:
        """Points (P, 2) in pixels of each tile, inside the part it answers for."""
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
        return [_inside(each.float(), tile, margin) for each, tile in zip(points, tiles, strict=True)]

    def _masks_of_points(
        self, embedding: Tensor, points: Tensor, tile: _Tile, size: tuple[int, int]
    ) -> Iterator[tuple[BoxMask, float]]:
        settings, side = self.settings, self.model.tile
        if not len(points):
            return
        tokens, features, quality = self.model.attend(embedding, points[None])
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
            box_mask = _enlarge(mask, tile, side, size)
            if box_mask is not None:
                yield box_mask, min(max(score, 0.0), 1.0)


def keep_best(candidates: Instances, settings: GenerationSettings) -> Instances:
    """Best score first, without masks below the thresholds or overlapping a better one too far.

    Overlap is allowed up to `mask_nms_iou` of both and `mask_nms_cover` of the smaller mask.
    """
    best = Ranked(candidates).select(settings)
    return Instances.from_rles(best.rles, best.size, best.categories, best.scores)  # ids by rank


class Ranked:
    """Candidates, best score first, with what `keep_best` asks of them computed once for many settings.

    Of pairs only those that share a pixel are held, so that memory grows with the overlaps.
    """

    def __init__(self, candidates: Instances):
        scores = np.zeros(len(candidates)) if candidates.scores is None else candidates.scores
        order = np.argsort(-scores, kind="stable")
        self.candidates, self.scores = candidates.select(order), scores[order]
        areas = self.areas = self.candidates.areas
        found = [_later_overlaps(self.candidates, start) for start in range(0, len(order), _BLOCK)]
        self._better, self._worse = (np.concatenate([np.zeros(0, np.int32), *(f[k] for f in found)]) for k in (0, 1))
        self._iou = np.concatenate([np.zeros(0), *(pairs[2] for pairs in found)])
        # How much of the smaller mask two share, from IoU = shared / (sum of areas - shared).
        both = areas[self._better], areas[self._worse]
        self._cover = self._iou / (1 + self._iou) * (both[0] + both[1]) / np.maximum(np.minimum(*both), 1)

    def kept(self, settings: GenerationSettings) -> np.ndarray:
        """Which candidates remain, in order of rank: their places, (K,)."""
        kept = (self.scores >= settings.pred_iou_thresh) & (self.areas >= max(1, settings.min_area))
        clash = (self._iou > settings.mask_nms_iou) | (self._cover > settings.mask_nms_cover)
        clash &= kept[self._better] & kept[self._worse]
        better, worse = self._better[clash], self._worse[clash]
        starts = np.flatnonzero(np.r_[True, better[1:] != better[:-1]]) if len(better) else np.zeros(0, int)
        for start, end in pairwise([*starts.tolist(), len(better)]):
            if kept[better[start]]:
                kept[worse[start:end]] = False
        return np.flatnonzero(kept)

    def select(self, settings: GenerationSettings) -> Instances:
        """The candidates that remain."""
        return self.candidates.select(self.kept(settings))


def _later_overlaps(ranked: Instances, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of the next `_BLOCK` objects and those ranked behind each: int32 places of both, by the first; IoU."""
    pairs = overlaps(ranked.select(slice(start, start + _BLOCK)), ranked.select(slice(start, None)))
    pairs = pairs.where(pairs.rows < pairs.columns)
    return (pairs.rows + start).astype(np.int32), (pairs.columns + start).astype(np.int32), pairs.iou


def merged(parts: Sequence[Instances]) -> Instances:
    """Candidates of several looks at one image, as one set."""
    scores = [part.scores for part in parts if part.scores is not None]
    return Instances.from_rles(
        [rle for part in parts for rle in part.rles], parts[0].size, scores=np.concatenate(scores) if scores else None
    )


def _tiles(shape: tuple[int, ...], side: int, overlap: float, scale: float = 1.0) -> list[_Tile]:
    """Tiles that cover the image and overlap by at least that share; the parts they answer for meet without gaps."""
    tops, lefts = (_starts(length, side, overlap) for length in shape)
    tiles = []
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            own = (
                -np.inf if row == 0 else (tops[row - 1] + top + side) / 2,
                -np.inf if column == 0 else (lefts[column - 1] + left + side) / 2,
                np.inf if row == len(tops) - 1 else (top + tops[row + 1] + side) / 2,
                np.inf if column == len(lefts) - 1 else (left + lefts[column + 1] + side) / 2,
            )
            tiles.append(_Tile(top, left, own, scale))
    return tiles


def _starts(length: int, side: int, overlap: float) -> list[int]:
    count = max(1, int(np.ceil((length - side) / (side * (1 - overlap)))) + 1)
    return [round(float(v)) for v in np.linspace(0, length - side, count)] if count > 1 else [0]


def _inside(points: Tensor, tile: _Tile, margin: float = 0.0) -> Tensor:
    x, y = points[:, 0] + tile.left, points[:, 1] + tile.top
    top, left, bottom, right = tile.own
    return points[(y >= top - margin) & (y < bottom + margin) & (x >= left - margin) & (x < right + margin)]


def _enlarge(logits: np.ndarray, tile: _Tile, side: int, size: tuple[int, int]) -> BoxMask | None:
    """A tile's mask in pixels of the image, inside its own box, its largest part alone; None for an empty one."""
    rows, columns = np.nonzero(logits > 0)
    if not len(rows):
        return None
    stride = side / logits.shape[-1] / tile.scale  # pixels of the image per logit
    top, up = _weights(rows, tile.top / tile.scale, stride, len(logits), size[0])
    left, across = _weights(columns, tile.left / tile.scale, stride, len(logits), size[1])
    mask = up @ logits @ across.T > 0
    parts, count = ndimage.label(mask)
    if count == 0:
        return None
    if count > 1:
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return ndimage.binary_fill_holes(mask), (top, left)


def _weights(used: np.ndarray, origin: float, stride: float, count: int, length: int) -> tuple[int, np.ndarray]:
    """Linear interpolation along one axis: the first pixel of the box around `used`, and weights (pixels, count)."""
    first = max(0, int(np.floor(origin + (used.min() - 1) * stride)))
    last = min(length, int(np.ceil(origin + (used.max() + 2) * stride)))
    place = np.clip((np.arange(first, last) + 0.5 - origin) / stride - 0.5, 0, count - 1)
    below = np.minimum(place.astype(int), count - 2)
    weights = np.zeros((max(0, last - first), count), np.float32)
    pixels = np.arange(len(weights))
    weights[pixels, below] = below + 1 - place
    weights[pixels, below + 1] = place - below
    return first, weights


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
