"""From an image of any size to a label map: windows' flows are blended, and followed once over the whole image.

Memory grows with the image: some 20 bytes a pixel, since cells are made of the whole image's flows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.models.base import Pixels, Settings, check_image
from glioma_hf.models.candidates import merged
from glioma_hf.models.device import has_fast_bfloat16, lay_out
from glioma_hf.models.flows.dynamics import flow_errors, labels_of, without_holes, without_specks
from glioma_hf.models.flows.manet import MediarNetwork
from glioma_hf.models.flows.network import FlowNetwork
from glioma_hf.models.flows.sight import Scaled, Standardised
from glioma_hf.models.tiles import Tile, ending_tiles, fitted_tiles
from glioma_hf.models.vision.config import COARSEST, MIRRORED
from glioma_hf.models.vision.preprocess import resized
from glioma_hf.models.vision.scaled import ScaledSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore

LEAST_WEIGHT = 1e-3  # of a window's corners, relative to its middle
SIGMA = 0.125  # of the Gaussian that a window's weights are, in shares of its side

Sides = tuple[int, int]
Part = tuple[slice, slice]


class FlowSettings(Settings):
    """How cells are made of flows; thresholds are to be chosen on validation data."""

    cell_thresh: float = Field(0.5, ge=0, le=1)  # chance from which a pixel is a cell's
    flow_thresh: float = Field(0.4, ge=0, le=100)  # greatest error of a cell's flows; 0: isn't asked
    score_thresh: float = Field(0.0, ge=0, le=1)  # mean chance of the mask's pixels
    min_area: int = Field(80, ge=0, le=2**28)  # pixels
    steps: int = Field(200, ge=1, le=10**5)  # pixels that a pixel may go to its cell's middle
    views: Literal[1, 2, 3, 4] = 4  # in which the image is seen: as it is and mirrored
    scale: float = Field(1.0, ge=0.05, le=20)  # at which the image is seen
    cell_diameter: float = Field(50.0, gt=0, le=10**5)  # pixels: the circle of the area of cells in training
    tile: int = Field(896, ge=128, le=8192, multiple_of=COARSEST)  # largest side of a window, as the network sees it
    tile_overlap: float = Field(0.25, ge=0, le=0.9)  # share of a window's side that the next one sees too


def usual_settings(network: FlowNetwork | MediarNetwork) -> FlowSettings:
    """Those of a network before any are chosen; MediarFormer's are its authors'."""
    if isinstance(network, FlowNetwork):
        return FlowSettings()
    return FlowSettings(tile=512, tile_overlap=0.6, min_area=15, views=3)


class Found:
    """Cells made of flows, best score first, before `FlowSettings` choose among them.

    Attributes:
        candidates: with scores; none of one category overlap.
        errors: (K,), of their flows.
    """

    def __init__(self, parts: Sequence[tuple[Instances, np.ndarray]]):
        cells = merged([part for part, _ in parts])
        assert cells.scores is not None
        order = np.argsort(-cells.scores, kind="stable")
        rles = [cells.rles[i] for i in order]
        self.candidates = Instances.from_rles(rles, cells.size, cells.categories[order], cells.scores[order])
        self.errors = np.concatenate([errors for _, errors in parts])[order]

    def kept(self, settings: FlowSettings) -> np.ndarray:
        """Which cells remain, in order of rank: their places, (K,)."""
        assert self.candidates.scores is not None
        good = (self.candidates.scores >= settings.score_thresh) & (self.candidates.areas >= settings.min_area)
        if settings.flow_thresh > 0:
            good &= self.errors <= settings.flow_thresh
        return np.flatnonzero(good)

    def select(self, settings: FlowSettings) -> Instances:
        """The cells that remain, best score first; their ids are their ranks."""
        best = self.candidates.select(self.kept(settings))
        return Instances.from_rles(best.rles, best.size, best.categories, best.scores)


class FlowSegmenter(ScaledSegmenter):
    """A `Segmenter` around a network of flows, or several whose maps are averaged.

    Example:
        segmenter = load_segmenter("model")
        cells = segmenter.with_settings(views=1).segment(read_image("cells.tif"))
    """

    def __init__(self, networks: Sequence[FlowNetwork | MediarNetwork], settings: FlowSettings | None = None):
        self.networks = [network.eval() for network in networks]
        if len({(network.config.decoder, network.config.classes) for network in networks}) > 1:
            raise InputError("only networks of one decoder, which tell the same classes apart, are asked together")
        self.settings = settings or usual_settings(self.networks[0])
        self.device = next(self.networks[0].parameters()).device
        self.fast = has_fast_bfloat16(self.device)
        for network in self.networks:
            lay_out(network)

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first, of which those of one category never overlap; see `Segmenter`."""
        return self.found(self.maps(image, on_progress)).select(self.settings)

    @torch.inference_mode()
    def maps(self, image: Pixels, on_progress: OnProgress = ignore) -> np.ndarray:
        """Flows of each class in turn, then each one's logit of a cell, for each pixel: float32 (3 C, H, W)."""
        image = check_image(image)
        size, settings = image.shape[:2], self.settings
        view = image if settings.scale == 1 else resized(image, settings.scale)
        network, sight = self.networks[0], self.networks[0].look(view)
        shrink, stride = network.shrink, network.stride
        seen = tuple(-(-length // shrink) for length in view.shape[:2])
        tiles, sides, reach = self._windows(seen)
        total = torch.zeros(3 * network.config.maps, *(length // stride for length in reach), device=self.device)
        weights, bell = torch.zeros_like(total[0]), _bell(sides, stride, len(tiles) > 1).to(self.device)
        for tile in tiles:
            inside, part = _shared(tile.top, tile.left, sides, reach, stride)
            weights[inside] += bell[part]
        views = MIRRORED[settings.views]
        for done, tile in enumerate(tiles, start=1):
            inside, part = _shared(tile.top, tile.left, sides, reach, stride)
            share, pixels, before = bell[part] / weights[inside] / len(views), None, None
            for axes in views:
                turned = axes if isinstance(network, MediarNetwork) else []  # windows lie as in a mirrored image
                top = seen[0] - sides[0] - tile.top if -2 in turned else tile.top
                left = seen[1] - sides[1] - tile.left if -1 in turned else tile.left
                if pixels is None or before != (top, left):
                    pixels, before = self._pixels(sight, view, top, left, sides), (top, left)
                inside, part = _shared(top, left, sides, reach, stride)
                total[(..., *inside)] += share.flip(turned) * self._look(pixels, axes)[(..., *part)]
            on_progress(Progress(done=done, total=len(tiles)))
        return _enlarged(total, shrink * stride / settings.scale, size)

    def found(self, maps: np.ndarray) -> Found:
        """Cells that maps (3 C, H, W) make at the chance from which a pixel is a cell's."""
        settings, classes = self.settings, self.networks[0].config.classes
        with np.errstate(divide="ignore"):
            threshold = float(np.log(settings.cell_thresh) - np.log1p(-settings.cell_thresh))
        parts = []
        for number, name in enumerate(classes or [CATEGORIES[0]]):
            flows, logits = maps[2 * number : 2 * number + 2], maps[len(maps) // 3 * 2 + number]
            if isinstance(self.networks[0], MediarNetwork):
                logits = without_specks(logits, threshold)
            found = labels_of(flows, logits, threshold, settings.steps)
            errors, labels = flow_errors(found, flows), without_holes(found)
            cells = Instances.from_label_map(labels)
            chances = 1 / (1 + np.exp(-logits.clip(-80, 80)))
            scores = np.bincount(labels.ravel(), chances.ravel())[cells.ids] / np.maximum(cells.areas, 1)
            categories = np.full(len(cells), CATEGORIES.index(name))
            part = Instances.from_rles(cells.rles, cells.size, categories, np.clip(scores, 0, 1))
            parts.append((part, errors[cells.ids - 1]))
        return Found(parts)

    def _windows(self, seen: tuple[int, ...]) -> tuple[list[Tile], tuple[int, int], tuple[int, ...]]:
        """Windows over an image as the network sees it, their height and width, and how far maps reach.

        MediarFormer's lie where its authors have them, those of the light network where it sees parts alike.
        """
        network, tile, overlap = self.networks[0], self.settings.tile, self.settings.tile_overlap
        if isinstance(network, MediarNetwork):
            return ending_tiles(seen, tile, int(tile * (1 - overlap))), (tile, tile), seen
        begin = network.alignment
        shared = min(round(tile * overlap / COARSEST) * COARSEST, tile - COARSEST)
        tiles, sides = fitted_tiles(seen, max(tile, shared + begin), shared, COARSEST, begin)
        return tiles, sides, (max(each.top for each in tiles) + sides[0], max(each.left for each in tiles) + sides[1])

    def _pixels(self, sight: Scaled | Standardised, view: np.ndarray, top: int, left: int, sides: Sides) -> Tensor:
        """A window (1, 1, H, W) as the network sees it, zeros where it reaches beyond the image."""
        shrink = self.networks[0].shrink
        rows, columns = (
            slice(shrink * max(start, 0), shrink * (start + side))
            for start, side in zip((top, left), sides, strict=True)
        )
        grey = torch.from_numpy(sight.pixels(view[rows, columns]))
        above, before = max(-top, 0), max(-left, 0)
        beyond = (before, sides[1] - before - grey.shape[1], above, sides[0] - above - grey.shape[0])
        return F.pad(grey, beyond)[None, None].to(self.device)

    def _look(self, pixels: Tensor, axes: list[int]) -> Tensor:
        """The maps of a window (1, 1, H, W) seen mirrored, in the mean of all networks, turned back: (3 C, h, w)."""
        looks = []
        for network in self.networks:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
                seen = network(pixels.flip(axes))
            flows = seen["flows"][0].flip(axes)
            for axis in axes:  # what flowed down now flows up
                flows[axis + 2 :: 2] *= -1
            looks.append(torch.cat([flows, seen["cells"][0].flip(axes)]))
        return torch.stack(looks).mean(0)


def _shared(top: int, left: int, sides: Sides, reach: Sequence[int], stride: int) -> tuple[Part, Part]:
    """What a window and the maps have in common, in cells: where that is in the maps, and where in the window."""
    inside, part = [], []
    for start, side, length in zip((top, left), sides, reach, strict=True):
        first, last = max(start, 0) // stride, min(start + side, length) // stride
        inside.append(slice(first, last))
        part.append(slice(first - start // stride, last - start // stride))
    return (inside[0], inside[1]), (part[0], part[1])


def _bell(sides: Sides, stride: int, several: bool) -> Tensor:
    """Weights of a window's maps (h, w): MONAI's Gaussian about its middle where there are several, else 1."""
    lengths = [side // stride for side in sides]
    if not several:
        return torch.ones(lengths)
    rows, columns = (
        ((torch.arange(length) - (length - 1) / 2) / (SIGMA * length)).square().mul(-0.5).exp() for length in lengths
    )
    return torch.outer(rows, columns).clamp(min=LEAST_WEIGHT)


def _enlarged(maps: Tensor, factor: float, size: tuple[int, int]) -> np.ndarray:
    """Maps of an image, whose cells are `factor` pixels wide, pixel by pixel: (3 C, H, W)."""
    sides = [max(1, round(side * factor)) for side in maps.shape[1:]]
    large = F.interpolate(maps[None], sides, mode="bilinear", align_corners=False)[0, :, : size[0], : size[1]]
    missing = (0, size[1] - large.shape[2], 0, size[0] - large.shape[1])
    return F.pad(large, missing, mode="replicate").cpu().numpy() if any(missing) else large.cpu().numpy()
