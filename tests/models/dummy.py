"""A family without weights or torch: pixels that differ from the background, widened so that cells may overlap.

It trains, tunes, predicts, is saved and loaded in no time, so that everything that works for any family can be tested.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field
from scipy import ndimage

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.metrics.matching import Counts, count
from glioma_hf.models.base import Family, LabelledPixels, Pixels, Recipe, Run, Segmenter, Settings, check_image
from glioma_hf.progress import OnProgress, Progress, ignore

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)


class DummyRecipe(Recipe):
    """The levels that training tries, in standard deviations of the image."""

    levels: tuple[float, ...] = Field((1.0,), min_length=1)


class DummySettings(Settings):
    """Scores are how much a cell stands out."""

    score_threshold: float = Field(0.2, ge=0, le=1)
    widen: int = Field(1, ge=0, le=20)  # pixels by which cells are widened
    cell_diameter: float = Field(20.0, gt=0)


class DummySegmenter(Segmenter):
    """Connected parts of the pixels that differ from the median by `level` standard deviations."""

    def __init__(self, level: float, settings: DummySettings | None = None):
        self.level, self.settings = level, settings or DummySettings()

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """See `Segmenter`."""
        image = check_image(image)
        grey = image.mean(2) if image.ndim == 3 else image
        spread = np.std(grey) or 1.0
        contrast = ndimage.gaussian_filter(np.abs(grey - np.median(grey)) / spread, self.settings.cell_diameter / 20)
        parts, number = ndimage.label(contrast > self.level)
        masks, scores = [], []
        for index, window in enumerate(ndimage.find_objects(parts, number), start=1):
            mask = parts[window] == index
            edge = self.settings.widen
            score = float(np.clip(contrast[window][mask].mean() / (4 * self.level), 0, 1))
            if score >= self.settings.score_threshold:
                wide = ndimage.binary_dilation(np.pad(mask, edge), iterations=edge) if edge else mask
                masks.append((wide, (window[0].start - edge, window[1].start - edge)))
                scores.append(score)
            on_progress(Progress(done=index, total=number))
        cells = Instances.from_box_masks(masks, grey.shape, scores=np.array(scores))
        return cells.select(np.argsort(-np.array(scores), kind="stable"))

    @property
    def score_threshold(self) -> float:
        """See `Segmenter`."""
        return self.settings.score_threshold

    def with_score_threshold(self, threshold: float) -> DummySegmenter:
        """See `Segmenter`."""
        return self.with_settings(score_threshold=threshold)

    def for_diameter(self, diameter: float) -> DummySegmenter:
        """See `Segmenter`."""
        return self.with_settings(cell_diameter=diameter)


def ap50(segmenter: Segmenter, images: Sequence[LabelledPixels]) -> float:
    """AP at IoU 0.5, pooled."""
    counts = Counts()
    for image, references in images:
        counts += count(scored_objects(segmenter.segment(image)).iou(scored_objects(references)), 0.5)
    return counts.ap


def load(base: str, folder: Path | None) -> DummySegmenter:
    """The base `plain`, or what was saved."""
    if base != "plain":
        raise InputError(f"the model {base} can't be loaded; the dummy family has plain alone")
    if folder is None:
        return DummySegmenter(1.0)
    try:
        return DummySegmenter(float(json.loads((folder / "level.json").read_text())))
    except ValueError:
        raise InputError(f"{folder}: level.json holds no number; train again") from None


def train(base: str, images: Sequence[LabelledPixels], recipe: DummyRecipe, run: Run) -> DummySegmenter:
    """The level of the highest AP on the training images."""
    for number, (_, references) in enumerate(images):
        if not len(references):
            raise InputError(f"training image {number} has no annotated cell; choose another one")
    best, level = -1.0, recipe.levels[0]
    for step, tried in enumerate(recipe.levels, start=1):
        ap = ap50(DummySegmenter(tried), images)
        run.on_progress(Progress(done=step, total=len(recipe.levels), loss=1 - ap))
        if ap > best:
            best, level = ap, tried
    return DummySegmenter(level)


def tune(
    segmenter: Segmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[Segmenter, float]:
    """The score threshold of the highest AP."""
    scored = []
    for number, threshold in enumerate(THRESHOLDS, start=1):
        tried = segmenter.with_score_threshold(threshold)
        scored.append((ap50(tried, images), tried))
        on_progress(Progress(done=number, total=len(THRESHOLDS)))
    best = max(ap for ap, _ in scored)
    return next(tried for ap, tried in scored if ap == best), best


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """The level, in a file."""
    assert isinstance(segmenter, DummySegmenter)
    (folder / "level.json").write_text(json.dumps(segmenter.level))


FAMILY = Family(
    name="dummy",
    title="Dummy",
    tuned="dummy",
    summary=lambda base, recipe: f"A dummy that tried {len(recipe.levels)} levels.",
    bases=("plain",),
    recipe=DummyRecipe,
    settings=DummySettings,
    recipes=Path(__file__).parent / "dummy_recipes",
    default_recipe="quick",
    weights=("level.json",),
    load=load,
    train=train,
    save=save,
    tune=tune,
    tags=("dummy",),
)
