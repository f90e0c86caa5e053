"""What every family must do; its test subclasses `FamilyContract` and says which base is small enough for a test."""

from __future__ import annotations

import json
import zipfile
from typing import Any, ClassVar

import numpy as np
import pytest

from glioma_hf import InputError, Instances
from glioma_hf.models import FAMILIES, find_base, get_family, load_segmenter
from glioma_hf.models.base import Family, Run, Segmenter
from glioma_hf.models.saved import ModelFolder, TrainingScores
from glioma_hf.progress import Progress
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene

SCENE = generate_scene(1, SceneConfig(width=160, height=128, cells_per_megapixel=(500, 500)))
PAIR = (SCENE.image, SCENE.instances())


class FamilyContract:
    """Tests of one family.

    Attributes:
        name: of the family.
        overlaps: whether its masks may overlap.
        loose: settings under which even a hardly trained model predicts something, and masks overlap where they may.
    """

    name: ClassVar[str]
    overlaps: ClassVar[bool] = True
    loose: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def family(self) -> Family:
        return get_family(self.name)

    @pytest.fixture
    def base(self, family: Family) -> str:
        """A base that trains in a second."""
        return family.bases[0]

    @pytest.fixture
    def recipe(self, family: Family) -> Any:
        """A recipe of a few steps."""
        return family.read_recipe()

    @pytest.fixture
    def trained(self, family: Family, base: str, recipe: Any) -> Segmenter:
        return family.train(base, [PAIR], recipe, Run(workers=0)).with_settings(**self.loose)

    def test_it_is_found_by_its_name(self, family):
        assert self.name in FAMILIES
        assert family.name == self.name
        assert find_base(self.name) == (family, family.bases[0])
        assert find_base(f"{self.name}:other") == (family, "other")
        assert family.recipe_names()[0] == family.default_recipe

    def test_it_segments_an_image_of_any_form(self, trained):
        grey = trained.segment(SCENE.image)
        assert isinstance(grey, Instances)
        assert grey.size == SCENE.image.shape
        assert len(grey) > 0
        assert grey.scores is not None
        assert (np.diff(grey.scores) <= 0).all()
        assert (grey.scores >= trained.score_threshold).all()
        assert (grey.areas > 0).all()
        for same in (SCENE.image.astype(np.uint16) * 200, np.stack([SCENE.image] * 3, 2), SCENE.image / 255.0):
            assert len(trained.segment(same)) == len(grey)
        assert trained.segment(np.zeros((40, 50), np.uint8)).size == (40, 50)

    def test_its_masks_overlap_where_they_may(self, trained):
        cells = trained.segment(SCENE.image)
        shared = cells.areas.sum() - cells.flatten().areas.sum()
        assert (shared > 0) == self.overlaps

    def test_it_tells_how_far_it_is_and_can_be_stopped(self, trained):
        told: list[Progress] = []
        trained.segment(SCENE.image, told.append)
        assert told
        assert told[-1].share == 1
        assert [p.done for p in told] == sorted(p.done for p in told)

        def stop(progress: Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trained.segment(SCENE.image, stop)

    def test_training_tells_of_its_steps_and_can_be_stopped(self, family, base, recipe):
        told: list[Progress] = []
        family.train(base, [PAIR], recipe, Run(on_progress=told.append, workers=0))
        steps = [p for p in told if p.loss is not None]
        assert steps[-1].done == steps[-1].total == len(steps)
        assert all(np.isfinite(p.loss) for p in steps)

        def stop(progress: Progress) -> None:
            if progress.loss is not None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            family.train(base, [PAIR], recipe, Run(on_progress=stop, workers=0))

    def test_settings_are_changed_in_a_copy_and_checked(self, trained):
        before = trained.settings
        higher = trained.with_score_threshold(0.9)
        assert (higher.score_threshold, trained.settings) == (0.9, before)
        everything = trained.segment(SCENE.image)
        assert len(higher.segment(SCENE.image)) == int((everything.scores >= 0.9).sum())
        assert type(trained.for_diameter(40.0)) is type(trained)
        with pytest.raises(InputError, match="no_such_setting"):
            trained.with_settings(no_such_setting=1)

    def test_tuning_gives_the_threshold_of_the_best_score(self, family, trained):
        tuned, ap = family.tune(trained, [PAIR], lambda progress: None)
        assert type(tuned) is type(trained)
        assert 0 <= ap <= 1

    def test_what_is_saved_is_loaded_again(self, family, base, recipe, trained, tmp_path):
        scores = TrainingScores(data="d", training_images=["a.tif"], validation_images=["b.tif"], validation_ap50=0.25)
        folder = ModelFolder(tmp_path / "model")
        folder.write(family, trained, base, recipe, scores)
        folder.check()
        assert (folder.family(), folder.info().base, folder.recipe(), folder.scores()) == (family, base, recipe, scores)
        again = load_segmenter(tmp_path / "model")
        assert again.settings == trained.settings
        assert again.segment(SCENE.image) == trained.segment(SCENE.image)
        assert load_segmenter(f"{self.name}:{base}", tmp_path / "model").settings == again.settings
        card = (tmp_path / "model" / "README.md").read_text()
        assert "0.250" in card
        assert family.title in card
        packed = folder.pack(tmp_path / "model.zip")
        (tmp_path / "unpacked").mkdir()
        other = ModelFolder.unpack(packed, tmp_path / "unpacked", [self.name])
        assert load_segmenter(other.path).segment(SCENE.image) == trained.segment(SCENE.image)
        assert zipfile.ZipFile(packed).namelist() == folder.names()
        for file in folder.path.iterdir():
            assert str(tmp_path).encode() not in file.read_bytes().replace(base.encode(), b""), file

    def test_a_saved_model_that_is_broken_is_named(self, family, base, recipe, trained, tmp_path):
        with pytest.raises(InputError, match=r"no saved model lies there \(model\.json is missing\)"):
            load_segmenter(adapter=tmp_path)
        ModelFolder(tmp_path).write(family, trained, base, recipe)
        settings = (tmp_path / "thresholds.json").read_text()
        for broken in ("{", '{"no_such_setting": 1}', "[]"):
            (tmp_path / "thresholds.json").write_text(broken)
            with pytest.raises(InputError, match=r"thresholds\.json: the thresholds can't be read") as told:
                load_segmenter(tmp_path)
            assert "http" not in str(told.value)
        (tmp_path / "thresholds.json").write_text(settings)
        info = json.loads((tmp_path / "model.json").read_text())
        for changes, says in (
            ({"family": "no"}, "the family 'no' isn't known; it is one of"),
            ({"format": 99}, "has the format 99"),
            ({"extra": 1}, r"model\.json: can't be read"),
        ):
            (tmp_path / "model.json").write_text(json.dumps(info | changes))
            with pytest.raises(InputError, match=says):
                load_segmenter(tmp_path)
        (tmp_path / "model.json").write_text(json.dumps(info))
        for name in family.weights:
            (tmp_path / name).write_bytes(b"broken")
        with pytest.raises(InputError, match=str(tmp_path)):
            load_segmenter(tmp_path)
        (tmp_path / family.weights[-1]).unlink()
        with pytest.raises(InputError, match=rf"no saved model lies there \({family.weights[-1]} is missing\)"):
            load_segmenter(tmp_path)

    def test_recipes_are_checked(self, family, tmp_path):
        for name in family.recipe_names():
            recipe = family.read_recipe(name)
            assert family.recipe.model_validate_json(recipe.model_dump_json()) == recipe
        with pytest.raises(InputError, match=f"isn't known; it is {family.default_recipe}"):
            family.read_recipe("no-such-recipe")
        (tmp_path / "r.json").write_text('{"lerning_rate": 0.5}')
        with pytest.raises(
            InputError, match=r"r\.json: not a recipe of .*\(lerning_rate: there is no such entry, but \w+, "
        ):
            family.read_recipe(tmp_path / "r.json")
        for wrong in ('{"seed": "a"}', "[1]"):
            (tmp_path / "r.json").write_text(wrong)
            with pytest.raises(InputError, match=r"r\.json: not a recipe of .*should be .*; mend it there$") as told:
                family.read_recipe(tmp_path / "r.json")
            assert "http" not in str(told.value)

    @pytest.mark.parametrize(
        "image",
        [np.zeros(5), np.zeros((4, 5, 3, 1)), np.zeros((0, 5)), np.full((40, 40), np.nan), np.full((9, 9), "a")],
        ids=["line", "stack", "empty", "nan", "text"],
    )
    def test_what_is_no_image_is_refused(self, trained, image):
        with pytest.raises(InputError, match="image"):
            trained.segment(image)

    def test_an_image_without_a_cell_is_refused_in_training(self, family, base, recipe):
        with pytest.raises(InputError, match="no annotated cell"):
            family.train(base, [(SCENE.image, Instances.empty(SCENE.image.shape))], recipe, Run(workers=0))
