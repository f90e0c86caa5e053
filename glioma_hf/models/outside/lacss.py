"""LACSS as a family: cells found by their places and each segmented around it; masks may overlap.

The network (JAX), its losses and its prediction in overlapping grids are the package's (Ji Yu; MIT). Its published
weights are pickles, read by `lacss_pickle`; its own trainer doesn't work in 0.15.2, so the loop is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from glioma_hf import hub
from glioma_hf.errors import InputError, WorkStopped
from glioma_hf.extras import missing_libraries_named
from glioma_hf.instances import Instances
from glioma_hf.models.base import Family, LabelledPixels, Recipe, Run, Segmenter, typical_diameter
from glioma_hf.models.outside.lacss_crops import Crops
from glioma_hf.models.outside.wrapped import (
    CONFIG,
    RECIPES,
    SCRATCH,
    WEIGHTS,
    Found,
    ScaledSettings,
    WrappedSegmenter,
    beginning_of,
    check_annotated,
    read_arrays,
    trained_folder,
    tuned,
)
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, Progress, ignore

# By the names of the package's documentation: its own.
PUBLISHED = {
    "small-2dL": "lacss3-small-livecell",
    "small-2dC": "lacss3-small-cellpose",
    "small-2dN": "lacss3-small-nips",
    "small": "lacss3-small",
    "base": "lacss3-base",
}
FLOOR = 0.1  # score below which nothing is looked at


class LacssSettings(ScaledSettings):
    """Which cells are kept."""

    score_thresh: float = Field(0.5, ge=0, le=1)
    nms_iou: float = Field(0.4, ge=0, le=1)  # of two boxes with more the better one stays
    mask_thresh: float = Field(0.5, gt=0, lt=1)  # chance from which a pixel is the cell's


class LacssConfig(BaseModel):
    """How the network is built, in the package's words; kept as `config.json` beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_type: Literal["tiny", "small", "base", "large", "tiny_v2", "base_v2", "large_v2"] = "tiny"
    patch_size: int = Field(4, ge=1, le=16)
    fpn_dim: int = Field(384, ge=32, le=4096, multiple_of=32)
    out_dim: int = Field(256, ge=32, le=4096, multiple_of=32)
    n_layers_det: int = Field(4, ge=0, le=16)
    n_layers_seg: int = Field(3, ge=0, le=16)
    instance_crop_size: int = Field(96, ge=16, le=512)  # pixels about a cell's place in which its mask lies
    patch_dim: int = Field(32, ge=16, le=4096)
    sig_dim: int = Field(512, ge=1, le=8192)
    pos_emb_shape: tuple[int, int, int] = (16, 16, 4)


class LacssRecipe(Recipe):
    """What training from scratch, or on from other weights, is given."""

    max_steps: int = Field(20000, ge=1, le=10**7)
    batch: int = Field(2, ge=1, le=256)  # crops
    crop: int = Field(256, ge=64, le=1024, multiple_of=32)  # side of a crop, turned and mirrored at random
    diameter: float = Field(32.0, ge=8, le=96)  # pixels: to which cells are scaled; their masks fit in 96
    cells: int = Field(64, ge=1, le=256)  # of a crop, at most
    learning_rate: float = Field(1e-3, gt=0, le=10)  # falls to 0 by a cosine
    weight_decay: float = Field(1e-4, ge=0, le=1)
    network: LacssConfig = LacssConfig()  # from scratch alone

    def steps(self, images: int) -> int:
        """Batches in all."""
        return self.max_steps

    def for_steps(self, steps: int) -> LacssRecipe:
        """The recipe with so many batches."""
        return self.model_copy(update={"max_steps": max(1, steps)})


