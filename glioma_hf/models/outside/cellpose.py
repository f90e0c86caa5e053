"""Cellpose as a family: `cyto3`, `nuclei` and others of Cellpose 3, `cpsam` of Cellpose 4, as published or trained.

The network, its training, flows and dynamics are the package's (Stringer et al., 2021; Stringer & Pachitariu, 2025;
BSD-3). Its masks are a label map: they don't overlap.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances
from glioma_hf.models.base import Family, LabelledPixels, Recipe, Run, Segmenter
from glioma_hf.models.outside.cellpose_package import (
    PUBLISHED,
    device,
    fetched_file,
    flow_errors,
    library,
    model_of,
    new_model,
    new_net,
    usual_bases,
)
from glioma_hf.models.outside.cellpose_size import read_size_model
from glioma_hf.models.outside.wrapped import (
    CONFIG,
    RECIPES,
    SCRATCH,
    WEIGHTS,
    Found,
    WrappedSegmenter,
    WrappedSettings,
    beginning_of,
    grey_float,
    label_maps,
    replaced,
    trained_folder,
    tuned,
)
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.segmentation import Priority

CELLPROB_THRESHOLDS = (-2.0, -1.0, 0.0, 1.0, 2.0)
FLOW_THRESHOLDS = (0.4, 0.8, 0.0)
CHANNELS = [0, 0]  # grey, without nuclei


class CellposeSettings(WrappedSettings):
    """How cells are made of Cellpose's output, in its own words; `score_thresh` is a cell's mean chance."""

    cellprob_threshold: float = Field(0.0, ge=-20, le=20)  # logit from which a pixel is a cell's
    flow_threshold: float = Field(0.4, ge=0, le=100)  # greatest error of a cell's flows; 0: isn't asked
    diameter: float = Field(0.0, ge=0, le=10**5)  # pixels; 0: by the size model, or that of the cells in training


class CellposeRecipe(Recipe):
    """What `cellpose.train.train_seg` is given."""

    cellpose: Literal[3, 4] = 3  # the major version whose networks it is for
    epochs: int = Field(1000, ge=1, le=10**6)
    images_per_epoch: int = Field(0, ge=0, le=10**6)  # drawn anew for each; 0: all, once
    batch: int = Field(8, ge=1, le=4096)
    learning_rate: float = Field(0.1, gt=0, le=10)
    weight_decay: float = Field(1e-4, ge=0, le=1)
    sgd: bool = True  # else AdamW
    crop: int = Field(224, ge=64, le=2048, multiple_of=32)  # side of a crop, turned at random
    rescale: bool = True  # images to the diameter that the network knows
    scale_range: float = Field(0.5, ge=0, le=2)  # crops are seen at 1 - half of it to 1 + half of it
    priority: Priority = "first"  # of annotated cells that share a pixel, the one that has it

    def steps(self, images: int) -> int:
        """Batches in all."""
        return self.epochs * -(-(self.images_per_epoch or images) // self.batch)

    def for_steps(self, steps: int) -> CellposeRecipe:
        """The recipe with about so many batches."""
        per_epoch = -(-(self.images_per_epoch or 1) // self.batch)
        return self.model_copy(update={"epochs": max(1, steps // per_epoch)})


class CellposeConfig(BaseModel):
    """Which network lies in a saved model's folder; kept as `config.json` beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cellpose: Literal[3, 4]


class CellposeFound(Found):
    """Cells with the errors of their flows, (N,), by which Cellpose leaves some out."""

    def __init__(self, cells: Instances, errors: np.ndarray):
        super().__init__(cells)
        self.errors = errors[self.order]

    def kept(self, settings: WrappedSettings) -> np.ndarray:
        """Which remain, in order of rank: their places, (K,)."""
        assert isinstance(settings, CellposeSettings)
        places = super().kept(settings)
        return places[self.errors[places] <= settings.flow_threshold] if settings.flow_threshold else places


