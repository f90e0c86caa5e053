"""DeepSea as a family: the one network for phase contrast that comes trained in a package of PyPI.

Its segmenter is `vision.phase_cells`. It has one base, isn't trained here, and nothing of it is saved but thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.metrics.image_score import is_scored, scored_objects
from glioma_hf.metrics.matching import Counts, count
from glioma_hf.metrics.scoring_options import ScoringOptions
from glioma_hf.models.base import Family, LabelledPixels, Recipe, Run, Segmenter
from glioma_hf.models.candidates import middle_of_best
from glioma_hf.models.vision.phase_cells import PhaseSegmenter, PhaseSettings, deepsea
from glioma_hf.models.vision.pretrained import PACKAGES
from glioma_hf.progress import OnProgress, Progress, ignore

PUBLISHED = "published"
EDGE_WEIGHTS = (0.0, 0.5, 1.0, 2.0)
MASK_THRESHS = (0.4, 0.5, 0.6, 0.7)
AREAS = (1.0, 2.5, 5.0)  # of the segmenter's `min_area`
SCORE_THRESHS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9)


def load(base: str, folder: Path | None) -> PhaseSegmenter:
    """The network as it was published. Raises `InputError` for another base, and where its package isn't installed."""
    if base != PUBLISHED or folder is not None:
        raise InputError(f"the model deepsea:{base} can't be loaded; there is deepsea:{PUBLISHED} alone")
    return deepsea()


def train(base: str, images: Sequence[LabelledPixels], recipe: Recipe, run: Run) -> Segmenter:
    """Raises `InputError`, always."""
    raise _not_trained()


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Raises `InputError`, always."""
    raise _not_trained()


def tune(
    segmenter: PhaseSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[PhaseSegmenter, float]:
    """The segmenter with the settings of the highest AP at IoU 0.5, pooled over validation images, and that AP.

    Its maps are made once per image.
    """
    settings = segmenter.settings
    maps, references = [], []
    for number, (image, instances) in enumerate(images, start=1):
        maps.append(segmenter.maps(image))
        references.append(scored_objects(instances))
        on_progress(Progress(f"validation image {number} of {len(images)}", number, len(images)))
    areas = [round(settings.min_area * factor) for factor in AREAS]
    rated: list[tuple[float, PhaseSettings]] = []
    for weight, chance in product(EDGE_WEIGHTS, MASK_THRESHS):
        way = {"edge_weight": weight, "mask_thresh": chance}
        loose = segmenter.with_settings(**way, score_thresh=0.0)
        sides = []
        for each, reference in zip(maps, references, strict=True):
            cells = loose.found(each)
            cells = cells.select(is_scored(cells, ScoringOptions()))
            scores = np.zeros(len(cells)) if cells.scores is None else cells.scores
            sides.append((scores, cells.areas, cells.iou(reference)))
        for area, score in product(areas, SCORE_THRESHS):
            counts = sum((count(iou[(s >= score) & (a >= area)], 0.5) for s, a, iou in sides), Counts())
            chosen = {**way, "min_area": area, "score_thresh": score}
            rated.append((counts.ap, settings.model_copy(update=chosen)))
    best, chosen_settings = middle_of_best(rated)
    return segmenter.with_settings(**chosen_settings.model_dump()), best


def _not_trained() -> InputError:
    return InputError(
        "DeepSea comes trained and isn't trained here; predict with it as it is, or train a model of the family "
        "centres, which reads its features"
    )


FAMILY = Family(
    name="deepsea",
    title="DeepSea",
    tuned="as published",
    summary=lambda base, recipe: f"As published: {PACKAGES['deepsea'].licence}.",
    bases=(PUBLISHED,),
    recipe=Recipe,
    settings=PhaseSettings,
    recipes=Path(__file__).parent / "recipes",
    default_recipe="none",
    weights=(),
    load=load,
    train=train,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(PUBLISHED,),
    tags=("deepsea",),
)
