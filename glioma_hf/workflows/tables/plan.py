"""What a table's cells need: models to be made, splits to be predicted; each known by content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from glioma_hf import __version__
from glioma_hf.benchmark.table import EACH, Cell, ModelEntry, Scored, Table, table_of
from glioma_hf.data.prepared import PROVENANCE
from glioma_hf.data.splits import find_split, has_split
from glioma_hf.errors import InputError
from glioma_hf.files import checksum
from glioma_hf.models import find_base, load_segmenter
from glioma_hf.models.base import check_settings
from glioma_hf.models.saved import ModelFolder
from glioma_hf.workflows.training import facts_of_model

TRAIN, VALIDATION = "train", "validation"
NAMED = "recipe"  # among the numbers of a recipe: the named one whose numbers the others are


@dataclass(frozen=True)
class Maker:
    """How a model of a table comes to be; several cells may share it.

    Attributes:
        key: its name in the folder of the table.
        entry: of the table.
        data: folder of the data set that it is trained or tuned on; None where it is taken as it is.
        task: which it is trained or tuned for.
        seed: of its training.
        recipe: of its training.
        job: what it is made from, by content.
    """

    key: str
    entry: ModelEntry
    data: str | None = None
    task: str | None = None
    seed: int | None = None
    recipe: dict[str, Any] | None = None
    job: str = ""


class Plan:
    """Where a table's data and files lie, and what its cells need.

    Attributes:
        table: with what the command line said in place of its own.
    """

    def __init__(self, table: Table):
        self.table = table
        self._checksums: dict[str, str] = {}

    def folder(self, data: str) -> str:
        """Of a data set of the table. Raises `InputError` for a name that isn't there, and a folder that is none."""
        if data not in self.table.data:
            known = ", ".join(self.table.data) or "none"
            raise InputError(
                f"the data set {data!r} isn't one of the table's ({known}); add it to data, or give --data"
            )
        folder = Path(self.table.data[data]).absolute()
        if not (folder / PROVENANCE).is_file():
            raise InputError(f"{data} ({folder}): no prepared data set; make one with glioma-hf data prepare")
        return str(folder)

    def split_name(self, scored: Scored) -> str:
        """The split that is scored, as "subset/split"."""
        return find_split(self.folder(scored.data), scored.split, scored.data).name

    def maker(self, cell: Cell) -> Maker | None:
        """Of the model of a cell; None where its predictions were made elsewhere.

        Raises `InputError` for a model, a recipe or a data set that can't be used.
        """
        entry = cell.model
        if entry.predictions is not None:
            return None
        if entry.train is not None:
            return self._trained(cell)
        assert entry.model is not None
        saved = ModelFolder(entry.model).is_saved()
        facts: dict[str, Any] = {"model": facts_of_model(entry.model), "settings": entry.settings}
        if entry.thresholds == "kept" or (entry.thresholds is None and saved):
            return _keyed(Maker("", entry), facts)
        data = self.folder(cell.scored.data)
        if not has_split(data, VALIDATION):
            return _keyed(Maker("", entry), facts)
        facts["data"] = self._split_facts(data, VALIDATION)
        return _keyed(Maker("", entry, data, cell.task), facts)

    def _trained(self, cell: Cell) -> Maker:
        training = cell.model.train
        assert training is not None
        assert cell.seed is not None
        data = self.folder(training.data or cell.scored.data)
        family, base = find_base(training.model)
        if isinstance(training.recipe, dict):
            numbers = dict(training.recipe)
            start = family.read_recipe(numbers.pop(NAMED)).model_dump() if NAMED in numbers else {}
            recipe = check_settings(family.recipe, {**start, **numbers}, f"the recipe of {cell.model.name}")
        else:
            recipe = family.read_recipe(training.recipe)
        numbers = recipe.model_copy(update={"seed": cell.seed}).model_dump(mode="json")
        task = cell.task if training.task == EACH else training.task
        facts = {
            "base": [family.name, *facts_of_model(base)],
            "recipe": numbers,
            "images": training.images,
            "data": [self._split_facts(data, split) for split in (TRAIN, VALIDATION) if has_split(data, split)],
        }
        return _keyed(Maker("", cell.model, data, task, cell.seed, numbers), facts)

    def cell_job(self, cell: Cell, maker: Maker | None) -> str:
        """What a cell is made from, by content. Raises `InputError` for files that aren't there."""
        data = self.folder(cell.scored.data)
        facts = {
            "model": maker.job
            if maker is not None
            else self._files(predictions_of(cell, self.split_name(cell.scored))),
            "data": self._split_facts(data, cell.scored.split),
            "annotators": {name: self._files(Path(place)) for name, place in cell.scored.annotators.items()},
            "task": cell.task,
            "scoring": vars(self.table.options(cell.mode)),
            "extras": sorted(self.table.extras),
            "glioma_hf": __version__,
        }
        return _digest(facts)

    def _split_facts(self, folder: str, split: str) -> list[Any]:
        chosen = find_split(folder, split)
        return [chosen.name, chosen.checksums or checksum(Path(folder) / PROVENANCE)]

    def _files(self, place: Path) -> str:
        """A file's checksum, or that of all files of a folder, looked at once."""
        known = self._checksums.get(str(place))
        if known is None:
            files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
            try:
                known = _digest([(str(file.relative_to(place)), checksum(file)) for file in files])
            except OSError as error:
                raise InputError(f"{error.filename or place}: can't be read ({error.strerror})") from None
            self._checksums[str(place)] = known
        return known


