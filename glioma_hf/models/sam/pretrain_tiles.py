"""Tiles of synthetic scenes, as pretraining sees them: drawn once, kept on disk, cropped at random."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from glioma_hf.instances import Instances
from glioma_hf.models.sam import targets
from glioma_hf.models.sam.preprocess import raise_contrast
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

# Wider than what `data synthesize` draws by default: a base model should have seen more than it will meet.
PRETRAINING_SCENES = SceneConfig(
    width=448,
    height=448,
    scale=(0.7, 2.0),
    cells_per_megapixel=(30, 190),
    halo=(1.8, 9.0),
    noise=(0.5, 5.0),
    debris_per_megapixel=(20, 160),
)


def _draw(task: tuple[int, int, SceneConfig]) -> tuple[np.ndarray, list[str]]:
    seed, number, config = task
    scene = generate_scene((seed, number), config)
    return scene.image, [rle["counts"].decode() for rle in scene.instances().rles]


def draw_scenes(folder: Path, count: int, seed: int, config: SceneConfig = PRETRAINING_SCENES) -> Path:
    """A file of `count` scenes under `folder`, drawn now unless it is there: returns its path without ending."""
    key = hashlib.sha256(f"{count} {seed} {config.model_dump_json()}".encode()).hexdigest()[:16]
    path = folder / f"scenes-{key}"
    if path.with_suffix(".json").exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    images = np.lib.format.open_memmap(path.with_suffix(".npy"), "w+", np.uint8, (count, config.height, config.width))
    objects = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(_draw, [(seed, i, config) for i in range(count)], chunksize=8)
        for number, (image, counts) in enumerate(track(drawn, "drawing scenes", total=count)):
            images[number] = image
            objects.append(counts)
    images.flush()
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(objects))
    partial.rename(path.with_suffix(".json"))
    return path


class SceneTiles(Dataset):
    """Random tiles of drawn scenes with prompts and targets; item i is the same in every run.

    An item: `tile` (S, S) contrast-raised grey; `heat` (S/4, S/4); `dense` (4, S/4, S/4): foreground,
    edge, offset to the core in units of 32 px; `points` (P, 2); `masks` (P, S/2, S/2); `positive` (P,).
    The first points lie in cells, the others in the background.
    """

    def __init__(self, path: Path, tile: int = 256, points: int = 12, seed: int = 0, start: int = 0, length: int = 1):
        self.images = np.load(path.with_suffix(".npy"), mmap_mode="r")
        self.objects = json.loads(path.with_suffix(".json").read_text())
        self.tile, self.points, self.seed, self.start, self.length = tile, points, seed, start, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, self.start + index))
        number = int(rng.integers(len(self.images)))
        image = np.asarray(self.images[number])
        size = image.shape
        rles = [{"size": list(size), "counts": c.encode()} for c in self.objects[number]]
        top, left = (int(v) for v in rng.integers(0, np.array(size) - self.tile + 1))
        cells = Instances.from_rles(rles, size).crop(top, left, self.tile, self.tile)
        grey = raise_contrast(image)[top : top + self.tile, left : left + self.tile]
        grey, cells = flip_and_turn(grey, cells, int(rng.integers(8)))
        grey = 0.5 + (grey - 0.5) * rng.uniform(0.6, 1.5) + rng.uniform(-0.12, 0.12)
        grey = grey + rng.normal(0, rng.uniform(0, 0.03), grey.shape)
        shapes = targets.cell_shapes(cells)
        points, masks, positive = self._prompts(shapes, rng)
        return {
            "tile": torch.from_numpy(np.clip(grey, 0, 1).astype(np.float32)),
            "heat": torch.from_numpy(targets.heat_map(shapes, self.tile)),
            "dense": torch.from_numpy(dense_targets(shapes, self.tile)),
            "points": torch.from_numpy(points),
            "masks": torch.from_numpy(masks),
            "positive": torch.from_numpy(positive),
        }

    def _prompts(
        self, shapes: list[targets.CellShape], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        side = self.tile // 2
        points = np.zeros((self.points, 2), np.float32)
        masks = np.zeros((self.points, side, side), np.float32)
        positive = np.zeros(self.points, bool)
        chosen = rng.permutation(len(shapes))[: self.points - max(2, self.points // 5)]
        for row, number in enumerate(chosen):
            shape = shapes[number]
            points[row] = (
                shape.core() if rng.random() < 0.3 else shape.inner_point(rng, float(rng.choice([0.2, 0.5, 0.9])))
            )
            masks[row] = targets.low_resolution_mask(shape, self.tile, side)
            positive[row] = True
        rest = self.points - len(chosen)
        outside = targets.background_points(shapes, self.tile, rest, rng)
        points[len(chosen) : len(chosen) + len(outside)] = outside
        return points, masks, positive


def flip_and_turn(grey: np.ndarray, cells: Instances, which: int) -> tuple[np.ndarray, Instances]:
    """One of the eight symmetries of a square tile, applied to the image and its instances alike."""

    def move(array: np.ndarray) -> np.ndarray:
        turned = np.rot90(array, which % 4)
        return turned[:, ::-1] if which >= 4 else turned

    if which == 0:
        return grey, cells
    side = grey.shape[0]
    moved = []
    for mask, (top, left) in cells.box_masks():
        # The corner that ends up top left, after the same turn.
        bottom, right = side - top - mask.shape[0], side - left - mask.shape[1]
        top, left = ((top, left), (right, top), (bottom, right), (left, bottom))[which % 4]
        mask = np.rot90(mask, which % 4)
        if which >= 4:
            left = side - left - mask.shape[1]
            mask = mask[:, ::-1]
        moved.append((mask, (top, left)))
    return np.ascontiguousarray(move(grey)), Instances.from_box_masks(
        moved, cells.size, categories=cells.categories, scores=cells.scores, ids=cells.ids
    )


def dense_targets(shapes: list[targets.CellShape], tile: int, stride: int = targets.HEAT_STRIDE) -> np.ndarray:
    """Foreground, edge (within 2 px) and offset to the core, at `stride`: float32 (4, tile/stride, tile/stride).

    Only pretraining uses these: an encoder taught them first gives the decoder something to read.
    """
    dense = np.zeros((4, tile, tile), np.float32)
    for shape in shapes:
        window = slice(shape.top, shape.top + shape.mask.shape[0]), slice(shape.left, shape.left + shape.mask.shape[1])
        x, y = shape.core()
        rows, columns = np.mgrid[window]
        for channel, value in enumerate((1.0, shape.depth <= 2, (columns - x) / 32, (rows - y) / 32)):
            part = dense[channel][window]
            part[shape.mask] = np.broadcast_to(value, shape.mask.shape)[shape.mask]
    offset = stride // 2
    small = dense[:, offset::stride, offset::stride].copy()
    small[1] = dense[1].reshape(tile // stride, stride, tile // stride, stride).max((1, 3))
    return small