class LacssSegmenter(WrappedSegmenter):
    """A `Segmenter` around a `Lacss` module and its weights, nested dicts of arrays."""

    def __init__(self, config: LacssConfig, weights: dict[str, Any], settings: LacssSettings | None = None):
        from lacss.deploy.predict import Predictor

        self.config, self.weights, self.settings = config, weights, settings or LacssSettings()
        module = module_of(config)
        module.detector.min_score = FLOOR
        self.predictor = Predictor((module, weights))

    def look(self, image: np.ndarray, on_progress: OnProgress = ignore) -> tuple[Any, Any, tuple[int, int]]:
        """Scores (N,) and outlines, (points, 2) each, x before y, and the image's size."""
        settings = self.settings
        seen = self.predictor.predict(
            self.view(image)[..., None],
            output_type="contour",
            score_threshold=FLOOR,
            segmentation_threshold=settings.mask_thresh,
            nms_iou=settings.nms_iou,
        )
        return seen["pred_scores"], seen["pred_contours"], image.shape[:2]

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by their paths in the network."""
        from flax.traverse_util import flatten_dict

        return {name: np.ascontiguousarray(value) for name, value in flatten_dict(self.weights, sep="/").items()}

    def found(self, seen: tuple[Any, Any, tuple[int, int]]) -> Found:
        """Cells of the outlines, which may overlap."""
        scores, outlines, size = seen
        whole = [place for place, outline in enumerate(outlines) if len(outline) > 2]
        polygons = [[(np.asarray(outlines[i], float) / self.settings.scale).ravel().tolist()] for i in whole]
        return Found(Instances.from_polygons(polygons, size, scores=np.asarray(scores, float)[whole]))


def library() -> Any:
    """The package. Raises `InputError` that says what brings it where it isn't installed."""
    if find_spec("lacss") is None:
        raise InputError(
            "lacss isn't installed; pip install 'glioma_hf[lacss]' and pip install --no-deps lacss==0.15.2 "
            "'xtrain<0.5' bring it"
        )
    with missing_libraries_named(jax="lacss", flax="lacss", optax="lacss", vedo="lacss"):
        import lacss.deploy
        import lacss.modules
    return lacss


def module_of(config: LacssConfig) -> Any:
    """The network of a config, for images without depth."""
    from lacss.modules import Lacss
    from lacss.modules.backbone import Backbone

    segmentor = {
        name: getattr(config, name) for name in ("instance_crop_size", "patch_dim", "sig_dim", "pos_emb_shape")
    }
    backbone = {name: value for name, value in config if name not in segmentor}
    kinds = library().modules
    return Lacss(backbone=Backbone(**backbone), detector=kinds.LPN(), segmentor=kinds.Segmentor(**segmentor))


def load(base: str, folder: Path | None) -> LacssSegmenter:
    """Published weights by name, or what was trained and lies in a folder.

    Raises `InputError` for another name, and weights that can't be had or read.
    """
    if (there := trained_folder("lacss", base, folder, PUBLISHED)) is not None:
        return _read(there)
    from glioma_hf.models.outside.lacss_pickle import read_published

    owner, repo, *_, file = urlparse(library().deploy.model_urls[PUBLISHED[base]]).path.strip("/").split("/")
    folder = hub.fetch(f"{owner}/{repo}", [file])
    if folder is None:
        raise InputError(
            f"the weights of lacss:{base} aren't here and {owner}/{repo} isn't reached; or train {SCRATCH}"
        )
    config, weights = read_published(folder / file)
    named = {**config["backbone"], **config["segmentor"]}
    fields = {name: named[name] for name in LacssConfig.model_fields if name in named}
    flat = {name: weights[name] for name in ("backbone", "detector", "segmentor")}  # without those for depth
    return LacssSegmenter(LacssConfig.model_validate(fields), flat)


