"""`predict` on images too large to hold: the files of the normal way, and memory that doesn't grow with the image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

torch = pytest.importorskip("torch")

from glioma_hf import InputError, Instances
from glioma_hf.models.centres.segment import CentreSegmenter, CentreSettings
from glioma_hf.palette import ORANGE, PURPLE
from glioma_hf.workflows import outputs, prediction
from glioma_hf.workflows.prediction import predict
from tests.conftest import ROOT
from tests.models.centres.test_segment import Painter, spots
from tests.models.dummy import DummySegmenter

FILES = {"a.json", "a.csv", "a.png", "a_labels.tif", "a_rois.zip", "a.geojson", "all_cells.csv", ".glioma-hf"}


def segmenter() -> CentreSegmenter:
    return CentreSegmenter(Painter(), CentreSettings(views=1))


def is_purple(shown: np.ndarray) -> np.ndarray:
    """Where an overlay shows that cells overlap: grey of about 100 and the colour together."""
    return (np.abs(shown - 0.45 * np.array(PURPLE) - 0.55 * 101) < 3).all(2)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    pixels, _ = spots((3000, 3000), 400)
    for y in range(60, 2940, 400):  # beside each disc of 46 pixels another one, which overlaps it
        pixels[y : y + 2, 130:2900:400] = pixels[y : y + 2, 131:2900:400] = 255
    path = tmp_path_factory.mktemp("image") / "a.tif"
    tifffile.imwrite(path, pixels, bigtiff=True, compression="zlib", tile=(256, 256))
    return path


def test_files_are_those_of_the_image_that_is_held(image, tmp_path, monkeypatch):
    lines = []
    normal = predict(image, tmp_path / "normal", segmenter())
    opened = predict(image, tmp_path / "opened", segmenter(), on_progress=lines.append, held=2**20)
    assert opened == normal
    assert normal.cells == 120
    assert {p.name for p in (tmp_path / "opened").iterdir()} == FILES
    for name in ("a.json", "a.csv", "a.geojson", "all_cells.csv"):
        assert (tmp_path / "opened" / name).read_bytes() == (tmp_path / "normal" / name).read_bytes()
    labels = [tifffile.imread(tmp_path / way / "a_labels.tif") for way in ("normal", "opened")]
    assert np.array_equal(*labels)
    assert labels[0].dtype == labels[1].dtype == np.uint16
    with tifffile.TiffFile(tmp_path / "opened" / "a_labels.tif") as file:
        assert file.pages[0].tile == (512, 512)
    cells = Instances.from_coco(json.loads((tmp_path / "opened" / "a.json").read_text()), (3000, 3000))
    assert np.array_equal(cells.to_label_map(), labels[1])
    purple = []
    for way in ("normal", "opened"):
        purple.append(is_purple(np.asarray(Image.open(tmp_path / way / "a.png"))))
    assert purple[0].shape == purple[1].shape == (3000, 3000)
    assert purple[0].sum() > 10_000
    assert not (purple[0] & ~purple[1]).any()  # lines are finer, and hide less of it
    told = [news.message for news in lines]
    assert told[0].startswith("1 of 1: a.tif, tile 1 of ")
    assert told[-2:] == ["1 of 1: a.tif, writing what was found", f"1 of 1: a.tif, {normal.cells} cells"]
    shares = [news.share for news in lines]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_large_overlay_is_reduced_which_is_told(image, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "LONGEST", 1100)
    lines = []
    predict(image, tmp_path / "out", segmenter(), on_progress=lines.append, held=2**20)
    shown = Image.open(tmp_path / "out" / "a.png")
    assert shown.size == (1000, 1000)
    assert lines[-1].message.endswith("cells, the overlay 3 times smaller than the image")
    small = np.asarray(shown)
    assert (small == ORANGE).all(2).sum() > 120 * 2 * np.pi * 46 / 3 / 2
    assert is_purple(small).sum() > 1000


@pytest.mark.long
def test_what_is_broken_off_leaves_nothing_half_written(image, tmp_path, monkeypatch):
    def stop(progress) -> None:
        if "tile 3" in progress.message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(image, tmp_path / "out", segmenter(), on_progress=stop, held=2**20)
    assert not (tmp_path / "out").exists()

    def no_room(instances, side):
        yield np.zeros((side, side), int)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("glioma_hf.data.exports._label_tiles", no_room)
        with pytest.raises(KeyboardInterrupt):
            predict(image, tmp_path / "out", segmenter(), held=2**20)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.png", "a.csv", ".glioma-hf"}
    predict(image, tmp_path / "out", segmenter(), held=2**20)
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES


def test_models_that_read_no_windows_take_the_whole_or_say_what_to_do(tmp_path, monkeypatch):
    pixels, _ = spots((300, 300), 104)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    model = DummySegmenter(1.0)
    assert predict(tmp_path / "a.tif", tmp_path / "out", model, held=1000).images == 1
    monkeypatch.setattr(prediction, "MAX_PIXELS", 1000)
    with pytest.raises(InputError, match=r"a\.tif: 300 x 300 is more than 1000 pixels, .* model of the family centres"):
        predict(tmp_path / "a.tif", tmp_path / "out2", model)


# Predicts a small image, then a large one; prints by how many MB that raised the most that the process ever held.
MEASURED = """
import sys
from pathlib import Path
import torch
from glioma_hf.data import opened
from glioma_hf.models.vision import preprocess
from glioma_hf.workflows import outputs
from glioma_hf.workflows.prediction import predict
from tests.workflows.test_large_images import segmenter

torch.set_num_threads(1)
outputs.LONGEST, opened.CACHED, preprocess.READ_WHOLE = 2048, 2**23, 2**20  # what is constant shows in both images


def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


small, large, out = sys.argv[1:]
model = segmenter().with_settings(tile=576)  # that of the small image
for number in range(2):  # the first one brings libraries
    predict(small, f"{out}/{number}", model, held=2**20)
before = most()
found = predict(large, out + "/large", model, held=2**20)
print(found.cells, most() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system doesn't tell")
def test_memory_doesnt_grow_with_the_image(tmp_path):
    empty = np.full((512, 512), 20_000, np.uint16)
    spot = empty.copy()
    spot[200:202, 200:202] = 40_000
    for name, times in (("small", 4), ("large", 16)):
        tiles = (empty if number % 4 else spot for number in range(times**2))
        size = times * 512, times * 512
        tifffile.imwrite(
            tmp_path / f"{name}.tif", tiles, shape=size, dtype=np.uint16, tile=(512, 512), compression="zlib"
        )
    command = [sys.executable, "-c", MEASURED, tmp_path / "small.tif", tmp_path / "large.tif", tmp_path]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    cells, megabytes = done.stdout.split()
    assert int(cells) == 64
    assert float(megabytes) < 60  # the image alone has 134 MB, a label map of 32 bits 268
