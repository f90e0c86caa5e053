"""A study of transfer learning as a YAML file asks for it: start weights x resolutions, repeated over random splits.

>>> read_study("table1").variants[0].name
'U-Net MiT-B3, random'
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from glioma_hf.benchmark.table import Name, Once, Place
from glioma_hf.benchmark.yaml_files import checked_entries, names_in, read_entries, there_twice
from glioma_hf.errors import InputError
from glioma_hf.metrics.pixel_dice import check_resolution

STUDIES = Path(__file__).parent / "studies"
RANDOM, IMAGENET = "random", "imagenet"  # starts that need nothing else
MOST = 10_000  # images of each part of a split

Resolution = tuple[int, int]  # (width, height)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Images(_Entry):
    """Which images are split at random.

    Attributes:
        data: the data set, among the study's.
        splits: of it, pooled; all of them without it.
        test_only: of those, the splits whose images are only ever tested on.
    """

    data: Name
    splits: Annotated[list[Name], Field(max_length=100)] = []
    test_only: Annotated[list[Name], Field(max_length=100)] = []


class Counts(_Entry):
    """How many images a repeat trains, validates and is tested on."""

    train: int = Field(15, ge=1, le=MOST)
    validation: int = Field(5, ge=0, le=MOST)
    test: int = Field(10, ge=0, le=MOST)

    @field_validator("test")
    @classmethod
    def _some(cls, number: int) -> int:
        if number < 1:
            raise ValueError("a study without test images scores nothing; give it one at least")
        return number


class Pretraining(_Entry):
    """A whole network trained on another data set first, by that set's own splits.

    Attributes:
        data: among the study's.
        start: its encoder's weights, "imagenet" or "random".
        resolution: at which it learns, among the study's.
        train, validation: its splits.
        recipe: numbers in place of the study's.
    """

    data: Name
    start: Literal["imagenet", "random"] = "imagenet"
    resolution: Name
    train: Name = "train"
    validation: Name = "validation"
    recipe: dict[str, Any] = {}


class Variant(_Entry):
    """A row of the study: a network trained in each repeat, or a model as it is.

    Attributes:
        name: in the tables.
        encoder: see `models.unet`.
        start: "random", "imagenet", the name of a pretraining, or the folder of a saved U-Net.
        resolution: at which it is trained, among the study's; `method`: how images come to it.
        recipe: numbers in place of the study's.
        model: instead of all these, a model as `predict --model` takes it: the pixels of its instances are scored.
        scored: pairs of resolutions, (at which the image is given, at which masks are compared).
        paper: the paper's DiceScoreAV of each pair, where it has one.
    """

    name: Name
    encoder: Name = "lite0"
    start: Place = IMAGENET
    resolution: Name | None = None
    method: Literal["resize", "crop"] = "resize"
    recipe: dict[str, Any] = {}
    model: Place | None = None
    scored: Annotated[list[tuple[Name, Name]], Field(min_length=1, max_length=20), Once]
    paper: Annotated[list[float | None], Field(max_length=20)] = []

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.paper and len(self.paper) != len(self.scored):
            raise ValueError(f"{self.name}: the paper's figures are one for each of the {len(self.scored)} pairs")
        if (self.resolution is None) == (self.model is None):
            raise ValueError(f"{self.name}: give the resolution at which it is trained, or a model as it is")
        return self


class Study(_Entry):
    """A study.

    Attributes:
        title, note: at the head of what is written.
        paper: which of the paper's tables it repeats, in words.
        data: folders of `data prepare` by name.
        images, counts: what is split at random, and into how many.
        repeats: K; `seed`: of the splits and of training, each repeat's its own.
        resolutions: (width, height) by name.
        recipe: numbers of the family `unet`, for all variants.
        check_epochs: epochs from one look at the validation loss to the next.
        pretraining: by name.
        variants: the rows.
        panels: test images of the first repeat that are drawn.
    """

    title: Annotated[str, Field(max_length=300)] = "A study of transfer learning"
    note: Annotated[str, Field(max_length=4000)] = ""
    paper: Annotated[str, Field(max_length=200)] = ""
    data: dict[Name, Place] = {}
    images: Images
    counts: Counts = Counts()
    repeats: int = Field(10, ge=1, le=1000)
    seed: int = Field(0, ge=0, lt=2**31)
    resolutions: dict[Name, Resolution]
    recipe: dict[str, Any] = {}
    check_epochs: int = Field(5, ge=1, le=10**6)
    pretraining: dict[Name, Pretraining] = {}
    variants: Annotated[list[Variant], Field(min_length=1, max_length=200)]
    panels: int = Field(3, ge=0, le=20)

    @field_validator("resolutions")
    @classmethod
    def _sizes(cls, values: dict[str, Resolution]) -> dict[str, Resolution]:
        return {name: check_resolution(value) for name, value in values.items()}

    @model_validator(mode="after")
    def _known(self) -> Study:
        names = [variant.name for variant in self.variants]
        twice = there_twice(names)
        if twice is not None:
            raise ValueError(f"two variants are called {twice!r}; name them apart")
        for taken in {RANDOM, IMAGENET} & set(self.pretraining):
            raise ValueError(f"a pretraining can't be called {taken}, which is a start of its own; give another name")
        asked = [each.resolution for each in self.pretraining.values()]
        for variant in self.variants:
            asked += [variant.resolution or variant.scored[0][0], *(name for pair in variant.scored for name in pair)]
        unknown = next((name for name in asked if name not in self.resolutions), None)
        if unknown is not None:
            raise ValueError(f"the resolution {unknown!r} isn't known; it is {', '.join(self.resolutions)}")
        return self


@dataclass(frozen=True)
class Split:
    """The places of a repeat's images, from 0, in the order of the pool."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def draw_split(pool: int, counts: Counts, seed: int, repeat: int, test_only: frozenset[int] = frozenset()) -> Split:
    """A random split of `pool` images: the same for a seed and a repeat, its parts without a common image.

    Args:
        test_only: places that are drawn for the test alone.

    Raises `InputError` where the images are too few.

        >>> draw_split(4, Counts(train=1, validation=1, test=2), seed=0, repeat=0, test_only=frozenset({3})).test
        (1, 3)
    """
    order = np.random.default_rng((seed, repeat)).permutation(pool).tolist()
    learned = [place for place in order if place not in test_only]
    wanted = counts.train + counts.validation
    if wanted > len(learned) or wanted + counts.test > pool:
        raise InputError(
            f"{pool} images, {pool - len(learned)} of them for tests alone, can't be split into {counts.train} for "
            f"training, {counts.validation} for validation and {counts.test} for tests; lower the study's counts"
        )
    taken = set(learned[:wanted])
    left = [place for place in order if place not in taken]
    parts = (learned[: counts.train], learned[counts.train : wanted], left[: counts.test])
    return Split(*(tuple(sorted(part)) for part in parts))


def study_names() -> list[str]:
    """The studies that come with the package."""
    return names_in(STUDIES)


def read_study(name: str | Path) -> Study:
    """A study by name, or from a YAML file. Raises `InputError` that names the file and the entry that is wrong."""
    return read_entries(Study, "study", name, STUDIES)


def study_of(content: Any, name: str) -> Study:
    """A study from its entries. Raises `InputError` that begins with `name` and tells the entry that is wrong."""
    return checked_entries(Study, content, name)
