"""YOLO11-seg as a family: boxes, classes and masks that may overlap, several categories by one network.

The network, its losses and its training are the package `ultralytics`, which is AGPL-3.0: no dependency of this
package, in no extra but its own, and imported only where it is installed and a model of this family is asked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError, WorkStopped
from glioma_hf.extras import missing_libraries_named
from glioma_hf.instances import Instances
from glioma_hf.models.base import Family, LabelledPixels, Recipe, Run, Segmenter, typical_diameter
from glioma_hf.models.candidates import enlarge
from glioma_hf.models.outside.wrapped import (
    CONFIG,
    RECIPES,
    SCRATCH,
    WEIGHTS,
    Found,
    ScaledSettings,
    WrappedSegmenter,
    check_annotated,
    fetched,
    replaced,
    tuned,
)
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, Progress, ignore

Network = Literal["yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg"]
NETWORKS: tuple[str, ...] = ("yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg")
PERCENTILES = (0.1, 99.9)  # of an image's grey values, which become 0 and 255
STRIDE = 32  # pixels: sides that the network sees are multiples of it
FLOOR = 0.001  # confidence below which nothing is looked at
NMS_IOUS = (0.5, 0.7)


class YoloSettings(ScaledSettings):
    """Which detections are kept; `score_thresh` is the confidence, 0.25 as in the paper."""

    score_thresh: float = Field(0.25, ge=0, le=1)
    box_nms_iou: float = Field(0.7, ge=0, le=1)  # of two boxes of one class with more the better one stays
    max_det: int = Field(1000, ge=1, le=10**5)  # detections of an image


class YoloRecipe(Recipe):
    """What the package's trainer is given; its other settings are the package's defaults."""

    epochs: int = Field(395, ge=1, le=10**6)
    size: int = Field(1024, ge=64, le=8192, multiple_of=32)  # pixels of an image's longer side, as the network sees it
    batch: int = Field(16, ge=1, le=4096)
    optimizer: Literal["auto", "SGD", "Adam", "AdamW"] = "auto"  # auto chooses its learning rate too
    learning_rate: float = Field(0.01, gt=0, le=10)
    warmup_epochs: float = Field(3.0, ge=0, le=10**4)  # in which it rises, for at least 100 batches; 0: none
    overlap_mask: bool = False  # whether masks are one map in training, where of two that overlap the smaller is whole
    mosaic: float = Field(1.0, ge=0, le=1)  # how often four images are put together
    close_mosaic: int = Field(10, ge=0, le=10**6)  # epochs at the end without that
    flipud: float = Field(0.0, ge=0, le=1)  # how often an image is turned upside down

    def steps(self, images: int) -> int:
        """Batches in all."""
        return self.epochs * -(-images // self.batch)

    def for_steps(self, steps: int) -> YoloRecipe:
        """The recipe with about so many batches on one image."""
        return self.model_copy(update={"epochs": max(1, steps)})


class YoloConfig(BaseModel):
    """How a saved network is built; kept as `config.json` beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Network
    classes: tuple[Literal["cell", "cell_a", "cell_b", "soma", "nucleus"], ...] = Field(min_length=1)


