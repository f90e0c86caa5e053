"""What the tab Explore offers of a data set, without a browser."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from glioma_hf.data.prepare import prepare
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def explore():
    """The page's module `explore`, which lies beside its script."""
    sys.path.insert(0, str(ROOT / "spaces" / "demo"))
    import explore

    yield explore
    sys.path.remove(str(ROOT / "spaces" / "demo"))


def test_kinds_are_those_of_the_data_set(explore, folder, tmp_path):
    labels = np.zeros((1, 20, 20, 1), np.int32)
    labels[0, 5:15, 5:15] = 1
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "tissuenet_1_train.npz", X=np.ones((1, 20, 20, 2)), y=np.repeat(labels, 2, 3))
    prepare(tmp_path / "in", tmp_path / "tissue", source="tissuenet")
    library = explore.Library(str(tmp_path / "tissue"))
    assert library.kinds("samples") == ["all", "cells", "type A", "type B", "somata"]
    assert "nuclei" in library.kinds("default/train")
    _, objects = library.open("default/train", 0)
    assert objects.categories.tolist() == [0, 4]
    assert library.measures("default/train").axis_ratio.tolist() == [1, 1]
    assert "nuclei" not in explore.Library(str(folder)).kinds("spec/test")
