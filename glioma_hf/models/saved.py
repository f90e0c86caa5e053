"""A saved model's folder: which files it has, and everything that reads, writes, checks, packs or describes them.

A folder holds `model.json` (family, base, task), `recipe.json` (how it was trained, a recipe again), `thresholds.json`
(how it predicts), `scores.json` (what it was trained and scored on), `README.md` (its card) and its family's weights.
An adapter for SAM as `peft` alone saves it, without `model.json`, is one too: its config names the base.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from glioma_hf import hub
from glioma_hf.errors import InputError
from glioma_hf.files import new_file
from glioma_hf.jsonfile import problem_of, read_checked
from glioma_hf.models import get_family
from glioma_hf.models.base import Family, Segmenter
from glioma_hf.models.card import THIS, card

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

INFO, RECIPE, THRESHOLDS, SCORES, CARD = "model.json", "recipe.json", "thresholds.json", "scores.json", "README.md"
BARE = "adapter_config.json"  # stands for `INFO` where `peft` alone saved an adapter
FORMAT = 1  # of `model.json`
MAX_FILE_BYTES = 64 * 2**20  # of one file of a packed model


class ModelInfo(BaseModel):
    """What a saved model is."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    family: str
    base: str
    task: str = "cells"


class TrainingScores(BaseModel):
    """What a model was trained on, and what it scored where its thresholds were chosen.

    Attributes:
        data: name of the data set; "" where it was taught on images that are no data set's.
        training_images, validation_images: file names.
        unlabelled_images: further ones, with labels of a model's.
        validation_ap50: AP at IoU 0.5 on the validation images; None where there were none.
    """

    model_config = ConfigDict(extra="forbid")

    data: str = ""
    task: str = "cells"
    training_images: list[str] = []
    validation_images: list[str] = []
    unlabelled_images: list[str] = []
    validation_ap50: float | None = None


