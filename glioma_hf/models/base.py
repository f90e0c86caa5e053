"""What every model here is: a segmenter, and the family that it belongs to.

Nothing here needs torch: a family may compute by whatever it likes.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glioma_hf.data.opened import OpenedImage
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances, check_size
from glioma_hf.jsonfile import problem_of, read_checked
from glioma_hf.progress import OnProgress, ignore

if TYPE_CHECKING:
    from typing_extensions import Self

Pixels = np.ndarray | OpenedImage  # an image (H, W[, channels]), held or read window by window
LabelledPixels = tuple[np.ndarray, Instances]  # an image (H, W[, channels]) and its references; overlaps are kept


class Settings(BaseModel):
    """How a segmenter predicts, its thresholds among them; kept as `thresholds.json` beside a saved model."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(BaseModel):
    """How a family's models are trained: every number, so that a file of them repeats a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0, lt=2**32)

    def steps(self, images: int) -> int:
        """How many steps training on so many images takes; 1 where a family doesn't count."""
        return 1

    def for_steps(self, steps: int) -> Self:
        """The recipe of a run of about so many steps on one image; itself where a family doesn't count."""
        return self


class TrainerRecipe(Recipe):
    """The numbers of a recipe that `models.training.fit` reads."""

    batch: int = Field(4, ge=1, le=4096)
    accumulation: int = Field(1, ge=1, le=4096)  # batches whose gradients make one step
    learning_rate: float = Field(1e-3, gt=0, le=10)  # the peak of one cycle
    warmup_ratio: float = Field(0.3, ge=0, le=1)  # of the steps, in which the learning rate rises
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, gt=0, le=10**6)  # longer gradients are shortened to it
    precision: Literal["auto", "bf16", "fp32"] = "auto"  # auto: bfloat16 where the device multiplies in it
    # Steps from checkpoint to checkpoint, and to validation where that is asked for.
    check_every: int = Field(20, ge=1, le=10**6)
    # Checks without a better validation score before training ends; 0: never ends early.
    patience: int = Field(0, ge=0, le=10**6)


class Segmenter(ABC):
    """A model that finds the instances of an image; they may overlap.

    Example:
        segmenter = load_segmenter("embedded")
        cells = segmenter.segment(read_image("cells.tif"))
    """

    settings: Any  # a `Settings` of its family
    origin: str = ""  # FAMILY:BASE, where `load_segmenter` loaded it
    reads_windows = False  # whether `segment` takes an `OpenedImage`, of which it never asks for the whole

    @abstractmethod
    def segment(self, image: Pixels, on_progress: OnProgress = ignore) -> Instances:
        """Instances, with scores, of one image, best score first.

        Args:
            image: (H, W) or (H, W, channels), any numeric type; an `OpenedImage` where `reads_windows`.
            on_progress: called with how much is done; what it raises stops the work.
        """

    @property
    @abstractmethod
    def score_threshold(self) -> float:
        """The score from which an instance is kept, 0 ... 1."""

    @abstractmethod
    def with_score_threshold(self, threshold: float) -> Self:
        """The same model with another score threshold."""

    @property
    def diameter(self) -> float | None:
        """Pixels across a cell, as the model expects them; None for a model that doesn't say."""
        known = getattr(self.settings, "cell_diameter", None)
        return None if known is None else float(known)

    @abstractmethod
    def for_diameter(self, diameter: float) -> Self:
        """The same model for images whose cells are about `diameter` pixels across."""

    def prompted_by(self, finder: Segmenter) -> Self:
        """The same model, asked for a mask of each instance that `finder`, of any family, finds.

        Raises `InputError` for a model that isn't asked by prompts.
        """
        raise InputError("only a model that is asked by prompts, such as a SAM, takes those of a finder")

    def arrays(self) -> dict[str, np.ndarray]:
        """Numbers of its network by name, where that is no torch module."""
        return {}

    def with_settings(self, **changes: Any) -> Self:
        """The same model, predicting by other settings. Raises `InputError` that names the setting."""
        other = copy.copy(self)
        other.settings = check_settings(type(self.settings), {**self.settings.model_dump(), **changes}, "the settings")
        return other


class PixelSegmenter(ABC):
    """A model that says of each pixel how likely it is foreground, and tells no instances apart."""

    settings: Any

    @abstractmethod
    def probability(self, image: np.ndarray, on_progress: OnProgress = ignore) -> np.ndarray:
        """float32 (H, W), 0 ... 1, of an image (H, W) or (H, W, channels) of any numeric type."""

    @abstractmethod
    def probability_at(
        self, image: np.ndarray, resolution: tuple[int, int], on_progress: OnProgress = ignore
    ) -> np.ndarray:
        """float32 (height, width), 0 ... 1, of the image resized to `resolution` (width, height): f(g(x, R))."""