class CellposeSegmenter(WrappedSegmenter):
    """A `Segmenter` around a `cellpose.models.CellposeModel`, and a size model where it has one."""

    def __init__(self, model: Any, major: Literal[3, 4], sizes: Any = None, settings: CellposeSettings | None = None):
        self.model, self.net, self.major, self.sizes = model, model.net, major, sizes
        self.settings = settings or CellposeSettings()

    def for_diameter(self, diameter: float) -> CellposeSegmenter:
        """The same model for cells about `diameter` pixels across, by Cellpose's own setting."""
        return self.with_settings(diameter=diameter)

    def look(self, image: np.ndarray, on_progress: OnProgress = ignore) -> tuple[np.ndarray, np.ndarray, float]:
        """Flows (2, H, W), logits (H, W), and by how much the image was resized for them."""
        x, channels = grey_float(image), {"channels": CHANNELS} if self.major == 3 else {}
        hook = self.net.register_forward_pre_hook(lambda *_: on_progress(Progress(done=0, total=2)))
        try:
            diameter = self.settings.diameter or (self.sizes and float(self.sizes.eval(x, channels=CHANNELS)[0]))
            flows = self.model.eval(x, diameter=diameter or None, compute_masks=False, **channels)[1]
        finally:
            hook.remove()
        own = self.model.diam_labels if self.major == 3 else 30.0
        mean = self.model.diam_mean if self.major == 3 else 30.0
        return flows[1], flows[2], float(mean / (diameter or own))

    def found(self, seen: tuple[np.ndarray, np.ndarray, float]) -> Found:
        """Cells that the dynamics make of flows, each with the mean chance of its pixels."""
        (flows, logits, rescale), settings = seen, self.settings
        package = library()
        holed = package.dynamics.compute_masks(
            flows,
            logits,
            niter=max(1, int(200 / rescale)),
            cellprob_threshold=settings.cellprob_threshold,
            flow_threshold=0.0,
            device=self.model.device,
        )
        labels = package.utils.fill_holes_and_remove_small_masks(holed.copy(), min_size=-1)  # numbers stay
        cells = Instances.from_label_map(labels)
        chances = 1 / (1 + np.exp(-logits.clip(-80, 80)))
        scores = np.bincount(labels.ravel(), chances.ravel())[cells.ids] / np.maximum(cells.areas, 1)
        ids, cells = cells.ids, Instances.from_rles(cells.rles, cells.size, scores=scores)
        if not len(cells):
            return CellposeFound(cells, np.zeros(0))
        # Of the cells with their holes, as in the package.
        return CellposeFound(cells, flow_errors(holed, flows, self.model.device)[ids - 1])


def load(base: str, folder: Path | None) -> CellposeSegmenter:
    """Published weights by name, or what was trained and lies in a folder.

    Raises `InputError` for another name, the wrong version of the package, and weights that can't be had or read.
    """
    there = trained_folder("cellpose", base, folder, PUBLISHED)
    return _published(base) if there is None else _read(there)


def _published(base: str, exact: bool = False) -> CellposeSegmenter:
    """Weights by name; `exact`: in full precision also where a network of Cellpose 4 is faster in bfloat16."""
    major, file, size_file = PUBLISHED[base]
    models = library(major, base).models
    path = fetched_file(models, base, file)
    try:
        if major == 3:
            model = models.CellposeModel(model_type=base, device=device(), mkldnn=False)
        else:
            from glioma_hf.models.device import has_fast_bfloat16

            fast = not exact and has_fast_bfloat16(device())
            model = models.CellposeModel(pretrained_model=str(path), device=device(), use_bfloat16=fast)
    except (pickle.UnpicklingError, RuntimeError, ValueError, AssertionError, KeyError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: not the weights of cellpose:{base} ({reason}); delete the file, get it again"
        ) from None
    sizes = read_size_model(models, model, fetched_file(models, base, size_file)) if size_file else None
    return CellposeSegmenter(model, 3 if major == 3 else 4, sizes)


