"""How large cells are, asked of models that know one size: a stand-in with known answers, and one that ships."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.transform import rescale

from glioma_hf import Instances, load_segmenter
from glioma_hf.models.diameter import LARGEST_PART, estimate_diameter, fitted
from glioma_hf.synthetic.scenes import SceneConfig, generate_scene
from tests.models.dummy import DummySegmenter
from tests.strategies import square


class Sees(DummySegmenter):
    """Finds cells of one true size where they look half to twice as large as it knows, pieces of larger ones."""

    def __init__(self, true: float, settings=None):
        super().__init__(1.0, settings)
        self.true = true
        self.parts: list[tuple[int, int]] = []

    def segment(self, image, on_progress=None):
        self.parts.append(image.shape)
        ratio = self.true / self.settings.cell_diameter
        if ratio < 0.5:
            return Instances.empty(image.shape)
        side = self.true if ratio < 2 else 0.6 * self.true
        side = side * np.sqrt(np.pi) / 2  # of a square as large as a disc
        row = [square(n, 0, side) for n in range(9)]
        return Instances.from_polygons(row, image.shape, scores=np.full(9, 0.9))


@pytest.mark.parametrize("true", [4.5, 9, 14, 20, 28, 41, 90, 150])
def test_what_is_found_leads_to_the_true_size(true):
    image = np.zeros((3000, 5000), np.uint8)
    model = Sees(true)
    assert estimate_diameter(model, image) == pytest.approx(true, rel=0.15, abs=1)
    other, diameter = fitted(model, image)
    if 20 / 1.5 < true < 20 * 1.5:  # near what it knows it stays as it is
        assert other is model
        assert diameter is None
    else:
        assert other.settings.cell_diameter == diameter == pytest.approx(true, rel=0.15, abs=1)
    assert max(side for part in model.parts for side in part) <= LARGEST_PART


def test_a_few_cells_of_the_right_size_are_no_reason_to_look_for_others():
    class Few(Sees):
        """At its own size three cells as they should be; as if for smaller ones texture, of which there is much."""

        def segment(self, image, on_progress=None):
            found = super().segment(image)
            return found.select(slice(3)) if self.settings.cell_diameter == 20 else found

    assert estimate_diameter(Few(22), np.zeros((300, 400), np.uint8)) is None
    assert estimate_diameter(Few(9.5), np.zeros((300, 400), np.uint8)) == pytest.approx(9.5, rel=0.15)


def test_without_cells_or_a_size_of_its_own_a_model_stays_as_it_is():
    image = np.zeros((300, 400), np.uint8)
    nothing = Sees(0.1)
    assert fitted(nothing, image) == (nothing, None)

    class Sizeless(DummySegmenter):
        diameter = None

    model = Sizeless(1.0)
    assert fitted(model, image) == (model, None)


def test_the_model_that_ships_tells_the_size_of_synthetic_cells():
    pytest.importorskip("torch")
    scene = generate_scene(3, SceneConfig(width=700, height=700))
    areas = scene.instances().areas
    model = load_segmenter("centres:general").with_settings(views=1)
    for zoom in (0.4, 2.0):
        image = rescale(scene.image, zoom, preserve_range=True, anti_aliasing=True).astype(np.uint8)
        true = zoom * 2 * np.sqrt(np.median(areas) / np.pi)
        assert estimate_diameter(model, image) == pytest.approx(true, rel=0.3)
    flat = np.random.default_rng(0).integers(90, 110, (300, 300), dtype=np.uint8)
    assert fitted(model, flat) == (model, None)