class ModelFolder:
    """The folder of a saved model.

    Example:
        folder = ModelFolder("adapter")
        print(folder.info().base, folder.recipe().learning_rate)
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def is_saved(self) -> bool:
        """Whether a saved model lies there."""
        return (self.path / INFO).is_file() or self.is_bare()

    def is_bare(self) -> bool:
        """Whether an adapter lies there as `peft` alone saves it."""
        return (self.path / BARE).is_file() and not (self.path / INFO).is_file()

    def check(self) -> None:
        """Raise `InputError` where a file is missing that the model can't do without."""
        needed = self.weights() if self.is_bare() else (INFO, *self.weights())
        missing = [name for name in needed if not (self.path / name).is_file()]
        if missing:
            raise InputError(f"{self.path}: no saved model lies there ({missing[0]} is missing); make one by train")

    def weights(self) -> tuple[str, ...]:
        """The files of its family that hold it: an adapter's where one of them is there."""
        family = self.family()
        return family.adapter if any((self.path / name).is_file() for name in family.adapter) else family.weights

    def info(self) -> ModelInfo:
        """What the model is. Raises `InputError` where none is saved there."""
        if not self.is_saved():
            raise InputError(f"{self.path}: no saved model lies there ({INFO} is missing); make one by train")
        if self.is_bare():
            return ModelInfo(family="sam", base=_base_named_in(self.path / BARE))
        info = self._read(INFO, ModelInfo)
        if info.format != FORMAT:
            raise InputError(f"{self.path}: {INFO} has the format {info.format}, this release reads {FORMAT}")
        return info

    def family(self) -> Family:
        """The family that the model is of."""
        return get_family(self.info().family)

    def recipe(self) -> Any:
        """The recipe that it was trained by, None where none is kept."""
        return self._read(RECIPE, self.family().recipe) if (self.path / RECIPE).is_file() else None

    def settings(self) -> Any:
        """How it predicts, None where nothing is kept."""
        return read_settings(self.family(), self.path / THRESHOLDS) if (self.path / THRESHOLDS).is_file() else None

    def scores(self) -> TrainingScores | None:
        """What it was trained and scored on, None where nothing is kept."""
        return self._read(SCORES, TrainingScores) if (self.path / SCORES).is_file() else None

    def write(
        self,
        family: Family,
        segmenter: Segmenter,
        base: str,
        recipe: Any,
        scores: TrainingScores | None = None,
    ) -> None:
        """Save a trained segmenter, all its files."""
        self.path.mkdir(parents=True, exist_ok=True)
        task = scores.task if scores is not None else "cells"
        family.save(segmenter, self.path, base)
        (self.path / RECIPE).write_text(recipe.model_dump_json(indent=2))
        (self.path / THRESHOLDS).write_text(segmenter.settings.model_dump_json(indent=2))
        if scores is not None:
            (self.path / SCORES).write_text(scores.model_dump_json(indent=2))
        (self.path / CARD).write_text(card(family, base, recipe, scores), encoding="utf-8")
        (self.path / INFO).write_text(ModelInfo(family=family.name, base=base, task=task).model_dump_json(indent=2))

    def note_tuning(self, segmenter: Segmenter, validation_ap50: float) -> None:
        """Keep thresholds that were chosen anew, and the score that they were chosen by."""
        scores = (self.scores() or TrainingScores()).model_copy(update={"validation_ap50": validation_ap50})
        write_settings(segmenter, self.path / THRESHOLDS)
        with new_file(self.path / SCORES) as partial:
            partial.write_text(scores.model_dump_json(indent=2))
        text = card(self.family(), self.info().base, self.recipe(), scores)
        with new_file(self.path / CARD) as partial:
            partial.write_text(text, encoding="utf-8")

    def names(self) -> list[str]:
        """The files of the model that are there, sorted; whatever else lies in the folder isn't the model's."""
        known = {INFO, RECIPE, THRESHOLDS, SCORES, CARD, *self.weights()}
        return sorted(name for name in known if (self.path / name).is_file())

    def copy_to(self, target: Path, name: str) -> list[str]:
        """Copy the model's files into a folder; its card calls it `name`. Returns the files' names."""
        self.check()
        names = self.names()
        for file in names:
            data = (self.path / file).read_bytes()
            (target / file).write_bytes(data.replace(THIS.encode(), name.encode()) if file == CARD else data)
        return names

    def pack(self, target: str | Path) -> Path:
        """A zip of the model's files."""
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in self.names():
                packed.write(self.path / name, name)
        return Path(target)

    @classmethod
    def unpack(cls, path: str | Path, folder: str | Path, families: Collection[str]) -> ModelFolder:
        """Write the files of a packed model into a folder, known names alone, wherever they lie in the zip.

        Args:
            path: the zip.
            families: whose models are taken.

        Raises `InputError` for what is no zip, names that lead out of it and files too large for a model.
        """
        from glioma_hf.data.sources.archive import Archive

        saved = cls(folder)
        with Archive(path) as packed:
            by_base = {PurePosixPath(name).name: name for name in packed.names}

            def write(kept: Iterable[str]) -> None:
                for base in kept:
                    if base in by_base:
                        data = packed.read(by_base[base])
                        if len(data) > MAX_FILE_BYTES:
                            raise InputError(f"{Path(path).name}: {base} holds {len(data)} bytes, too many for a model")
                        (saved.path / base).write_bytes(data)

            try:
                write((INFO if INFO in by_base else BARE, RECIPE, THRESHOLDS, SCORES, CARD))
                if saved.info().family not in families:
                    raise InputError(f"{folder}: models of {saved.info().family[:40]!r} aren't taken here")
                write(_weights_of(saved.family()))
                saved.check()
            except InputError as error:  # by the name that its owner knows
                raise InputError(re.sub(f"^{re.escape(str(folder))}(?=[:/])", Path(path).name, str(error))) from None
        return saved

    def _read(self, name: str, kind: type[Any]) -> Any:
        path = self.path / name
        try:
            return kind.model_validate_json(read_checked(path))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: can't be read ({problem_of(error)}); train again") from None


def find_saved(name: str | Path, most: int | None = None) -> ModelFolder | None:
    """The saved model that lies in a folder, or in a repository on the Hub of that name; None where there is none.

    Raises `InputError` where the Hub has it but can't give it, and where a file there holds more than `most` bytes.
    """
    folder = ModelFolder(name)
    if folder.is_saved():
        return folder
    if folder.path.exists() or not hub.is_repo(str(name)):
        return None
    for first in (INFO, BARE):
        if info := hub.fetch(str(name), [first], most):
            break
    else:
        return None
    kept = [first, RECIPE, THRESHOLDS, SCORES, CARD, *_weights_of(ModelFolder(info).family())]
    return ModelFolder(hub.fetch(str(name), kept, most) or info)


def _base_named_in(path: Path) -> str:
    try:
        if isinstance(base := json.loads(read_checked(path))["base_model_name_or_path"], str) and base:
            return base
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise InputError(f"{path}: it names no base (base_model_name_or_path); say there what it adapts")


def _weights_of(family: Family) -> tuple[str, ...]:
    """All files that a model of the family may have."""
    return (*family.weights, *family.adapter)


def read_settings(family: Family, path: Path) -> Any:
    """Settings of a family's segmenters from a file. Raises `InputError` that names it where it isn't one."""
    try:
        return family.settings.model_validate_json(read_checked(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the thresholds can't be read ({problem_of(error)}); tune the model again") from None


def write_settings(segmenter: Segmenter, path: Path) -> None:
    """A segmenter's settings into a file, whole or not at all."""
    with new_file(path) as partial:
        partial.write_text(segmenter.settings.model_dump_json(indent=2))
