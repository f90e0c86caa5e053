"""Synthetic phase-contrast images of overlapping cells.

A scene is a map of optical phase: every cell adds its thickness, so cells that overlap shine through
each other as in a real image. The picture is then formed as Zernike's microscope forms it: the light
near the direct beam is dimmed and shifted by a quarter wave against the rest. Bright halos around
convex cells, shade-off inside flat ones and the reversed contrast of thick ones all come out of that.

    >>> scene = generate_scene(seed=3, config=SceneConfig(width=256, height=192))
    >>> scene.image.shape, scene.image.dtype, len(scene.objects) > 0
    ((192, 256), dtype('uint8'), True)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from glioma_hf.instances import Instances
from glioma_hf.synthetic import cell_shapes


class SceneConfig(BaseModel):
    """What a synthetic image holds. Ranges are drawn from once per image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(512, ge=64, le=8192)
    height: int = Field(384, ge=64, le=8192)
    cells_per_megapixel: tuple[float, float] = (40, 130)
    scale: tuple[float, float] = (0.9, 1.5)  # of all cells; at 1 a flat cell is some 60 px wide
    spheroids: float = 0.15  # share of the cells
    spindles: float = 0.45
    sprawling: float = 0.65  # share of the flat cells whose edge is ragged, most of them with arms
    clustered: float = 0.6  # share of the cells placed beside another one
    largest_overlap: float = 0.3  # of a new cell's area
    halo: tuple[float, float] = (2.5, 8)  # reach of the halo, pixels
    debris_per_megapixel: tuple[float, float] = (30, 90)
    noise: tuple[float, float] = (1.5, 4.0)  # grey values of 255
    illumination: float = 0.12  # largest relative change over the image
    looseness: tuple[float, float] = (0.3, 3.2)  # pixels by which the annotator stays outside the visible edge


@dataclass(frozen=True)
class SceneObject:
    """One synthetic object: its category name (`cell_a`, `cell_b`, `soma`) and outline (points, 2)."""

    category: str
    outline: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A synthetic image, uint8 (H, W), and its objects: each cell, followed by its soma."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]

    def instances(self, categories: tuple[str, ...] = ("cell_a", "cell_b")) -> Instances:
        """The objects of `categories`; each one's category is its place in that tuple."""
        kept = [o for o in self.objects if o.category in categories]
        return Instances.from_polygons(
            [[o.outline.ravel().tolist()] for o in kept],
            self.image.shape,
            categories=[categories.index(o.category) for o in kept],
        )


def generate_scene(seed: int | tuple[int, ...], config: SceneConfig | None = None) -> Scene:
    """A scene; the same seed and config give the same pixels and outlines."""
    config = config or SceneConfig()
    rng = np.random.default_rng(seed)
    painter = _Painter(rng, config)
    megapixels = config.width * config.height / 1e6
    for _ in range(rng.poisson(rng.uniform(*config.debris_per_megapixel) * megapixels)):
        painter.add_debris()
    for _ in range(max(1, rng.poisson(rng.uniform(*config.cells_per_megapixel) * megapixels))):
        painter.add_cell()
    return Scene(_microscope(rng, painter.phase, config), tuple(painter.objects))