@dataclass(frozen=True)
class Run:
    """How a training runs, whatever is trained.

    Attributes:
        work: folder for the log (`log.jsonl`) and `checkpoints`; nothing is written without it. Where it holds
            checkpoints of a run that was broken off, that run goes on from the last, to the same weights on a CPU.
        on_progress: told after each optimizer step of the step, the number of steps and the loss.
        validate: score of the model, higher is better; asked at each check if the recipe has patience and there is
            a `work` folder. The best model is then the result.
        workers: processes that prepare crops; 0 inside servers, whose threads a fork doesn't bear.
        tensorboard: write events for TensorBoard into `work` as well.
    """

    work: Path | None = None
    on_progress: OnProgress = ignore
    validate: Callable[[Any], float] | None = None
    workers: int = 1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if current_process().daemon:  # such as a worker of Dask below its nanny: it may have no processes of its own
            object.__setattr__(self, "workers", 0)


@dataclass(frozen=True)
class Family:
    """Models that are trained, saved and loaded in one way: one folder of `glioma_hf.models`.

    Attributes:
        name: by which it is called, in FAMILIES and before a colon ("sam:facebook/sam-vit-base").
        title: its name for people, in cards; `tuned`, what training makes of a base, in tables.
        summary: Markdown for the card of a saved model, one paragraph, from (base, recipe).
        bases: names of models to start from that come with an installation; the first is the default. `untrained` are
            those that find nothing before they are trained.
        package: whose network it is, where that isn't this one, as it is imported. It fetches published weights of its
            bases when one is first asked for; training isn't resumed.
        recipe, settings: the types of its recipes and of its segmenters' settings.
        recipes: folder of its named recipes, `NAME.json` each; `default_recipe` is one of them.
        weights: files that hold a saved model, beside those that all families share; `adapter`, those that one has in
            their place which is an adapter of its base.
        load: segmenter of a base by name, or of a base with the weights saved in a folder.
        train: a segmenter trained from a base by name, on images, by a recipe; in a `Run`, whose `validate` is
            given a segmenter.
        save: writes a trained segmenter's `weights` into a folder; takes the base's name too.
        tune: the segmenter with the settings of the highest AP at IoU 0.5 on validation images, and that AP.
        not_on_hub: bases that a card doesn't name as models of the Hub.
        tags, library: of a saved model's card, for the Hub.
    """

    name: str
    title: str
    tuned: str
    summary: Callable[[str, Any], str]
    bases: tuple[str, ...]
    recipe: type[Recipe]
    settings: type[Settings]
    recipes: Path
    default_recipe: str
    weights: tuple[str, ...]
    load: Callable[[str, Path | None], Segmenter]
    train: Callable[[str, Sequence[LabelledPixels], Any, Run], Segmenter]
    save: Callable[[Segmenter, Path, str], None]
    tune: Callable[[Segmenter, Sequence[LabelledPixels], OnProgress], tuple[Segmenter, float]]
    adapter: tuple[str, ...] = field(default=())
    untrained: tuple[str, ...] = field(default=())
    package: str = ""
    not_on_hub: tuple[str, ...] = field(default=())
    tags: tuple[str, ...] = field(default=())
    library: str = "glioma_hf"

    def recipe_names(self) -> list[str]:
        """Names of the recipes that come with the family, the default first."""
        names = sorted(file.stem for file in self.recipes.glob("*.json"))
        return sorted(names, key=lambda name: name != self.default_recipe)

    def read_recipe(self, name: str | Path | None = None) -> Any:
        """A recipe by name, or from a JSON file; what a file leaves out is as the recipe's type has it.

        Raises `InputError` for a name that isn't known and a file that isn't a recipe of this family.
        """
        name = str(name or self.default_recipe)
        known = self.recipe_names()
        path = self.recipes / f"{name}.json" if name in known else Path(name)
        try:
            return self.recipe.model_validate_json(read_checked(path))
        except OSError:
            raise InputError(f"the recipe {name!r} isn't known; it is {', '.join(known)} or a JSON file") from None
        except ValidationError as error:
            first, others = error.errors()[0], ""
            if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
                others = f", but {', '.join(self.recipe.model_fields)}"
            reason = problem_of(error) + others
            raise InputError(f"{name}: not a recipe of {self.title} ({reason}); mend it there") from None
        except ValueError as error:
            raise InputError(f"{name}: not a recipe of {self.title} ({problem_of(error)})") from None


def typical_diameter(images: Sequence[LabelledPixels]) -> float:
    """Median over the cells of the diameter of the circle of the same area, in pixels."""
    areas = np.concatenate([instances.areas for _, instances in images])
    return round(float(2 * np.sqrt(np.median(areas) / np.pi)), 1)


def check_image(image: Pixels) -> np.ndarray:
    """An image as a segmenter takes it whole. Raises `InputError` for others than finite numbers (H, W[, channels])."""
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise InputError(f"an image is of shape (height, width) or (height, width, channels), not {image.shape}")
    check_size(image.shape[:2])
    if image.dtype.kind not in "buif":
        raise InputError(f"an image holds numbers, not {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError("the image has pixels that are no numbers; replace them")
    return image


def check_settings(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """Settings of a type from values. Raises `InputError` that begins with `where` and names the setting."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "they"
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise InputError(f"{where}: {name} is no setting of this model; it has {known}") from None
        raise InputError(f"{where}: {name}: {first['msg']}") from None
