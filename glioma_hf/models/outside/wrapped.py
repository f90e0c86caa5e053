"""What wrappers of other people's networks share: candidates and their choice, label maps, downloads, progress."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import Field
from skimage.transform import resize

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size
from glioma_hf.metrics.image_score import scored_objects
from glioma_hf.models.base import LabelledPixels, Pixels, Settings, check_image
from glioma_hf.models.candidates import middle_of_best, rate
from glioma_hf.models.vision.scaled import ScaledSegmenter
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.segmentation import Priority

if TYPE_CHECKING:
    from typing_extensions import Self

RECIPES = Path(__file__).parent / "recipes"
SCRATCH = "scratch"  # the base of every wrapper that has seen nothing
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SCORE_THRESHS = tuple(np.round(np.arange(0.0, 0.95, 0.05), 2).tolist())
AREAS = (1.0, 2.0, 4.0)  # of the segmenter's `min_area`


class WrappedSettings(Settings):
    """What every wrapper chooses by; thresholds are to be chosen on validation data."""

    score_thresh: float = Field(0.0, ge=0, le=1)
    min_area: int = Field(15, ge=0, le=2**28)  # pixels


class ScaledSettings(WrappedSettings):
    """Of networks that see an image at a scale."""

    scale: float = Field(1.0, ge=0.05, le=20)  # at which the image is seen
    # Pixels: the circle of the area of cells in training; 0: published weights don't say.
    cell_diameter: float = Field(0.0, ge=0, le=10**5)


class Found:
    """What a network found in an image, best score first, before settings choose among it.

    Attributes:
        candidates: what was found.
        order: their places, (N,), as they came.
    """

    def __init__(self, cells: Instances):
        scores = np.zeros(len(cells)) if cells.scores is None else np.clip(cells.scores, 0, 1)
        self.order = order = np.argsort(-scores, kind="stable")
        rles = [cells.rles[i] for i in order]
        self.candidates = Instances.from_rles(rles, cells.size, cells.categories[order], scores[order])

    def kept(self, settings: WrappedSettings) -> np.ndarray:
        """Which remain, in order of rank: their places, (K,)."""
        assert self.candidates.scores is not None
        large = self.candidates.areas >= max(1, settings.min_area)
        return np.flatnonzero(large & (self.candidates.scores >= settings.score_thresh))

    def select(self, settings: WrappedSettings) -> Instances:
        """Those that remain, best score first; their ids are their ranks."""
        best = self.candidates.select(self.kept(settings))
        return Instances.from_rles(best.rles, best.size, best.categories, best.scores)


class WrappedSegmenter(ScaledSegmenter):
    """A `Segmenter` in two halves: what the network says of an image, and the instances that are made of it."""

    @abstractmethod
    def look(self, image: np.ndarray, on_progress: OnProgress = ignore) -> Any:
        """What the network says of an image: the long half, which hangs on no threshold."""

    @abstractmethod
    def found(self, seen: Any) -> Found:
        """The candidates that the settings make of it, at least all from `score_thresh` on, of any area."""

    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances of an image, best score first; see `Segmenter`."""
        on_progress(Progress(done=0, total=2))
        seen = self.look(check_image(image), on_progress)
        on_progress(Progress(done=1, total=2))
        cells = self.found(seen).select(self.settings)
        on_progress(Progress(done=2, total=2))
        return cells

    @property
    def diameter(self) -> float | None:
        """Pixels across a cell, as the model expects them; None where its weights don't say."""
        return getattr(self.settings, "cell_diameter", 0.0) or None

    def for_diameter(self, diameter: float) -> Self:
        """The same model for cells about `diameter` pixels across. Raises `InputError` where its own isn't known."""
        if self.diameter is None:
            raise InputError(
                "these published weights don't say how large the cells are that they know; "
                "give the scale at which the image is seen, with_settings(scale=0.5)"
            )
        return super().for_diameter(diameter)

    def view(self, image: np.ndarray) -> np.ndarray:
        """The grey image at the scale at which it is seen: float32 (h, w)."""
        grey, scale = grey_float(image), getattr(self.settings, "scale", 1.0)
        if scale == 1:
            return grey
        size = check_size([max(1, round(length * scale)) for length in grey.shape])
        return resize(grey, size, order=1, anti_aliasing=scale < 1, preserve_range=True).astype(np.float32)


AnySegmenter = TypeVar("AnySegmenter", bound=WrappedSegmenter)