class _Painter:
    """Holds the phase map while cells and debris are laid into it."""

    def __init__(self, rng: np.random.Generator, config: SceneConfig):
        self.rng, self.config = rng, config
        self.phase = np.zeros((config.height, config.width), np.float32)
        self.taken = np.zeros(self.phase.shape, bool)
        self.objects: list[SceneObject] = []
        self.places: list[tuple[np.ndarray, float]] = []  # centre and radius of each cell
        self.scale = rng.uniform(*config.scale)
        self.thickness = rng.uniform(0.75, 1.6)
        self.looseness = rng.uniform(*config.looseness)

    def add_cell(self) -> None:
        rng = self.rng
        kind = rng.choice(3, p=[self.config.spheroids, self.config.spindles, self._flat_share()])
        if kind == 0:
            outline = cell_shapes.spheroid(rng, rng.uniform(9, 17))
        elif kind == 1:
            if rng.random() < 0.4:
                outline = cell_shapes.spindle(rng, min(rng.lognormal(np.log(85), 0.35), 200), rng.uniform(13, 28))
            else:
                axes = rng.uniform(0.35, 0.9), rng.uniform(0.25, 0.45)
                outline = cell_shapes.sprawling(rng, rng.uniform(20, 32), int(rng.integers(1, 4)), axes)
        elif rng.random() < self.config.sprawling:
            axes = rng.uniform(0.5, 1.2), rng.uniform(0.4, 0.9)
            outline = cell_shapes.sprawling(rng, rng.uniform(22, 40), int(rng.integers(0, 6)), axes)
        else:
            outline = cell_shapes.flat(rng, rng.lognormal(np.log(33), 0.28))
        outline = cell_shapes.turned(outline, rng.uniform(0, 2 * np.pi), self.scale)
        radius = float(np.sqrt(np.ptp(outline[:, 0]) * np.ptp(outline[:, 1])) / 2)
        for _ in range(10):
            centre = self._place(radius)
            window, mask = self._mask(outline + centre)
            if mask.sum() < 90:
                continue
            if (self.taken[window] & mask).sum() <= self.config.largest_overlap * mask.sum():
                break
        else:
            return
        placed = self._inside(outline + centre)
        self.taken[window] |= mask
        self.places.append((centre, radius))
        self.objects.append(SceneObject("cell_b" if kind == 2 else "cell_a", placed))
        body = cell_shapes.soma(rng, outline, (0.6, 0.45, 0.3)[kind]) + centre
        body = self._soma_outline(body, window, mask)
        if body is not None:
            self.objects.append(SceneObject("soma", body))
        self._raise(window, mask, kind, body)

    def _flat_share(self) -> float:
        return max(0.0, 1 - self.config.spheroids - self.config.spindles)

    def _place(self, radius: float) -> np.ndarray:
        rng, config = self.rng, self.config
        if self.places and rng.random() < config.clustered:
            centre, other = self.places[rng.integers(len(self.places))]
            angle, distance = rng.uniform(0, 2 * np.pi), (radius + other) * rng.uniform(0.6, 1.15)
            near = centre + distance * np.array([np.cos(angle), np.sin(angle)])
            return np.clip(near, 0, [config.width, config.height])
        return rng.uniform([0, 0], [config.width, config.height])

    def _inside(self, outline: np.ndarray) -> np.ndarray:
        limits = [self.config.width, self.config.height]
        return np.round(np.clip(outline, 0, limits), 2)

    def _mask(self, outline: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
        left, top = np.maximum(np.floor(outline.min(0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(outline.max(0)).astype(int) + 2, [self.config.width, self.config.height])
        window = slice(top, max(top, bottom)), slice(left, max(left, right))
        picture = Image.new("1", (max(0, right - left), max(0, bottom - top)))
        ImageDraw.Draw(picture).polygon([(x - left - 0.5, y - top - 0.5) for x, y in outline], fill=1)
        return window, np.asarray(picture, bool)

    def _soma_outline(self, body: np.ndarray, window: tuple[slice, slice], mask: np.ndarray) -> np.ndarray | None:
        """The soma pulled back into its cell, or None where too little of it lies in the image."""
        top, left = window[0].start, window[1].start
        centre = body.mean(0)
        for shrink in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
            points = centre + (body - centre) * shrink
            column, row = np.floor(points - [left, top]).astype(int).T
            good = (column >= 0) & (row >= 0) & (column < mask.shape[1]) & (row < mask.shape[0])
            if good.all() and mask[row, column].mean() > 0.97 and self._mask(points)[1].sum() >= 90:
                return np.round(points, 2)
        return None

    def _raise(self, window: tuple[slice, slice], mask: np.ndarray, kind: int, body: np.ndarray | None) -> None:
        """Add the optical thickness of one cell, in radians."""
        rng = self.rng
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].astype(np.float32)
        # An arm keeps half its width, however loose the outline.
        width = ndimage.maximum_filter(depth, 2 * int(np.ceil(2 * self.looseness)) + 1)
        depth = np.maximum(depth - np.minimum(self.looseness, width / 2), 0)
        mask = depth > 0
        deepest = max(float(depth.max()), 1.0)
        texture = _smooth_noise(rng, mask.shape, rng.uniform(1.2, 4.5))
        dome = np.sqrt(np.clip(1 - (1 - depth / deepest) ** 2, 0, 1))
        if kind == 0:
            height = rng.uniform(1.2, 6.5) * dome * (1 + rng.uniform(0.02, 0.1) * texture)
        elif kind == 1:
            height = rng.uniform(0.35, 1.1) * dome * (1 + rng.uniform(0.03, 0.14) * texture)
            height *= 1 - rng.uniform(0, 0.6) * (1 - self._mound(window, mask, body))
        else:  # a thin sheet that rises towards the nucleus
            height = rng.uniform(0.06, 0.4) * (1 - np.exp(-depth / rng.uniform(1.0, 3.0)))
            height *= 1 + rng.uniform(0.03, 0.2) * texture
            rise = self._mound(window, mask, body) * (1 - np.exp(-depth / rng.uniform(3.0, 9.0)))
            height += rng.uniform(0, 0.7) * rise * (1 + rng.uniform(0.03, 0.14) * texture)
        if body is not None and kind != 0:
            where, inside = self._mask(body)
            bump = np.zeros(self.phase[window].shape, np.float32)
            y, x = where[0].start - window[0].start, where[1].start - window[1].start
            part = bump[max(y, 0) : y + inside.shape[0], max(x, 0) : x + inside.shape[1]]
            part[:] = inside[max(-y, 0) :, max(-x, 0) :][: part.shape[0], : part.shape[1]]
            bump = ndimage.gaussian_filter(bump, 2.5) * mask
            height += bump * rng.uniform(0.12, 0.35)
            if rng.random() < 0.6:  # the nucleus is clearer than the plasm around it, its edge and nucleolus darker
                inner = ndimage.gaussian_filter(
                    ndimage.binary_erosion(bump > 0.5, iterations=2).astype(np.float32), 1.0
                )
                height -= inner * rng.uniform(0.05, 0.25)
                height += self._nucleoli(inner > 0.5)
        if rng.random() < 0.6:
            grains = rng.random(mask.shape) < rng.uniform(0.001, 0.008)
            height += ndimage.gaussian_filter(grains.astype(np.float32), rng.uniform(0.7, 1.2)) * rng.uniform(0.5, 2.5)
        if rng.random() < 0.5:  # ruffles along the edge
            edge = (depth > 0) & (depth < 2.2)
            height += edge * rng.uniform(0, 0.2) * np.clip(1 + 0.7 * texture, 0, 3)
        self.phase[window] += np.where(mask, height, 0) * self.thickness

    def _mound(self, window: tuple[slice, slice], mask: np.ndarray, body: np.ndarray | None) -> np.ndarray:
        """1 at the soma's middle (the mask's, where there is none), falling off towards the cell's ends."""
        y, x = np.argwhere(mask).mean(0) if body is None else body.mean(0)[::-1] - [window[0].start, window[1].start]
        reach = np.sqrt(mask.sum() / np.pi) * self.rng.uniform(0.45, 1.1)
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        return np.exp(-(((rows - y) ** 2 + (columns - x) ** 2) / reach**2)).astype(np.float32)

    def _nucleoli(self, nucleus: np.ndarray) -> np.ndarray:
        """One to three dense dots inside the nucleus."""
        spots = np.zeros(nucleus.shape, np.float32)
        places = np.argwhere(nucleus)
        for row, column in self.rng.permutation(places)[: self.rng.integers(1, 4)]:
            spots[row, column] = self.rng.uniform(2, 8)
        return ndimage.gaussian_filter(spots, self.rng.uniform(1.0, 1.7))

    def add_debris(self) -> None:
        """Something that is no cell: a speck, a defocused ring, a patch of granules."""
        rng = self.rng
        kind = rng.choice(3, p=[0.72, 0.22, 0.06])
        x, y = rng.uniform([0, 0], [self.config.width, self.config.height])
        reach = (rng.uniform(1, 3), rng.uniform(4, 11), rng.uniform(10, 28))[kind] * self.scale
        box = int(3 * reach + 3)
        top, left = int(y) - box, int(x) - box
        rows = np.arange(max(top, 0), min(top + 2 * box, self.config.height))
        columns = np.arange(max(left, 0), min(left + 2 * box, self.config.width))
        if not len(rows) or not len(columns):
            return
        distance = np.hypot(rows[:, None] - y, (columns[None] - x) * rng.uniform(0.6, 1.4))
        if kind == 0:
            added = rng.uniform(0.1, 1.5) * np.exp(-((distance / reach) ** 2))
        elif kind == 1:
            added = -rng.uniform(0.1, 0.35) * np.exp(-(((distance - reach) / 1.7) ** 2))
            added += rng.uniform(0, 0.25) * np.exp(-(((distance - 0.6 * reach) / 1.7) ** 2))
        else:
            patch = _smooth_noise(rng, distance.shape, 1.2) * (
                distance / reach + 0.25 * _smooth_noise(rng, distance.shape, 4.0) < 1
            )
            added = rng.uniform(0.05, 0.16) * patch
        self.phase[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += added.astype(np.float32)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Gaussian noise of spatial scale `sigma` with mean 0 and variance 1 (before the edges' effect)."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return noise * (2 * np.sqrt(np.pi) * sigma)


def _microscope(rng: np.random.Generator, phase: np.ndarray, config: SceneConfig) -> np.ndarray:
    """The image that phase contrast makes of a phase map: uint8 (H, W)."""
    phase = ndimage.gaussian_filter(phase, rng.uniform(0.5, 0.9))
    field = np.cos(phase), np.sin(phase)
    reach = rng.uniform(*config.halo)
    # The ring passes a blurred copy of the field: halos reach as far as that blur.
    direct = [ndimage.gaussian_filter(part, reach, truncate=2.5) for part in field]
    damping = rng.uniform(0.35, 0.7)
    real = field[0] - direct[0] + damping * direct[1]
    imaginary = field[1] - direct[1] - damping * direct[0]
    intensity = (real**2 + imaginary**2) / damping**2
    grey = rng.uniform(95, 130)
    height, width = phase.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    tilt = rng.uniform(-1, 1, 3) * config.illumination
    light = 1 + tilt[0] * x + tilt[1] * y + tilt[2] * (x**2 + y**2 - 0.67)
    noise = rng.uniform(*config.noise)
    contrast = rng.uniform(0.7, 1.0)
    image = grey * light * (1 + contrast * (intensity - 1)) + noise * _smooth_noise(rng, phase.shape, 0.6)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