def train(base: str, images: Sequence[LabelledPixels], recipe: CellposeRecipe, run: Run) -> CellposeSegmenter:
    """A network trained by `cellpose.train.train_seg`, from published weights, start values or a trained folder.

    It isn't resumed, and nothing is chosen on validation images before its end. Raises `InputError` where a base or a
    recipe can't be used.
    """
    import torch

    labels = label_maps(images, recipe.priority)
    torch.manual_seed(recipe.seed)
    if base == SCRATCH:
        segmenter = CellposeSegmenter(new_model(3), 3)
    else:
        there = trained_folder("cellpose", base, None, PUBLISHED)
        segmenter = _published(base, exact=True) if there is None else _read(there)
    major, net = segmenter.major, segmenter.net
    if major != recipe.cellpose:
        name = "cpsam" if major == 4 else "quick"
        raise InputError(f"cellpose:{base} is a network of Cellpose {major}; give a recipe of it (--recipe {name})")
    module, total = library(major, base).train, recipe.steps(len(images))
    loss_of, done = module._loss_fn_seg, 0

    def heard(*values: Any) -> Any:
        nonlocal done
        loss = loss_of(*values)
        done += 1
        run.on_progress(Progress(done=done, total=total, loss=float(loss.detach())))
        return loss

    channels = {"channels": CHANNELS} if major == 3 else {}
    with tempfile.TemporaryDirectory() as work, replaced(module, "_loss_fn_seg", heard):
        module.train_seg(
            net,
            train_data=[grey_float(image) for image, _ in images],
            train_labels=labels,
            save_path=work,
            n_epochs=recipe.epochs,
            nimg_per_epoch=recipe.images_per_epoch or None,
            batch_size=recipe.batch,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            SGD=recipe.sgd,
            bsize=recipe.crop,
            rescale=recipe.rescale,
            scale_range=recipe.scale_range,
            min_train_masks=1,
            save_every=recipe.epochs + 1,
            **channels,
        )
    return CellposeSegmenter(model_of(net, major), major, settings=segmenter.settings)


def tune(
    segmenter: CellposeSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[CellposeSegmenter, float]:
    """The thresholds of the highest AP; the network looks at an image once, the dynamics are followed anew."""
    ways, choosing = {"cellprob_threshold": CELLPROB_THRESHOLDS}, {"flow_threshold": FLOW_THRESHOLDS}
    return tuned(segmenter, images, ways, on_progress, choosing=choosing)


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights."""
    from glioma_hf.models.vision.network_files import save_network

    assert isinstance(segmenter, CellposeSegmenter)
    save_network(segmenter.net, CellposeConfig(cellpose=segmenter.major), folder)


def _read(folder: Path) -> CellposeSegmenter:
    from glioma_hf.models.vision.network_files import read_config, read_network

    config = read_config(folder, CellposeConfig)
    library(config.cellpose, folder.name)
    net = read_network(folder, lambda: new_net(config.cellpose))
    kept = ModelFolder(folder).settings()
    return CellposeSegmenter(model_of(net.to(device()), config.cellpose), config.cellpose, settings=kept)


def summary(base: str, recipe: CellposeRecipe) -> str:
    """What a card says of a model."""
    text = (
        f"Base: {base}. Cellpose {recipe.cellpose} (package `cellpose`, BSD-3), trained by its own `train_seg` with "
        "`glioma_hf`; its masks are a label map and don't overlap."
    )
    return f"{text} {beginning_of(base)}"


FAMILY = Family(
    name="cellpose",
    title="Cellpose",
    tuned="trained",
    summary=summary,
    bases=usual_bases(),
    package="cellpose",
    recipe=CellposeRecipe,
    settings=CellposeSettings,
    recipes=RECIPES / "cellpose",
    default_recipe="cpsam" if "cpsam" in usual_bases() else "quick",
    weights=(CONFIG, WEIGHTS),
    load=load,
    train=train,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(*PUBLISHED, SCRATCH),
    tags=("cellpose",),
)
