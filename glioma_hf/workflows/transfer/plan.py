"""What a study's rows need: networks to be pretrained, repeats to be made; each known by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glioma_hf import __version__
from glioma_hf.benchmark.study import IMAGENET, RANDOM, Pretraining, Study, Variant, draw_split
from glioma_hf.data.prepared import PROVENANCE, read_prepared
from glioma_hf.data.splits import find_split
from glioma_hf.errors import InputError
from glioma_hf.files import checksum
from glioma_hf.models import find_base, get_family
from glioma_hf.models.base import check_settings
from glioma_hf.models.saved import ModelFolder
from glioma_hf.workflows.tables.plan import check_used, slug
from glioma_hf.workflows.training import facts_of_model
from glioma_hf.workflows.transfer.pieces import UNET, PretrainPiece, RepeatPiece


class StudyPlan:
    """A study with the folders of its data, and the pieces that it is made of.

    Raises `InputError` for a data set, a split, an encoder's name, a start or a recipe that can't be used.
    """

    def __init__(self, study: Study):
        self.study = study
        self.data = self._folder(study.images.data)
        self.splits = tuple(study.images.splits) or tuple(each.name for each in read_prepared(self.data).splits)
        chosen = [find_split(self.data, split, study.images.data) for split in self.splits]
        held = {find_split(self.data, split, study.images.data).name for split in study.images.test_only}
        self.splits = tuple(each.name for each in chosen)
        self.pool = sum(each.images for each in chosen)
        places = iter(range(self.pool))
        numbered = [(each.name, [next(places) for _ in range(each.images)]) for each in chosen]
        self.test_only = frozenset(place for name, some in numbered if name in held for place in some)
        self.facts = [[each.name, each.checksums or checksum(Path(self.data) / PROVENANCE)] for each in chosen]
        self.pretrained: dict[str, PretrainPiece] = {}
        self.repeats = [self._repeat(variant, number) for number in range(study.repeats) for variant in study.variants]

    def _folder(self, name: str) -> str:
        if name not in self.study.data:
            known = ", ".join(self.study.data) or "none"
            raise InputError(
                f"the data set {name!r} isn't one of the study's ({known}); add it to data, or give --data"
            )
        return str(Path(self.study.data[name]).absolute())

    def _repeat(self, variant: Variant, number: int) -> RepeatPiece:
        study = self.study
        split = draw_split(self.pool, study.counts, study.seed, number, self.test_only)
        recipe, base, model = None, "", None
        facts: dict[str, Any] = {"data": self.facts, "split": vars(split), "pairs": variant.scored}
        if variant.model is not None:
            family, name = find_base(variant.model)
            model = f"{family.name}:{Path(name).absolute()}" if Path(name).is_dir() else variant.model
            model = str(Path(variant.model).absolute()) if ModelFolder(variant.model).is_saved() else model
            facts["model"] = facts_of_model(variant.model)
        else:
            assert variant.resolution is not None
            seed = (study.seed + number) % 2**32
            recipe = self._recipe(
                variant.encoder,
                variant.recipe,
                variant.resolution,
                variant.method,
                seed,
                variant.name,
                study.counts.train,
            )
            if not study.counts.validation:
                recipe["patience"] = 0
            base, begun = self._base(variant)
            facts |= {"start": begun, "recipe": recipe}
        facts |= {"sizes": study.resolutions, "glioma_hf": __version__}
        return RepeatPiece(
            key=slug(variant.name, f"repeat{number + 1}"),
            job=_digest(facts),
            variant=variant.name,
            repeat=number + 1,
            data=self.data,
            splits=self.splits,
            split=split,
            start=variant.start,
            base=base,
            recipe=recipe,
            model=model,
            pairs=tuple(variant.scored),
            resolutions=study.resolutions,
            drawn=study.panels if number == 0 else 0,
        )

    def _base(self, variant: Variant) -> tuple[str, Any]:
        """What a variant starts from, and that by content."""
        if variant.start in (RANDOM, IMAGENET):
            return variant.start, variant.start
        if variant.start in self.study.pretraining:
            piece = self._pretraining(variant, self.study.pretraining[variant.start])
            return piece.key, piece.job
        folder = Path(variant.start)
        if not ModelFolder(folder).is_saved() or ModelFolder(folder).info().family != UNET:
            known = ", ".join([RANDOM, IMAGENET, *self.study.pretraining])
            raise InputError(
                f"{variant.name}: the start {variant.start!r} isn't known; it is {known}, or a saved U-Net's folder"
            )
        encoder = json.loads((folder / "config.json").read_text())["encoder"]
        if encoder != variant.encoder:
            raise InputError(
                f"{variant.name}: the weights in {folder} are of the encoder {encoder}, the study asks for "
                f"{variant.encoder}; give weights of that encoder"
            )
        return str(folder.absolute()), facts_of_model(folder)

    def _pretraining(self, variant: Variant, asked: Pretraining) -> PretrainPiece:
        """The network of a pretraining with a variant's encoder; the same for all variants that have both."""
        network = variant.recipe.get("network", {})
        own = {**asked.recipe, "network": {**network, **asked.recipe.get("network", {})}}
        data = self._folder(asked.data)
        splits = [find_split(data, split, asked.data) for split in (asked.train, asked.validation)]
        images = splits[0].images
        recipe = self._recipe(variant.encoder, own, asked.resolution, "resize", self.study.seed, variant.start, images)
        facts = {
            "data": [[each.name, each.checksums or checksum(Path(data) / PROVENANCE)] for each in splits],
            "start": asked.start,
            "recipe": recipe,
            "glioma_hf": __version__,
        }
        key = slug(variant.start, variant.encoder, _digest(facts)[:8])
        names = [each.name for each in splits]
        piece = PretrainPiece(key, _digest(facts), asked.start, recipe, data, names[0], names[1])
        return self.pretrained.setdefault(key, piece)

    def _recipe(
        self, encoder: str, own: dict[str, Any], resolution: str, method: str, seed: int, where: str, images: int
    ) -> dict[str, Any]:
        """Every number of a training on so many images: the study's, then the row's own."""
        family, study = get_family(UNET), self.study
        network = {**study.recipe.get("network", {}), **own.get("network", {}), "encoder": encoder}
        asked = {
            **study.recipe,
            **own,
            "network": network,
            "resolution": study.resolutions[resolution],
            "method": method,
            "seed": seed,
        }
        recipe = check_settings(family.recipe, asked, f"the recipe of {where}")
        if "check_every" not in asked:
            steps = max(1, round(study.check_epochs * images / (recipe.batch * recipe.accumulation)))
            recipe = recipe.model_copy(update={"check_every": steps})
        return recipe.model_dump(mode="json")


def merged(study: Study, data: dict[str, str], repeats: int | None) -> Study:
    """The study with the command line's data sets and number of repeats in place of its own.

    Raises `InputError` for a data set that the study has no use for.
    """
    check_used(data, study.data, [study.images.data, *(each.data for each in study.pretraining.values())])
    changes: dict[str, Any] = {"data": study.data | data}
    if repeats is not None:
        changes["repeats"] = repeats
    return study.model_copy(update=changes)


def inputs_of(study: Study) -> Sequence[str]:
    """Folders that are read."""
    starts = [variant.start for variant in study.variants if Path(variant.start).is_dir()]
    models = [variant.model for variant in study.variants if variant.model is not None and Path(variant.model).is_dir()]
    return [*study.data.values(), *starts, *models]


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
