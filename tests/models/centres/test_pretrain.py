"""The commands that make the package's own weights, on a network small enough for a test."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from typer.testing import CliRunner

from glioma_hf import InputError
from glioma_hf.models import load_segmenter
from glioma_hf.models.centres.family import FAMILY, new_network
from glioma_hf.models.centres.pretrain import a549_cells, app
from glioma_hf.models.saved import ModelFolder
from glioma_hf.models.vision.composed import with_composed
from tests.models.centres.test_train_runs import SHORT
from tests.models.contract import PAIR, SCENE


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.long
def test_one_model_is_made_from_scenes_and_the_next_from_it(tmp_path, folder):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(SHORT.model_copy(update={"composed": 1}).model_dump_json())
    first, second = tmp_path / "general", tmp_path / "glioblastoma"
    said = run("general", "--out", str(first), "--scenes", "10", "--base", "random", "--recipe", str(recipe))
    assert "step 6 of 6" in said
    assert ModelFolder(first / "model").scores().training_images == ["2 synthetic scenes"]
    again = run("general", "--out", str(first), "--scenes", "10", "--base", "random", "--recipe", str(recipe))
    assert "step" not in again  # it had ended
    recipe.write_text(SHORT.model_copy(update={"network": None}).model_dump_json())
    base = str(first / "model")
    run("glioblastoma", "--out", str(second), "--data", str(folder), "--base", base, "--recipe", str(recipe))
    segmenter = load_segmenter(second / "model")
    assert segmenter.segment(SCENE.image).size == SCENE.image.shape
    half = new_network(str(second / "model")).state_dict()
    assert half["controller.0.weight"].dtype == torch.float32
    assert torch.equal(half["controller.0.weight"], half["controller.0.weight"].half().float())


def test_a_base_that_was_trained_gives_its_thresholds_on(tmp_path):
    from glioma_hf.models.base import Run

    start = FAMILY.train("random", [PAIR], SHORT, Run(workers=0)).with_settings(score_thresh=0.33, scale=0.5)
    ModelFolder(tmp_path).write(FAMILY, start, "random", SHORT)
    assert load_segmenter(f"centres:{tmp_path}").settings == start.settings
    after = FAMILY.train(str(tmp_path), [PAIR], SHORT.model_copy(update={"network": None}), Run(workers=0))
    assert (after.settings.score_thresh, after.settings.scale) == (0.33, 1.0)


def test_composed_images_stand_beside_their_own():
    images = with_composed([PAIR, PAIR], 2, SHORT.overlaps, SHORT.seed)
    assert len(images) == 6
    assert images[:2] == [PAIR, PAIR]
    assert all(len(cells) > len(PAIR[1]) for _, cells in images[2:])
    assert not (images[2][0] == images[3][0]).all()


def test_real_images_are_labelled_by_deepsea(tmp_path):
    with pytest.raises(InputError, match="no images lie in folders of that name there"):
        a549_cells(tmp_path)
    (tmp_path / "train" / "images").mkdir(parents=True)
    rows, columns = np.mgrid[:900, :1200]
    image = np.full((900, 1200), 110, np.uint8)
    for x, y in ((200, 200), (600, 300), (900, 500)):
        far = np.hypot(rows - y, columns - x)
        image[far < 66] = 60
        image[(far >= 66) & (far < 78)] = 230
    Image.fromarray(image).save(tmp_path / "train" / "images" / "img_1.tif")
    if find_spec("deepsea") is None:
        with pytest.raises(InputError, match=r"glioma_hf\[pretrained\]"):
            a549_cells(tmp_path)
        pytest.skip("the package deepsea isn't installed")
    ((small, cells),) = a549_cells(tmp_path)
    assert small.shape == (276, 400)
    assert len(cells) == 3
    assert cells.scores is None
    middles = {(round(x + w / 2), round(y + h / 2)) for x, y, w, h in cells.boxes}
    assert all(
        any(abs(x - a) < 6 and abs(y - b) < 6 for a, b in middles) for x, y in ((67, 67), (200, 100), (300, 167))
    )