def train(base: str, images: Sequence[LabelledPixels], recipe: LacssRecipe, run: Run) -> LacssSegmenter:
    """A network trained on crops by the package's losses, from start values, published weights or a trained folder.

    Masks keep their overlaps. It isn't resumed, and nothing is chosen on validation images before its end. Raises
    `InputError` for a base that can't be used; `WorkStopped` where the loss isn't finite.
    """
    check_annotated(images)
    library()
    import jax
    import optax
    from lacss.losses import lpn_loss, segmentation_loss
    from lacss.train.train import train_fn

    start = None if base == SCRATCH else load(base, None)
    config = recipe.network if start is None else start.config
    module, scale = module_of(config), recipe.diameter / typical_diameter(images)
    crops = Crops(images, scale, recipe.crop, recipe.cells, recipe.seed)
    weights = start.weights if start else module.init(jax.random.PRNGKey(recipe.seed), crops.one()[0])["params"]

    def loss_of(weights: Any, key: Any, image: Any, places: Any, masks: Any, boxes: Any) -> Any:
        said = module.apply({"params": weights}, image, places, method=train_fn, rngs={"dropout": key})
        batch = ({"image": image}, {"gt_masks": masks, "gt_bboxes": boxes})
        return lpn_loss(batch, said) + segmentation_loss(batch, said)

    rate = optax.cosine_decay_schedule(recipe.learning_rate, recipe.max_steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=recipe.weight_decay))

    @jax.jit
    def step(weights: Any, state: Any, keys: Any, crops: Any) -> Any:
        def mean(weights: Any) -> Any:
            return jax.vmap(loss_of, (None, 0, 0, 0, 0, 0))(weights, keys, *crops).mean()

        loss, slope = jax.value_and_grad(mean)(weights)
        change, state = optimizer.update(slope, state, weights)
        return optax.apply_updates(weights, change), state, loss

    state = optimizer.init(weights)
    for done in range(1, recipe.max_steps + 1):
        keys = jax.random.split(jax.random.PRNGKey(recipe.seed + done), recipe.batch)
        weights, state, loss = step(weights, state, keys, crops.batch(recipe.batch))
        if not np.isfinite(loss):
            raise WorkStopped(f"the loss isn't finite at step {done}; lower the recipe's learning rate")
        run.on_progress(Progress(done=done, total=recipe.max_steps, loss=float(loss)))
    settings = LacssSettings(scale=float(np.clip(scale, 0.05, 20)), cell_diameter=typical_diameter(images))
    return LacssSegmenter(config, jax.tree_util.tree_map(np.asarray, weights), settings)


def tune(
    segmenter: LacssSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[LacssSegmenter, float]:
    """The score and area of the highest AP; the network looks at an image once."""
    return tuned(segmenter, images, {}, on_progress)


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights, by their paths in the network."""
    from safetensors.numpy import save_file

    assert isinstance(segmenter, LacssSegmenter)
    (folder / CONFIG).write_text(segmenter.config.model_dump_json(indent=2))
    save_file(segmenter.arrays(), folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)


def _read(folder: Path) -> LacssSegmenter:
    from glioma_hf.models.vision.network_files import read_config

    config = read_config(folder, LacssConfig)
    library()
    import jax
    from flax.traverse_util import flatten_dict, unflatten_dict

    image = np.zeros((64, 64, 3), np.float32)
    shapes = jax.eval_shape(module_of(config).init, jax.random.PRNGKey(0), image)["params"]
    weights = read_arrays(folder / WEIGHTS, flatten_dict(shapes, sep="/"))
    return LacssSegmenter(config, unflatten_dict(weights, sep="/"), ModelFolder(folder).settings())


def summary(base: str, recipe: LacssRecipe) -> str:
    """What a card says of a model."""
    text = f"Base: {base}. LACSS (package `lacss`, MIT), trained by its losses with `glioma_hf`; its masks may overlap."
    return f"{text} {beginning_of(base)}"


FAMILY = Family(
    name="lacss",
    title="LACSS",
    tuned="trained",
    summary=summary,
    bases=("small-2dL",),
    package="lacss",
    recipe=LacssRecipe,
    settings=LacssSettings,
    recipes=RECIPES / "lacss",
    default_recipe="quick",
    weights=(CONFIG, WEIGHTS),
    load=load,
    train=train,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(*PUBLISHED, SCRATCH),
    tags=("lacss",),
)
