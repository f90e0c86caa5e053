"""Training images without labels: what a model finds in them, and finds again in the turned image, stands for labels.

The rule is fixed and was chosen without a look at any labels of such images. What the model misses counts as
background in training: images should be such that it finds most of their cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glioma_hf.data.images import read_image
from glioma_hf.data.splits import LabelledImage
from glioma_hf.files import checksum
from glioma_hf.instances import Instances
from glioma_hf.metrics.overlaps import overlaps
from glioma_hf.models.base import Segmenter
from glioma_hf.progress import OnProgress, Progress
from glioma_hf.rle import BoxMask

AGREEMENT = 0.7  # IoU from which a cell of the turned image is the same


@dataclass(frozen=True)
class _Turn:
    """A way to turn an image, and the way back of a mask in its box: (mask, corner, the image's height, width)."""

    image: Callable[[np.ndarray], np.ndarray]
    back: Callable[[BoxMask, tuple[int, int]], BoxMask]


def _quarter_back(box_mask: BoxMask, size: tuple[int, int]) -> BoxMask:
    mask, (top, left) = box_mask
    return np.rot90(mask, -1), (left, size[1] - top - mask.shape[0])


def _mirror_back(box_mask: BoxMask, size: tuple[int, int]) -> BoxMask:
    mask, (top, left) = box_mask
    return mask[:, ::-1], (top, size[1] - left - mask.shape[1])


# A quarter of a turn as well: a model that sees images mirrored itself agrees with itself about those.
TURNS = (_Turn(np.rot90, _quarter_back), _Turn(np.fliplr, _mirror_back))


def pseudo_labels(segmenter: Segmenter, pixels: np.ndarray) -> Instances:
    """The cells that a model finds in an image by its own thresholds, and again however the image is turned."""
    found = segmenter.segment(pixels)
    kept = np.ones(len(found), bool)
    for turn in TURNS:
        turned = segmenter.segment(np.ascontiguousarray(turn.image(pixels)))
        again = Instances.from_box_masks((turn.back(each, found.size) for each in turned.box_masks()), found.size)
        kept &= overlaps(again, found).best_of_columns() >= AGREEMENT
    best = found.select(kept)
    return Instances.from_rles(best.rles, best.size)


def label(segmenter: Segmenter, paths: Sequence[Path], on_progress: OnProgress) -> list[LabelledImage]:
    """Images with their pseudo-labels; those in which no cell is sure are left out, which is told.

    Raises `InputError` for an image that can't be read.
    """
    labelled = []
    for number, path in enumerate(paths, start=1):
        pixels = read_image(path)
        cells = pseudo_labels(segmenter, pixels)
        sure = f"{len(cells)} sure cells" if len(cells) else "no sure cell: left out"
        on_progress(Progress(f"{path.name}, without labels: {sure}", number, len(paths)))
        if len(cells):
            labelled.append(LabelledImage(-number, path.name, pixels, cells))
    return labelled


def facts_of(paths: Sequence[Path]) -> list[list[str]]:
    """Names and checksums of images, which say whether a run is still the same one."""
    return [[path.name, checksum(path) if path.is_file() else ""] for path in paths]
