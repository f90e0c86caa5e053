"""From an image of any size to instances that may overlap: the heat map's peaks are asked for their masks.

The image is seen tile by tile, each mirrored several ways and the answers averaged. A tile answers for the peaks in its
middle; around it lies all that a mask may reach, so that a cell across a seam is a cell like any other.
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

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.opened import OpenedImage
from glioma_hf.instances import Instances
from glioma_hf.models.base import Pixels, check_image
from glioma_hf.models.candidates import Ranked, SelectionSettings, enlarge, merged
from glioma_hf.models.centres.adapter import unwrap
from glioma_hf.models.centres.network import CentreNetwork, Maps
from glioma_hf.models.device import has_fast_bfloat16, lay_out
from glioma_hf.models.tiles import Tile, fitted_tiles
from glioma_hf.models.vision.config import COARSEST, MIRRORED, SHRINK, STRIDE
from glioma_hf.models.vision.preprocess import Statistics, Windows, resized, standardised, statistics_of
from glioma_hf.models.vision.resized import ResizedWindows
from glioma_hf.models.vision.scaled import ScaledSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.rle import BoxMask

ASKED_AT_ONCE = 64  # centres; what they take of memory is bounded so
MOST_CENTRES = 2048  # that a tile is asked for, the hottest; a crowded one has some hundred
SEEN_ONCE = 2 * 10**6  # pixels: larger images are seen once unless settings say otherwise, or people wait a minute
SURROUNDINGS = 32  # pixels as the network sees them, beyond a mask's window: what else a centre should see


class CentreSettings(SelectionSettings):
    """How centres are found and which masks are kept; thresholds are to be chosen on validation data."""

    centre_thresh: float = Field(0.05, ge=0, le=1)  # heat from which a peak is asked
    mask_thresh: float = Field(0.4, gt=0, lt=1)  # chance from which a pixel is the cell's
    score_thresh: float = Field(0.15, ge=0, le=1)  # heat x predicted IoU x mean chance of the mask's pixels
    mask_nms_iou: float = Field(0.3, ge=0, le=1)  # two masks of more are one cell
    mask_nms_cover: float = Field(0.6, ge=0, le=1)  # of the smaller of two masks
    min_area: int = Field(80, ge=0, le=2**28)  # pixels
    # In which the image is seen, as it is and mirrored; "auto": four, of images over two million pixels one.
    views: Literal["auto", 1, 2, 4] = "auto"
    scale: float = Field(1.0, ge=0.05, le=20)  # at which the image is seen
    cell_diameter: float = Field(50.0, gt=0, le=10**5)  # pixels: the circle of the area of cells in training
    tile: int = Field(1120, ge=384, le=8192, multiple_of=COARSEST)  # largest side, as the network sees it

    @property
    def least_score(self) -> float:
        """See `SelectionSettings`."""
        return self.score_thresh


class CentreSegmenter(ScaledSegmenter):
    """A `Segmenter` around a `CentreNetwork`, with or without an adapter.

    Example:
        segmenter = load_segmenter("model")
        cells = segmenter.with_settings(views=1).segment(read_image("cells.tif"))
    """

    reads_windows = True

    def __init__(self, network: CentreNetwork | PeftModel, settings: CentreSettings | None = None):
        self.adapted = network if isinstance(network, PeftModel) else None
        self.network = unwrap(network).eval()
        self.settings = settings or CentreSettings()
        self.device = next(network.parameters()).device
        self.fast = has_fast_bfloat16(self.device)
        lay_out(self.network)

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first; see `Segmenter`.

        An opened image is read window by window, a memory-mapped one too unless `scale` isn't 1: what is held of an
        image of any size is one tile and the masks, run-length encoded.
        """
        return Ranked(self.candidates(image, on_progress)).select(self.settings)

    @torch.inference_mode()
    def candidates(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Every mask that passes the thresholds of `settings`, before they are compared with each other."""
        image = image if isinstance(image, OpenedImage) else check_image(image)
        (height, width), scale = image.shape[:2], self.settings.scale
        size = height, width
        view = image if scale == 1 else _resized(image, scale)
        found = statistics_of(view)
        seen = tuple(-(-length // SHRINK) for length in view.shape[:2])
        shared, begin = self._shared(), self.network.alignment
        own = -(-max(begin, shared // 2) // begin) * begin  # at least, or most work would be done twice
        largest = max(self.settings.tile, shared + own)
        tiles, sides = fitted_tiles(seen, largest, shared, COARSEST, begin, scale)
        names = self.network.config.classes
        category = np.array([CATEGORIES.index(name) for name in names] or [0])
        parts = []
        for done, tile in enumerate(tiles, start=1):
            masks = list(self._masks_of_tile(view, tile, sides, found, size))
            scores = np.array([score for _, score, _ in masks])
            categories = category[[kind for _, _, kind in masks]]
            parts.append(Instances.from_box_masks([m for m, _, _ in masks], size, scores=scores, categories=categories))
            on_progress(Progress(done=done, total=len(tiles)))
        return merged(parts)

    def _shared(self) -> int:
        """Pixels by which tiles overlap: twice what lies around the part that each answers for."""
        around = 2 * (self.network.config.reach * STRIDE + SURROUNDINGS)
        return -(-around // COARSEST) * COARSEST

    def _views(self, view: Windows) -> int:
        """In how many views an image is seen."""
        if self.settings.views != "auto":
            return self.settings.views
        return 4 if view.shape[0] * view.shape[1] <= SEEN_ONCE else 1

    def _masks_of_tile(
        self, view: Windows, tile: Tile, sides: tuple[int, int], found: Statistics, size: tuple[int, int]
    ) -> Iterator[tuple[BoxMask, float, int]]:
        """Masks that pass, their scores, and their classes."""
        settings, config = self.settings, self.network.config
        pixels = self._pixels(view, tile, sides, found)
        mirrored = MIRRORED[self._views(view)]
        looks = [self._look(pixels.flip(axes)) for axes in mirrored]
        heats = [torch.sigmoid(maps.heat[0]).flip(axes) for maps, axes in zip(looks, mirrored, strict=True)]
        heat = torch.stack(heats).mean(0)
        peaks = _peaks(heat, settings.centre_thresh, tile)
        for kinds, some in zip(*(part.split(ASKED_AT_ONCE) for part in (peaks[:, 0], peaks[:, 1:])), strict=True):
            chances, quality = self._ask(looks, mirrored, some, kinds)
            scores = (heat[kinds, some[:, 1], some[:, 0]] * quality).cpu().numpy()
            stride = SHRINK * STRIDE / tile.scale
            corners = (some.cpu().numpy() - config.reach) * stride
            each = zip(chances.cpu().numpy(), scores, corners, kinds.tolist(), strict=True)
            for chance, score, (x, y), kind in each:
                inside = chance > settings.mask_thresh
                # The most that a score can be is known before its mask is enlarged: chances are at most 1. Of weights
                # that make no number of it nothing is kept.
                if not score >= settings.score_thresh or not inside.any():
                    continue
                corner = y + SHRINK * tile.top / tile.scale, x + SHRINK * tile.left / tile.scale
                box_mask = enlarge(chance, settings.mask_thresh, corner, stride, size)
                if box_mask is not None:
                    yield box_mask, float(score * chance[inside].mean()), kind

    def _pixels(self, view: Windows, tile: Tile, sides: tuple[int, int], found: Statistics) -> Tensor:
        """What the network sees of a tile: (1, 1, H, W), beyond the image its median."""
        top, left = SHRINK * tile.top, SHRINK * tile.left
        window = view[top : top + SHRINK * sides[0], left : left + SHRINK * sides[1]]
        grey = torch.from_numpy(standardised(window, found))
        return F.pad(grey, (0, sides[1] - grey.shape[1], 0, sides[0] - grey.shape[0]))[None, None].to(self.device)

    def _look(self, pixels: Tensor) -> Maps:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            return self.network.maps(pixels)

    def _ask(self, looks: list[Maps], mirrored: list[list[int]], cells: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Chances of each centre's mask (K, window, window) and its IoU (K,), as the looks have it in the mean."""
        height, width = looks[0].heat.shape[-2:]
        owners = torch.zeros(len(cells), dtype=torch.int64, device=cells.device)
        chances, quality = [], []
        for maps, axes in zip(looks, mirrored, strict=True):
            x = width - 1 - cells[:, 0] if -1 in axes else cells[:, 0]
            y = height - 1 - cells[:, 1] if -2 in axes else cells[:, 1]
            there = torch.stack([x, y], 1)
            weights, told = self.network.ask(maps.levels, there, owners, kinds)
            chances.append(torch.sigmoid(self.network.draw(maps.features, weights, there, owners)).flip(axes))
            quality.append(torch.sigmoid(told))
        return torch.stack(chances).mean(0), torch.stack(quality).mean(0)


def _peaks(heat: Tensor, threshold: float, tile: Tile) -> Tensor:
    """Peaks of heat maps (C, h, w) that a tile answers for, at most `MOST_CENTRES`: int64 (K, 3), (class, x, y).

    A peak may move by a cell from tile to tile: both answer there, lest neither does.
    """
    peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat >= threshold)
    cells = torch.nonzero(peaks)[:, [0, 2, 1]]
    corner = torch.tensor([tile.left, tile.top], device=heat.device)
    top, left, bottom, right = tile.own
    place = (cells[:, 1:] + 0.5) * STRIDE + corner
    low, high = (
        torch.tensor(pair, device=heat.device)
        for pair in ((left - STRIDE, top - STRIDE), (right + STRIDE, bottom + STRIDE))
    )
    cells = cells[((place >= low) & (place < high)).all(1)]
    if len(cells) > MOST_CENTRES:
        hottest = heat[cells[:, 0], cells[:, 2], cells[:, 1]].topk(MOST_CENTRES).indices
        cells = cells[hottest.sort().values]
    return cells


def _resized(image: Pixels, scale: float) -> Windows:
    """The grey image at another scale."""
    return ResizedWindows(image, scale) if isinstance(image, OpenedImage) else resized(image, scale)
