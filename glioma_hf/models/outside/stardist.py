"""StarDist as a family: star-convex polygons with 32 rays, published for nuclei or trained here.

The network (Keras), its training, candidates and their suppression are the package's (Schmidt et al., 2018; BSD-3).
Polygons of what it finds may overlap a little; what it learns from are label maps.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from glioma_hf.errors import InputError
from glioma_hf.extras import missing_libraries_named
from glioma_hf.instances import Instances
from glioma_hf.models.base import Family, LabelledPixels, Recipe, Run, Segmenter, typical_diameter
from glioma_hf.models.outside.wrapped import (
    CONFIG,
    RECIPES,
    SCRATCH,
    WEIGHTS,
    Found,
    ScaledSettings,
    WrappedSegmenter,
    beginning_of,
    fetched,
    label_maps,
    read_arrays,
    replaced,
    trained_folder,
    tuned,
)
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.segmentation import Priority

PUBLISHED = ("2D_versatile_fluo", "2D_versatile_he", "2D_paper_dsb2018")
PERCENTILES = (1, 99.8)  # of an image's grey values, which become 0 and 1: the package's usual ones
FLOOR, USUAL_FLOOR = 0.05, 0.2  # chance from which a pixel may be a polygon's: at least, and where not less is asked
TILE = 1024  # pixels of a side that the network sees at once, about
NMS_THRESHS = (0.3, 0.4, 0.5)
SHAPE = ("n_rays", "grid", "n_channel_in", "unet_n_depth", "unet_n_filter_base", "net_conv_after_unet")


class StarDistSettings(ScaledSettings):
    """Which polygons are cells; `score_thresh` is StarDist's `prob_thresh`."""

    score_thresh: float = Field(0.5, ge=0, le=1)
    nms_thresh: float = Field(0.4, ge=0, le=1)  # of two polygons that share more of the smaller, the better one stays