def tuned(
    segmenter: AnySegmenter,
    images: Sequence[LabelledPixels],
    ways: Mapping[str, Sequence[Any]],
    on_progress: OnProgress = ignore,
    typed: bool = False,
    choosing: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> tuple[AnySegmenter, float]:
    """The segmenter with the settings of the highest AP at IoU 0.5, pooled over images, and that AP.

    The network looks at an image once. Every combination of `ways`, settings by name, makes candidates of that, among
    which score, area and the settings of `choosing` choose; `typed`: one of another category than a reference is none
    of it.
    """
    references = [scored_objects(instances) for _, instances in images]
    seen = []
    for number, (image, _) in enumerate(images, start=1):
        seen.append(segmenter.look(check_image(image)))
        on_progress(Progress(f"validation image {number} of {len(images)}", number, len(images)))
    areas = sorted({max(1, round(segmenter.settings.min_area * factor)) for factor in AREAS})
    chosen = {"score_thresh": SCORE_THRESHS, "min_area": areas, **choosing}
    rated: list[tuple[float, Any]] = []
    for values in product(*ways.values()):
        at = segmenter.with_settings(**dict(zip(ways, values, strict=True)), score_thresh=0.0)
        choices = [
            at.settings.model_copy(update=dict(zip(chosen, each, strict=True))) for each in product(*chosen.values())
        ]
        rated += rate([at.found(each) for each in seen], references, choices, typed=typed)
    best, settings = middle_of_best(rated)
    return segmenter.with_settings(**settings.model_dump()), best


def grey_float(image: np.ndarray) -> np.ndarray:
    """Grey values of an image (H, W) or (H, W, channels), of which those after the third are alpha: float32 (H, W)."""
    grey = np.asarray(image, np.float32)
    return grey[..., :3].mean(2) if grey.ndim == 3 else grey


def check_annotated(images: Sequence[LabelledPixels]) -> None:
    """Raise `InputError` that names the first training image without a cell."""
    for number, (_, instances) in enumerate(images, start=1):
        if not (~instances.crowd).any():
            raise InputError(f"training image {number} has no annotated cell; choose another one")


def label_maps(images: Sequence[LabelledPixels], priority: Priority) -> list[np.ndarray]:
    """A label map (H, W) of each image, int32: a pixel that cells share is the first's or the last's by `priority`."""
    check_annotated(images)
    return [instances.to_label_map(priority) for _, instances in images]


def trained_folder(name: str, base: str, folder: Path | None, published: Iterable[str]) -> Path | None:
    """Where what is loaded of the family `name` lies, if it was trained; None for published weights.

    Raises `InputError` for a base that has seen nothing, and one that isn't known.
    """
    if folder is not None or Path(base).is_dir():
        return folder or Path(base)
    if base == SCRATCH:
        raise InputError(f"the model {name}:{SCRATCH} has seen no cell yet; train it first")
    if base not in published:
        known = ", ".join([*published, SCRATCH])
        raise InputError(f"the model {name}:{base} isn't known; it is one of {known}, or a folder that train wrote")
    return None


def beginning_of(base: str) -> str:
    """What a card says of the weights that training began with."""
    if base == SCRATCH:
        return "Nothing in it was trained before."
    return "Its weights began as published ones, whose licence holds."


def fetched(what: str, path: Path, get: Callable[[], Any]) -> Any:
    """What a library's own `get` makes of published weights, which it keeps at `path` and fetches if need be.

    Raises `InputError` where they aren't there and HF_HUB_OFFLINE is set, or can't be fetched or read.
    """
    from huggingface_hub import constants

    remedy = f"put what its authors publish at {path}, or train from {SCRATCH}"
    if not path.exists() and constants.HF_HUB_OFFLINE:
        raise InputError(f"the weights of {what} aren't here and HF_HUB_OFFLINE is set; unset it, {remedy}")
    try:
        return get()
    except Exception as error:  # whatever the library raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"the weights of {what} can't be fetched or read ({reason}); {remedy}") from None


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of a library's module or object, another one for a while: how a loop without callbacks is heard."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def read_arrays(path: Path, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, in the order of those expected, by name and shape.

    Raises `InputError` that names the file and the first array that differs or isn't finite.
    """
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(path, "np") as file:
            names = set(file.keys())
            for what, differing in (("lacks", set(expected) - names), ("holds the unknown", names - set(expected))):
                if differing:
                    raise InputError(f"{path}: it {what} {min(differing)} (and {len(differing) - 1} more)")
            for name, like in expected.items():
                shape = file.get_slice(name).get_shape()
                if list(shape) != list(like.shape):
                    raise InputError(f"{path}: {name} is of shape {shape}, expected {list(like.shape)}")
                arrays[name] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]}); train again") from None
    for name, value in arrays.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise InputError(f"{path}: {name} has weights that aren't finite numbers; get the model again")
    return arrays
