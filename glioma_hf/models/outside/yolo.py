"""YOLO11-seg as a family: boxes, classes and masks that may overlap, several categories by one network.

The network, its losses and its training are the package `ultralytics`, which is AGPL-3.0: no dependency of this
package, in no extra but its own, and imported only where it is installed and a model of this family is asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from glioma_hf.data.features import CATEGORIES
from glioma_hf.errors import InputError
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
    tuned,
)
from glioma_hf.models.outside.yolo_package import (
    NETWORKS,
    Network,
    library,
    network_of,
    new_net,
    on_device,
    published_weights,
)
from glioma_hf.models.outside.yolo_training import eight_bit, trained_weights, write_data_set
from glioma_hf.models.saved import ModelFolder
from glioma_hf.progress import OnProgress, ignore

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
    nominal_batch: int = Field(64, ge=1, le=4096)  # images whose gradients make one step, of smaller batches several
    warmup_epochs: float = Field(3.0, ge=0, le=10**4)  # in which it rises; 0: none
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


def load(base: str, folder: Path | None) -> YoloSegmenter:
    """Published weights by name (NAME.pt), or what was trained and lies in a folder.

    Raises `InputError` for another name, and weights that can't be had or read.
    """
    if folder is not None or Path(base).is_dir():
        return _read(folder or Path(base))
    name, published = network_of(base)
    if not published:
        raise InputError(f"the model yolo:{base} has seen no cell yet; train it first")
    net = new_net(name, 80)
    net.load_state_dict(published_weights(name))
    return YoloSegmenter(on_device(net))


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
        name, published = network_of(base)
        weights = published_weights(name) if published else {}
    net = new_net(name, len(classes))
    own = net.state_dict()
    net.load_state_dict(own | {key: value for key, value in weights.items() if own[key].shape == value.shape})
    with tempfile.TemporaryDirectory() as work:
        write_data_set(images, present, Path(work))
        trained = trained_weights(net, name, recipe, run, Path(work))
    net = new_net(name, len(classes))
    net.load_state_dict(trained)
    longest = float(np.median([max(image.shape[:2]) for image, _ in images]))
    settings = YoloSettings(scale=recipe.size / longest, cell_diameter=typical_diameter(images))
    return YoloSegmenter(on_device(net), YoloConfig(network=name, classes=classes), settings)


def tune(
    segmenter: YoloSegmenter, images: Sequence[LabelledPixels], on_progress: OnProgress = ignore
) -> tuple[YoloSegmenter, float]:
    """The thresholds of the highest AP; where it tells classes apart, a cell of the wrong one is none."""
    typed = segmenter.config is not None and len(segmenter.config.classes) > 1
    return tuned(segmenter, images, {"box_nms_iou": NMS_IOUS}, on_progress, typed)


def save(segmenter: Segmenter, folder: Path, base: str) -> None:
    """Config and weights."""
    from glioma_hf.models.vision.network_files import save_network

    assert isinstance(segmenter, YoloSegmenter)
    assert segmenter.config is not None
    save_network(segmenter.net, segmenter.config, folder)


def _read(folder: Path) -> YoloSegmenter:
    from safetensors import SafetensorError

    from glioma_hf.models.checked import check_finite, read_tensors
    from glioma_hf.models.vision.network_files import read_config

    config, path = read_config(folder, YoloConfig), folder / WEIGHTS
    net = new_net(config.network, len(config.classes))
    try:
        tensors = read_tensors(path, net.state_dict())
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]}); train again") from None
    check_finite(tensors.items(), str(path))
    net.load_state_dict(tensors)
    return YoloSegmenter(on_device(net), config, ModelFolder(folder).settings())


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
    untrained=(SCRATCH,),
    package="ultralytics",
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