class StarDistRecipe(Recipe):
    """What StarDist's training is given; its defaults are the package's."""

    epochs: int = Field(400, ge=1, le=10**6)
    steps_per_epoch: int = Field(100, ge=1, le=10**6)
    batch: int = Field(4, ge=1, le=4096)
    learning_rate: float = Field(3e-4, gt=0, le=10)  # halved where the loss stays for 40 epochs
    # Pixels to which cells are scaled: what lies beyond the network's sight isn't learned; 0: images as they are.
    diameter: float = Field(0.0, ge=0, le=10**4)
    patch: int = Field(256, ge=32, le=2048, multiple_of=16)  # side of a crop as it is seen; smaller where an image is
    rays: int = Field(32, ge=4, le=256)  # of a polygon; published weights have theirs
    grid: int = Field(2, ge=1, le=8)  # pixels from one candidate to the next
    depth: int = Field(3, ge=1, le=6)  # levels of the U-Net
    filters: int = Field(32, ge=1, le=1024)  # of its first level
    priority: Priority = "first"  # of annotated cells that share a pixel, the one that has it

    def steps(self, images: int) -> int:
        """Batches in all."""
        return self.epochs * self.steps_per_epoch

    def for_steps(self, steps: int) -> StarDistRecipe:
        """The recipe with about so many batches, in as many epochs or fewer."""
        epochs = max(1, min(self.epochs, steps))
        return self.model_copy(update={"epochs": epochs, "steps_per_epoch": max(1, steps // epochs)})


class StarDistConfig(BaseModel):
    """How a saved network is built; kept as `config.json` beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_rays: int = Field(ge=3, le=512)
    grid: tuple[int, int]
    n_channel_in: int = Field(ge=1, le=3)
    unet_n_depth: int = Field(ge=1, le=8)
    unet_n_filter_base: int = Field(ge=1, le=1024)
    net_conv_after_unet: int = Field(ge=0, le=4096)


class StarDistSegmenter(WrappedSegmenter):
    """A `Segmenter` around a `stardist.models.StarDist2D`."""

    def __init__(self, model: Any, settings: StarDistSettings | None = None):
        self.model, self.settings = model, settings or StarDistSettings()

    def look(self, image: np.ndarray, on_progress: OnProgress = ignore) -> tuple[Any, Any, Any, tuple[int, int]]:
        """Chances (N,), distances (N, rays) and places (N, 2) of candidates, and the image's size.

        Every pixel may be one: below `USUAL_FLOOR`, where they are very many, they are kept only if the settings ask.
        """
        view = prepared(image, self)
        tiles = tuple(-(-length // TILE) for length in view.shape[:2]) + (1,) * (view.ndim - 2)
        floor = max(FLOOR, min(USUAL_FLOOR, self.settings.score_thresh))
        heard = callback(on_predict_batch_begin=lambda *_, **__: on_progress(Progress(done=0, total=2)))
        seen = self.model.predict_sparse(
            view, prob_thresh=floor, n_tiles=tiles, show_tile_progress=False, callbacks=[heard]
        )
        return (*seen[:2], seen[-1], image.shape[:2])

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, in the network's order."""
        return _named(self.model.keras_model.get_weights())

    def found(self, seen: tuple[Any, Any, Any, tuple[int, int]]) -> Found:
        """Polygons of the candidates that remain beside better ones."""
        from stardist.geometry import dist_to_coord
        from stardist.nms import non_maximum_suppression_sparse

        chances, distances, places, size = seen
        likely = chances >= self.settings.score_thresh
        if not likely.any():
            return Found(Instances.empty(size))
        places, chances, distances, _ = non_maximum_suppression_sparse(
            distances[likely], chances[likely], places[likely], nms_thresh=self.settings.nms_thresh
        )
        scale = 1 / self.settings.scale
        corners = dist_to_coord(distances, places * scale, scale_dist=(scale, scale)) + scale / 2  # pixels' middles
        outlines = [[xy.astype(float).ravel().tolist()] for xy in corners[:, ::-1].transpose(0, 2, 1)]
        return Found(Instances.from_polygons(outlines, size, scores=np.asarray(chances, float)))


def library() -> Any:
    """The package's models. Raises `InputError` that says what brings them where they aren't installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with missing_libraries_named(keras="stardist"):
        import stardist.models
    return stardist.models


def built(config: Any) -> Any:
    """A network of start values, without the word on thresholds that the package prints."""
    with redirect_stdout(io.StringIO()):
        return library().StarDist2D(config, basedir=None)


def callback(**methods: Any) -> Any:
    """A callback of Keras with these methods; what they raise stops the work."""
    import keras

    return type("Heard", (keras.callbacks.Callback,), {name: staticmethod(of) for name, of in methods.items()})()


def prepared(image: np.ndarray, segmenter: StarDistSegmenter) -> np.ndarray:
    """An image as the network sees it: grey, or thrice the same where it wants colours; scaled and normalised."""
    from csbdeep.utils import normalize

    view = np.asarray(normalize(segmenter.view(image), *PERCENTILES), np.float32)
    channels = segmenter.model.config.n_channel_in
    return view if channels == 1 else np.repeat(view[..., None], channels, 2)


def load(base: str, folder: Path | None) -> StarDistSegmenter:
    """Published weights by name, or what was trained and lies in a folder.

    Raises `InputError` for another name, and weights that can't be had or read.
    """
    if (there := trained_folder("stardist", base, folder, PUBLISHED)) is not None:
        return _read(there)
    kind = library().StarDist2D
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    model = fetched(f"stardist:{base}", home / "models" / kind.__name__ / base, lambda: kind.from_pretrained(base))
    settings = StarDistSettings(score_thresh=model.thresholds.prob, nms_thresh=model.thresholds.nms)
    return StarDistSegmenter(model, settings)


def train(base: str, images: Sequence[LabelledPixels], recipe: StarDistRecipe, run: Run) -> StarDistSegmenter:
    """A network trained by `StarDist2D.train`, from published weights, start values or a trained folder.

    It isn't resumed, and nothing is chosen on validation images before its end: what StarDist calls validation, by
    which the learning rate falls, are the training images. Raises `InputError` for a base that can't be used.
    """
    labels = label_maps(images, recipe.priority)
    library()
    import keras

    keras.utils.set_random_seed(recipe.seed)
    if base == SCRATCH:
        shape = {"unet_n_depth": recipe.depth, "unet_n_filter_base": recipe.filters, "n_rays": recipe.rays}
        config = library().Config2D(grid=(recipe.grid, recipe.grid), **shape)
        segmenter = StarDistSegmenter(built(config))
    else:
        segmenter = load(base, None)
    diameter = typical_diameter(images)
    scale = recipe.diameter / diameter if recipe.diameter else 1.0
    segmenter = segmenter.with_settings(scale=min(max(scale, 0.05), 20), cell_diameter=diameter)
    views = [prepared(image, segmenter) for image, _ in images]
    labels = [nearest(each, view.shape[:2]) for each, view in zip(labels, views, strict=True)]
    model = segmenter.model
    coarsest = max(model._axes_div_by("YX"))
    side = min(recipe.patch, *(length for view in views for length in view.shape[:2])) // coarsest * coarsest
    if not side:
        raise InputError(f"a training image has fewer than {coarsest} pixels on a side as it is seen; leave it out")
    model.config.train_patch_size = (side, side)
    model.config.train_batch_size, model.config.train_n_val_patches = recipe.batch, 1
    model.config.train_learning_rate = recipe.learning_rate
    model.prepare_for_training()
    total, done = recipe.steps(len(images)), 0

    def heard(batch: int, logs: dict[str, float] | None = None) -> None:
        nonlocal done
        done += 1
        run.on_progress(Progress(done=done, total=total, loss=float((logs or {})["loss"])))

    model.callbacks.append(callback(on_train_batch_end=heard))
    rng = np.random.default_rng(recipe.seed)
    fit = model.keras_model.fit
    with replaced(model.keras_model, "fit", lambda *values, **words: fit(*values, **{**words, "verbose": 0})):
        model.train(
            views,
            labels,
            validation_data=(views, labels),
            augmenter=lambda x, y: augmented(x, y, rng),
            epochs=recipe.epochs,
            steps_per_epoch=recipe.steps_per_epoch,
        )
    return segmenter


def nearest(labels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A label map at another size: each pixel's is that of the nearest one."""
    rows, columns = ((np.arange(new) + 0.5) * old / new for new, old in zip(size, labels.shape, strict=True))
    return labels[rows.astype(int)[:, None], columns.astype(int)]


def augmented(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A crop and its label map turned and mirrored alike, the crop with another contrast and brightness."""
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    x, y = np.rot90(x, turns), np.rot90(y, turns)
    if mirrored:
        x, y = x[::-1], y[::-1]
    return x * rng.uniform(0.6, 2) + rng.uniform(-0.2, 0.2), y


def tune(
    segmenter: StarDistSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[StarDistSegmenter, float]:
    """The thresholds of the highest AP; the network looks at an image once."""
    return tuned(segmenter, images, {"nms_thresh": NMS_THRESHS}, on_progress)


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights, in the network's order."""
    from safetensors.numpy import save_file

    assert isinstance(segmenter, StarDistSegmenter)
    config = StarDistConfig(**{name: getattr(segmenter.model.config, name) for name in SHAPE})
    (folder / CONFIG).write_text(config.model_dump_json(indent=2))
    save_file(segmenter.arrays(), folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)


def _read(folder: Path) -> StarDistSegmenter:
    from glioma_hf.models.vision.network_files import read_config

    config = read_config(folder, StarDistConfig)
    model = built(library().Config2D(**config.model_dump()))
    expected = _named(model.keras_model.get_weights())
    model.keras_model.set_weights(list(read_arrays(folder / WEIGHTS, expected).values()))
    return StarDistSegmenter(model, ModelFolder(folder).settings())


def _named(weights: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"weight_{place:03d}": np.ascontiguousarray(value) for place, value in enumerate(weights)}


def summary(base: str, recipe: StarDistRecipe) -> str:
    """What a card says of a model."""
    text = (
        f"Base: {base}. StarDist (package `stardist`, BSD-3), star-convex polygons, trained by its own `train` with "
        "`glioma_hf`."
    )
    rays = f" {recipe.rays} rays." if base == SCRATCH else ""
    return f"{text}{rays} {beginning_of(base)}"


FAMILY = Family(
    name="stardist",
    title="StarDist",
    tuned="trained",
    summary=summary,
    bases=("2D_versatile_fluo", "2D_versatile_he"),
    package="stardist",
    recipe=StarDistRecipe,
    settings=StarDistSettings,
    recipes=RECIPES / "stardist",
    default_recipe="quick",
    weights=(CONFIG, WEIGHTS),
    load=load,
    train=train,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(*PUBLISHED, SCRATCH),
    tags=("stardist",),
)
