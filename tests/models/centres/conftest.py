from __future__ import annotations

from pathlib import Path

import pytest

from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import load_images


@pytest.fixture(scope="session")
def t98g_images(t98g: Path, tmp_path_factory: pytest.TempPathFactory):
    """Pairs of the first real training image."""
    folder = tmp_path_factory.mktemp("t98g") / "prepared"
    prepare(t98g, folder)
    return [(item.pixels, item.instances) for item in load_images(folder, "train", numbers=[1])]