class YoloSegmenter(WrappedSegmenter):
    """A `Segmenter` around a `SegmentationModel`; without a config its classes are those of photographs: all cells."""

    def __init__(self, net: Any, config: YoloConfig | None = None, settings: YoloSettings | None = None):
        self.net, self.config, self.settings = net.eval(), config, settings or YoloSettings()

    def look(self, image: np.ndarray, on_progress: OnProgress = ignore) -> tuple[Any, Any, tuple[int, int]]:
        """Boxes, confidences and coefficients (1, 4 + C + M, N), prototypes of masks (M, h, w), the image's size."""
        import torch

        view = eight_bit(self.view(image))
        filled = np.full([-(-side // STRIDE) * STRIDE for side in view.shape], 114, np.uint8)  # as the package fills
        filled[: view.shape[0], : view.shape[1]] = view
        pixels = torch.from_numpy(filled).to(next(self.net.parameters()).device)
        with torch.inference_mode():
            (detections, prototypes), _ = self.net((pixels.float() / 255).expand(1, 3, -1, -1))
        return detections.float().cpu(), prototypes[0].float().cpu(), image.shape[:2]

    def found(self, seen: tuple[Any, Any, tuple[int, int]]) -> Found:
        """Detections that remain, each with its mask in full resolution, cut by its box; masks may overlap."""
        from ultralytics.utils.nms import non_max_suppression

        detections, prototypes, size = seen
        settings = self.settings
        kept = non_max_suppression(
            detections.clone(),
            conf_thres=max(FLOOR, settings.score_thresh),
            iou_thres=settings.box_nms_iou,
            max_det=settings.max_det,
            nc=detections.shape[1] - 4 - len(prototypes),
            max_time_img=60.0,
        )[0].numpy()
        names = self.config.classes if self.config else ()
        masks, scores, categories = [], [], []
        spacing = 4.0  # pixels of the view from one value of a prototype to the next
        for x0, y0, x1, y1, score, number, *weights in kept:
            top, left = max(0, int(y0 / spacing) - 1), max(0, int(x0 / spacing) - 1)
            rows, columns = slice(top, int(y1 / spacing) + 2), slice(left, int(x1 / spacing) + 2)
            logits = np.tensordot(np.asarray(weights), prototypes.numpy()[:, rows, columns], 1)
            if min(logits.shape) < 2:
                continue
            y, x = ((np.arange(n) + first + 0.5) * spacing for n, first in zip(logits.shape, (top, left), strict=True))
            outside = (y[:, None] < y0) | (y[:, None] > y1) | (x < x0) | (x > x1)
            logits[outside] = np.minimum(logits[outside], -1.0)
            pixels = spacing / settings.scale
            mask = enlarge(logits, 0.0, (top * pixels, left * pixels), pixels, size)
            if mask is not None:
                masks.append(mask)
                scores.append(float(score))
                categories.append(CATEGORIES.index(names[int(number)]) if names else 0)
        return Found(Instances.from_box_masks(masks, size, categories=categories, scores=np.array(scores)))


def eight_bit(grey: np.ndarray) -> np.ndarray:
    """Grey values between an image's percentiles: uint8 (H, W)."""
    low, high = np.percentile(grey, PERCENTILES)
    return (((grey - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255).round().astype(np.uint8)


def library() -> Any:
    """The package, told to fetch and install nothing by itself. Raises `InputError` where it isn't installed."""
    from huggingface_hub import constants

    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if constants.HF_HUB_OFFLINE:
        os.environ.setdefault("YOLO_OFFLINE", "true")
    with missing_libraries_named(ultralytics="yolo"):
        import ultralytics.nn.tasks
        import ultralytics.utils
    return ultralytics


def load(base: str, folder: Path | None) -> YoloSegmenter:
    """Published weights by name (NAME.pt), or what was trained and lies in a folder.

    Raises `InputError` for another name, and weights that can't be had or read.
    """
    if folder is not None or Path(base).is_dir():
        return _read(folder or Path(base))
    name, published = _network(base)
    if not published:
        raise InputError(f"the model yolo:{base} has seen no cell yet; train it first")
    net = _new_net(name, 80)
    net.load_state_dict(_published(name))
    return YoloSegmenter(_on_device(net))


def train(base: str, images: Sequence[LabelledPixels], recipe: YoloRecipe, run: Run) -> YoloSegmenter:
    """A network trained by the package's `SegmentationTrainer`: one class for each category of the images.

    It isn't resumed, and nothing is chosen on validation images before its end. Raises `InputError` for a base that
    can't be used; `WorkStopped` where the loss isn't finite.
    """
    check_annotated(images)
    present = np.unique(np.concatenate([cells.categories[~cells.crowd] for _, cells in images])).tolist()
    classes = tuple(CATEGORIES[category] for category in present)
    library().utils.LOGGER.setLevel("ERROR")
    import torch

    torch.manual_seed(recipe.seed)
    if Path(base).is_dir():
        start = _read(Path(base))
        assert start.config is not None
        name, weights = start.config.network, start.net.state_dict()
    else:
        name, published = _network(base)
        weights = _published(name) if published else {}
    net = _new_net(name, len(classes))
    own = net.state_dict()
    net.load_state_dict(own | {key: value for key, value in weights.items() if own[key].shape == value.shape})
    with tempfile.TemporaryDirectory() as work:
        _write(images, present, Path(work))
        trained = _trained(net, name, recipe, run, Path(work))
    net = _new_net(name, len(classes))
    net.load_state_dict(trained)
    longest = float(np.median([max(image.shape[:2]) for image, _ in images]))
    settings = YoloSettings(scale=recipe.size / longest, cell_diameter=typical_diameter(images))
    return YoloSegmenter(_on_device(net), YoloConfig(network=name, classes=classes), settings)  # type: ignore[arg-type]


def _trained(net: Any, name: str, recipe: YoloRecipe, run: Run, work: Path) -> dict[str, Any]:
    """The running mean of the weights, at the end. No checkpoint is written or read, since those are pickles."""
    import torch
    from ultralytics.engine import trainer as engine
    from ultralytics.models.yolo.segment import SegmentationTrainer

    class Trainer(SegmentationTrainer):
        def save_model(self) -> bool:
            return False

        def validate(self) -> tuple[dict[str, float], float]:
            return {}, 0.0

        def final_eval(self) -> None:
            return None

    gpu = torch.cuda.is_available()
    overrides = {
        "model": f"{name}.yaml",
        "data": str(work / "data.yaml"),
        "project": str(work),
        "name": "run",
        "epochs": recipe.epochs,
        "patience": recipe.epochs,
        "imgsz": recipe.size,
        "batch": recipe.batch,
        "optimizer": recipe.optimizer,
        "lr0": recipe.learning_rate,
        "warmup_epochs": recipe.warmup_epochs,
        "overlap_mask": recipe.overlap_mask,
        "mosaic": recipe.mosaic,
        "close_mosaic": recipe.close_mosaic,
        "flipud": recipe.flipud,
        "seed": recipe.seed,
        "device": "0" if gpu else "cpu",
        "amp": "bf16" if gpu else False,  # "True" would first fetch another network to try it on
        "workers": run.workers,
        "plots": False,
        "save": False,
        "val": False,
        "verbose": False,
    }
    done = 0

    def heard(trainer: Any) -> None:
        nonlocal done
        done += 1
        total = trainer.epochs * len(trainer.train_loader)
        run.on_progress(Progress(done=done, total=total, loss=float(trainer.loss.detach()) / trainer.batch_size))

    with replaced(engine.callbacks, "add_integration_callbacks", lambda instance: None):  # they tell of the run online
        trainer = Trainer(overrides=overrides)
        trainer.add_callback("on_train_batch_end", heard)
        trainer.model = net
        try:
            trainer.train()
        except RuntimeError as error:
            if "NaN" in str(error):
                raise WorkStopped("the loss isn't finite; lower the recipe's learning rate") from None
            raise
    return {key: value.float().cpu() if value.is_floating_point() else value.cpu()
            for key, value in trainer.ema.ema.state_dict().items()}


def _write(images: Sequence[LabelledPixels], categories: Sequence[int], work: Path) -> None:
    """A data set as the package reads it: images, and a text file of outlines in shares of the sides for each."""
    for name in ("images", "labels"):
        (work / name).mkdir()
    for number, (image, cells) in enumerate(images):
        view = np.asarray(image, np.float32)
        pixels = eight_bit(view[..., :3].mean(2) if view.ndim == 3 else view)
        Image.fromarray(pixels).convert("RGB").save(work / "images" / f"{number:05d}.png")
        lines = []
        for category, crowd, polygons in zip(cells.categories, cells.crowd, cells.to_polygons(), strict=True):
            if polygons and not crowd:
                outline = np.array(max(polygons, key=len)).reshape(-1, 2) / pixels.shape[::-1]  # of its largest part
                lines.append(" ".join([str(categories.index(category)), *(f"{value:.6f}" for value in outline.ravel())]))
        (work / "labels" / f"{number:05d}.txt").write_text("\n".join(lines))
    names = dict(enumerate(CATEGORIES[category] for category in categories))
    text = {"path": str(work), "train": "images", "val": "images", "names": names}
    (work / "data.yaml").write_text(yaml.safe_dump(text))


def tune(
    segmenter: YoloSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[YoloSegmenter, float]:
    """The thresholds of the highest AP; where it tells classes apart, a cell of the wrong one is none."""
    typed = segmenter.config is not None and len(segmenter.config.classes) > 1
    return tuned(segmenter, images, {"box_nms_iou": NMS_IOUS}, on_progress, typed)


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights."""
    from glioma_hf.models.vision.network_files import save_network

    assert isinstance(segmenter, YoloSegmenter) and segmenter.config is not None
    save_network(segmenter.net, segmenter.config, folder)


def _read(folder: Path) -> YoloSegmenter:
    from safetensors import SafetensorError

    from glioma_hf.models.checked import check_finite, read_tensors
    from glioma_hf.models.vision.network_files import read_config

    config, path = read_config(folder, YoloConfig), folder / WEIGHTS
    net = _new_net(config.network, len(config.classes))
    try:
        tensors = read_tensors(path, net.state_dict())
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]}); train again") from None
    check_finite(tensors.items(), str(path))
    net.load_state_dict(tensors)
    return YoloSegmenter(_on_device(net), config, ModelFolder(folder).settings())


def _network(base: str) -> tuple[str, bool]:
    """Which network a base is, and whether with published weights. Raises `InputError` for another name."""
    name = NETWORKS[0] if base == SCRATCH else base.removesuffix(".pt").removesuffix(".yaml")
    if name not in NETWORKS:
        known = ", ".join(f"{name}.pt" for name in NETWORKS)
        raise InputError(f"the model yolo:{base} isn't known; it is one of {known}, these names without .pt to train "
                         f"from scratch, {SCRATCH}, or a folder that train wrote")
    return name, base.endswith(".pt")


def _new_net(name: str, classes: int) -> Any:
    return library().nn.tasks.SegmentationModel(f"{name}.yaml", ch=3, nc=classes, verbose=False)


def _published(name: str) -> dict[str, Any]:
    """The package's own file of weights, a pickle, read by its loader that builds nothing but known layers."""
    package = library()
    tasks, path = package.nn.tasks, Path(package.utils.SETTINGS["weights_dir"]) / f"{name}.pt"
    if not getattr(getattr(tasks, "_SafeLoad", None), "SUPPORTED", False):
        raise InputError(
            f"the weights of yolo:{name}.pt are a pickle, and the installed ultralytics can't read it without running "
            "what it holds; pip install 'ultralytics>=8.4.190'"
        )
    checkpoint = fetched(f"yolo:{name}.pt", path, lambda: tasks.torch_safe_load(path, safe_only=True)[0])
    weights: dict[str, Any] = (checkpoint.get("ema") or checkpoint["model"]).float().state_dict()
    return weights


def _on_device(net: Any) -> Any:
    from glioma_hf.models.device import best_device

    return net.to(best_device())


def summary(base: str, recipe: YoloRecipe) -> str:
    """What a card says of a model, its licence above all."""
    text = (
        f"Base: {base}. YOLO11-seg, trained by the package `ultralytics` with `glioma_hf`. **Licence: AGPL-3.0**, as "
        "its authors hold for the package and for networks trained with it; who loads this model needs the package."
    )
    return text if base.endswith(".pt") else f"{text} Nothing in it was trained before."


FAMILY = Family(
    name="yolo",
    title="YOLO11-seg",
    tuned="trained",
    summary=summary,
    bases=(SCRATCH,),
    recipe=YoloRecipe,
    settings=YoloSettings,
    recipes=RECIPES / "yolo",
    default_recipe="quick",
    weights=(CONFIG, WEIGHTS),
    load=load,
    train=train,
    save=save,
    tune=tune,  # type: ignore[arg-type]  # takes the family's own segmenters alone
    not_on_hub=(SCRATCH, *NETWORKS, *(f"{name}.pt" for name in NETWORKS), *(f"{name}.yaml" for name in NETWORKS)),
    tags=("yolo", "ultralytics"),
)
