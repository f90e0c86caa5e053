"""A table of the benchmark as a YAML file asks for it: data sets x splits x tasks x modes x models.

>>> read_table("t98g").title
'Cells of T98G, from fifteen training images'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from glioma_hf.benchmark.yaml_files import checked_entries, names_in, read_entries, there_twice
from glioma_hf.metrics.overlap_ap import check_extras
from glioma_hf.metrics.scoring_options import Mode, ScoringOptions

TABLES = Path(__file__).parent / "tables"
EACH = "each"  # a model for each task
MAX_CELLS = 20_000

Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Value = TypeVar("Value")


def _each_once(values: Value) -> Value:
    """Refuse what is there twice: it would be scored twice, and count twice in every mean."""
    if isinstance(values, list) and (twice := there_twice(values)) is not None:
        raise ValueError(f"{twice!r} is there twice; keep one")
    return values


Once = AfterValidator(_each_once)
Place = Annotated[str, Field(min_length=1, max_length=4096)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Entry):
    """What a model is trained from.

    Attributes:
        model: the base, as `train --model` takes it.
        recipe: a name, a JSON file, or the numbers of a recipe; the family's default without it.
        images: numbers of training images, from 1, or "all".
        seeds: a model for each.
        task: which objects are learned; "each": a model for each task that is scored, "all": one for all of them.
        data: the data set whose training and validation images it has; the one that is scored without it.
    """

    model: Name = "embedded"
    recipe: Place | dict[str, Any] | None = None
    images: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=10_000)] | Literal["all"] = [1]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1, max_length=100), Once] = [0]
    task: Name = EACH
    data: Name | None = None


class ModelEntry(_Entry):
    """A model of a table: one by name or folder, one to be trained, or predictions that were made elsewhere.

    Attributes:
        name: in the table.
        model: as `predict --model` takes it; `settings` of its family by name.
        thresholds: "validation": chosen for each task on the data set's validation images; "kept": as the model has
            them. A saved model keeps its own where nothing is said, another gets them from the validation images.
        train: what it is trained from; thresholds then come from the validation images.
        predictions: a file or folder, see `predictions_of`.
    """

    name: Name
    model: Place | None = None
    settings: dict[str, Any] = {}
    thresholds: Literal["validation", "kept"] | None = None
    train: Training | None = None
    predictions: Place | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> ModelEntry:
        given = [name for name in ("model", "train", "predictions") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a model has one of model, train and predictions, {self.name!r} has {len(given)}")
        if self.model is None and (self.settings or self.thresholds):
            raise ValueError(f"settings and thresholds are of a model by name or folder, {self.name!r} is none")
        return self


class Scored(_Entry):
    """What is scored: a split of a data set, in some tasks.

    Attributes:
        data: name of the data set, among the table's.
        split: see `find_split`.
        tasks: of the paper, or a category's own name.
        annotators: files of its images by annotator. They are scored as models are, and references are their majority
            vote instead of the data set's own (Table 3).
    """

    data: Name
    split: Name = "test"
    tasks: Annotated[list[Name], Field(min_length=1, max_length=100), Once] = ["cells"]
    annotators: dict[Name, Place] = {}


class Table(_Entry):
    """A table.

    Attributes:
        title, note: at the head of what is written.
        paper: the paper's table whose rows stand beside.
        data: folders of `data prepare` by name.
        score: what is scored.
        modes: of scoring; `scoring` are further fields of `ScoringOptions`, `extras` those of `overlap_ap`.
        models: what is compared.
        panels: images of each split that are drawn.
    """

    title: Annotated[str, Field(max_length=300)] = "A table of the benchmark"
    note: Annotated[str, Field(max_length=4000)] = ""
    paper: Literal["table2", "table4"] | None = None
    data: dict[Name, Place] = {}
    score: Annotated[list[Scored], Field(min_length=1, max_length=1000)]
    modes: Annotated[list[Mode], Field(min_length=1), Once] = ["overlapping"]
    scoring: dict[str, Any] = {}
    extras: list[str] = ["curve", "overlapped"]
    models: Annotated[list[ModelEntry], Field(max_length=1000)] = []
    panels: Annotated[int, Field(ge=0, le=20)] = 2

    @field_validator("scoring")
    @classmethod
    def _known(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "mode" in values:
            raise ValueError("the mode is among the table's modes")
        try:
            ScoringOptions(**values)
        except TypeError:
            known = [name for name in ScoringOptions.__dataclass_fields__ if name != "mode"]
            raise ValueError(f"the scoring has {', '.join(known)}, not {', '.join(map(str, values))}") from None
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Table:
        check_extras(self.extras)
        names = [model.name for model in self.models]
        for scored in self.score:
            everyone = [*names, *scored.annotators]
            twice = there_twice(everyone)
            if twice is not None:
                raise ValueError(f"two models are called {twice!r}; name them apart")
        again = there_twice((scored.data, scored.split, task) for scored in self.score for task in scored.tasks)
        if again is not None:
            raise ValueError(f"{', '.join(again)} is scored twice; keep one")
        if len(list(self.cells())) > MAX_CELLS:
            raise ValueError(f"it has over {MAX_CELLS} cells; make several tables of it")
        return self

    def options(self, mode: Mode) -> ScoringOptions:
        """How a mode is scored."""
        return replace(ScoringOptions(**self.scoring), mode=mode)

    def cells(self) -> Iterator[Cell]:
        """All cells, in the order of the table."""
        for scored in self.score:
            for task in scored.tasks:
                for mode in self.modes:
                    for model in self.models_of(scored):
                        for seed in model.train.seeds if model.train else [None]:
                            yield Cell(scored, task, mode, model, seed)

    def models_of(self, scored: Scored) -> list[ModelEntry]:
        """The annotators, then the models."""
        annotators = [ModelEntry(name=name, predictions=place) for name, place in scored.annotators.items()]
        return [*annotators, *self.models]


@dataclass(frozen=True)
class Cell:
    """One model, with one seed where it is trained, in one task and mode."""

    scored: Scored
    task: str
    mode: Mode
    model: ModelEntry
    seed: int | None

    def told(self) -> str:
        """In words, for people."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.model.name}{seed}: {self.scored.data}, {self.scored.split}, {self.task}, {self.mode}"


def table_names() -> list[str]:
    """The tables that come with the package."""
    return names_in(TABLES)


def read_table(name: str | Path) -> Table:
    """A table by name, or from a YAML file. Raises `InputError` that names the file and the entry that is wrong."""
    return read_entries(Table, "table", name, TABLES)


def table_of(content: Any, name: str) -> Table:
    """A table from its entries. Raises `InputError` that begins with `name` and tells the entry that is wrong."""
    return checked_entries(Table, content, name)
