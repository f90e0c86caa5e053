"""`predict` by several processes: the same files, the same record, and a run that goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from glioma_hf import InputError
from glioma_hf.executor import Workers
from glioma_hf.progress import to_lines
from glioma_hf.workflows.prediction import predict
from glioma_hf.workflows.results_index import ResultsIndex
from tests.models.contract import SCENE
from tests.models.dummy import DummySegmenter

MODEL = DummySegmenter(1.0)


@pytest.fixture
def images(tmp_path):
    """Five images of some cells."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        tifffile.imwrite(folder / f"{number}.tif", np.roll(SCENE.image, 7 * number, axis=1))
    return folder


def test_processes_write_what_one_writes_and_go_on(images, tmp_path):
    alone = predict(images, tmp_path / "alone", MODEL)
    lines: list[str] = []
    with Workers(2) as workers:
        shared = predict(images, tmp_path / "shared", MODEL, on_progress=to_lines(lines.append), workers=workers)
        assert shared == alone
        assert len(lines) == 5
        files = sorted(p.name for p in (tmp_path / "alone").iterdir())
        assert sorted(p.name for p in (tmp_path / "shared").iterdir()) == files
        for name in files:
            if not name.startswith(".") and not name.endswith(".zip"):  # a zip holds the time
                assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
        records = [ResultsIndex(tmp_path / name).images for name in ("alone", "shared")]
        assert {n: (r.image_id, r.cells, r.sha256) for n, r in records[0].items()} == {
            n: (r.image_id, r.cells, r.sha256) for n, r in records[1].items()
        }
        (tmp_path / "shared" / "3.csv").unlink()
        lines.clear()
        again = predict(images, tmp_path / "shared", MODEL, on_progress=to_lines(lines.append), workers=workers)
        assert again == alone
        assert sum("is done already" in line for line in lines) == 4
        assert (tmp_path / "shared" / "3.csv").is_file()
        # What somebody changed is left alone, and a broken image is named.
        (tmp_path / "shared" / "2.json").write_text(json.dumps([]) + " ")
        (tmp_path / "shared" / "2.csv").unlink()
        with pytest.raises(InputError, match=r"2\.json was changed since predict wrote it"):
            predict(images, tmp_path / "shared", MODEL, workers=workers)
        (images / "9.tif").write_bytes(b"broken")
        with pytest.raises(InputError, match=r"9\.tif"):
            predict(images / "9.tif", tmp_path / "other", MODEL, workers=workers)