def predictions_of(cell: Cell, split: str) -> Path:
    """Where the predictions of an entry lie that were made elsewhere, for a cell's split, such as "spec/test".

    In a folder that may be DATA/SUBSET_SPLIT, SUBSET_SPLIT or, for one task alone, SUBSET_SPLIT_TASK: a folder of label
    maps, or a file with the ending `.json`. Otherwise it is the place itself, for all splits. Raises `InputError` where
    nothing is there.
    """
    assert cell.model.predictions is not None
    place = Path(cell.model.predictions)
    name = split.replace("/", "_")
    for folder in (place / cell.scored.data, place):
        for stem in (f"{name}_{cell.task}", name):
            for found in (folder / f"{stem}.json", folder / stem):
                if found.exists():
                    return found
    if not place.exists():
        raise InputError(f"{place}: no predictions of {cell.model.name} lie there; give a file or a folder")
    return place


def merged(table: Table, data: dict[str, str], predictions: dict[str, str], annotators: dict[str, str]) -> Table:
    """The table with the command line's data sets, predictions and annotators added, or in place of its own.

    Raises `InputError` where a model is called as an annotator, where there is no model at all, and for a data set
    that the table has no use for.
    """
    learned = [model.train.data for model in table.models if model.train is not None]
    check_used(data, table.data, [*(scored.data for scored in table.score), *learned])
    if not (table.models or predictions or annotators or any(scored.annotators for scored in table.score)):
        raise InputError("the table has no models; add them to models, or give predictions by --from NAME=PATH")
    score = [scored.model_copy(update={"annotators": scored.annotators | annotators}) for scored in table.score]
    added = [ModelEntry(name=name, predictions=place) for name, place in predictions.items()]
    models = [model for model in table.models if model.name not in predictions] + added
    content = table.model_dump(exclude_unset=True) | {
        "data": table.data | data,
        "score": [scored.model_dump(exclude_unset=True) for scored in score],
        "models": [model.model_dump(exclude_unset=True) for model in models],
    }
    return table_of(content, "the table")


def check_used(given: dict[str, str], known: Mapping[str, str], used: Sequence[str | None]) -> None:
    """Refuse a data set given under a name that nothing asks for: a slip that would leave another one in its place."""
    for name in given:
        if name not in known and name not in used:
            names = ", ".join(dict.fromkeys([*known, *filter(None, used)]))
            raise InputError(f"--data {name}={given[name]}: no data set is called {name} here; there is {names}")


def loaded(entry: ModelEntry) -> Any:
    """The segmenter of an entry by name or folder, with the thresholds that it has."""
    assert entry.model is not None
    return load_segmenter(entry.model, **entry.settings)


def slug(*words: object) -> str:
    """A short file name that no other words have."""
    text = re.sub(r"[^\w.-]+", "_", "_".join(str(word) for word in words if word is not None)).strip("._")
    return f"{text[:80]}_{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"


def _keyed(maker: Maker, facts: dict[str, Any]) -> Maker:
    entry = maker.entry.model_dump(mode="json", exclude={"train": {"seeds"}})
    key = slug(maker.entry.name, maker.task, None if maker.seed is None else f"seed{maker.seed}", _digest(entry)[:8])
    if maker.data is not None:
        key = f"{key}{_digest(maker.data)[:4]}"
    facts = {**facts, "task": maker.task, "seed": maker.seed, "glioma_hf": __version__}
    return changed(maker, key=key, job=_digest(facts), entry=_placed(maker.entry))


def _placed(entry: ModelEntry) -> ModelEntry:
    """The entry with full paths, as processes elsewhere need them."""
    if entry.train is not None:
        return entry.model_copy(update={"train": entry.train.model_copy(update={"model": _full(entry.train.model)})})
    return entry.model_copy(update={"model": _full(str(entry.model))})


def _full(model: str) -> str:
    """A model's name, or the full path of the folder that it stands for."""
    family, colon, base = model.rpartition(":")
    return f"{family}{colon}{Path(base).absolute()}" if Path(base).is_dir() else model


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
