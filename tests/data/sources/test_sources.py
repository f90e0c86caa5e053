"""Sources beside Glioma C6, each on a small archive in its true layout, made here."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from glioma_hf import InputError
from glioma_hf.benchmark.scoring_files import read_references
from glioma_hf.data.features import CATEGORIES, instances_of, tasks_of
from glioma_hf.data.images import decode_image
from glioma_hf.data.prepare import prepare
from glioma_hf.data.prepared import Prepared
from glioma_hf.data.sources import SOURCES, get_source
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.splits import load_images
from tests.cli.test_cli import refused, run
from tests.strategies import square

RNG = np.random.default_rng(0)
LABELS = np.zeros((24, 30), np.uint16)
LABELS[2:9, 3:12] = 4  # labels need not be consecutive
LABELS[4:7, 5:8] = 0  # a hole
LABELS[12:20, 5:9] = 300
GREY8 = RNG.integers(0, 256, LABELS.shape, dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, LABELS.shape, dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (*LABELS.shape, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (*LABELS.shape, 3), dtype=np.uint16)


def rows_of(path: Path, source: str, split: str) -> list[dict]:
    chosen = get_source(source)
    with Archive(path) as archive:
        from glioma_hf.data.sources.rows import Repairs

        member = next(s for s in chosen.find_splits(archive) if s.split == split)
        return list(chosen.read_rows(archive, member, Repairs(), 0))


def load(path: Path, source: str, tmp_path: Path) -> tuple[Prepared, dict]:
    from datasets import load_dataset

    prepared = prepare(path, tmp_path / "set", source=source)
    rows = load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    check_images(tmp_path / "set", prepared, rows)
    return prepared, rows


def check_images(folder: Path, prepared: Prepared, rows: dict) -> None:
    """What training and scoring read straight from the files is what `datasets` reads."""
    for split in prepared.splits:
        for task in tasks_of(folder):
            images = load_images(folder, split.name, task)
            references = read_references(folder, split.name)
            assert len(images) == split.images == len(references.names)
            for item, row in zip(images, rows[split.split], strict=True):
                assert item.instances == instances_of(row, task)
                if item.pixels.dtype == np.uint8:  # Pillow brings 16-bit colour down to 8
                    assert np.array_equal(
                        item.pixels, np.asarray(row["image"].convert("RGB" if item.pixels.ndim == 3 else "L"))
                    )
            if task in references.tasks():
                sides = list(references.of_task(task).values())
                assert sides == [item.instances for item in images]


def test_all_sources_are_found_by_name():
    assert list(SOURCES) == ["dynamicnuclearnet", "glioma_c6", "livecell", "neurips22", "tissuenet"]
    for name in ("cellpose", "rows", "../x"):
        with pytest.raises(InputError, match=r"isn't known; it is one of dynamicnuclearnet, glioma_c6"):
            get_source(name)


# -- NeurIPS 2022 CellSeg ---------------------------------------------------------------------


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels, **({"photometric": "rgb"} if pixels.ndim == 3 else {}))
    else:
        Image.fromarray(pixels).save(path)


@pytest.fixture
def neurips(tmp_path) -> Path:
    root = tmp_path / "NeurIPS22-CellSeg"
    images = {
        "cell_00001.bmp": RGB8,
        "cell_00002.png": GREY16,
        "cell_00003.tif": RGB16,
        "cell_00004.tiff": GREY8,
        "cell_00005.png": GREY8,
    }
    for name, pixels in images.items():
        save(root / "Training" / "images" / name, pixels)
        save(root / "Training" / "labels" / f"{Path(name).stem}_label.tiff", LABELS)
    (root / "Training" / "ReadMe.md").write_text("words")
    save(root / "Training" / "unlabeled" / "unlabeled_1.png", GREY8)
    save(root / "Tuning" / "images" / "cell_00001.tif", GREY8)
    save(root / "Tuning" / "labels" / "cell_00001_label.tiff", LABELS.astype(np.uint8) % 200)
    save(root / "Testing" / "Public" / "images" / "OpenTest_001.tif", GREY16)
    save(root / "Testing" / "Public" / "labels" / "OpenTest_001_label.tiff", LABELS.astype(np.uint32) * 1000)
    save(root / "Testing" / "Public" / "osilab_seg" / "OpenTest_001_label.tiff", LABELS)
    save(root / "Testing" / "Hidden" / "images" / "TestHidden_001.tif", RGB8)
    return root


def test_neurips_splits_and_objects(neurips, tmp_path):
    prepared, splits = load(neurips, "neurips22", tmp_path)
    counts = {name: len(rows) for name, rows in splits.items()}
    assert counts == {"train": 5, "unlabeled": 1, "validation": 1, "test": 1, "hidden": 1}
    assert prepared.repairs == {}
    for row in splits["train"]:
        cells = instances_of(row)
        assert cells.ids.tolist() == [4, 300]
        for label, mask in zip((4, 300), cells.to_masks(), strict=True):
            assert np.array_equal(mask, label == LABELS)  # holes too
    assert [o["id"] for o in splits["test"][0]["objects"]] == [4000, 300000]
    assert splits["unlabeled"][0]["objects"] == splits["hidden"][0]["objects"] == []


def test_neurips_images_are_lossless(neurips):
    rows = {row["file_name"]: row for row in rows_of(neurips, "neurips22", "train")}
    expected = {"cell_00001.bmp": RGB8, "cell_00002.png": GREY16, "cell_00003.tif": RGB16, "cell_00004.tiff": GREY8}
    for name, pixels in expected.items():
        data = rows[name]["image"]["bytes"]
        assert data == (neurips / "Training" / "images" / name).read_bytes()
        assert np.array_equal(decode_image(data, name), pixels)


def test_neurips_zip_reads_as_its_folder(neurips, tmp_path):
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as packed:
        for file in neurips.rglob("*"):
            packed.write(file, Path("NeurIPS22-CellSeg") / file.relative_to(neurips))
    assert rows_of(tmp_path / "n.zip", "neurips22", "train") == rows_of(neurips, "neurips22", "train")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: (p / "labels" / "cell_00001_label.tiff").unlink(), r"cell_00001\.bmp has no label map"),
        (lambda p: (p / "images" / "cell_00001.bmp").unlink(), r"cell_00001_label\.tiff is of an image that isn't"),
        (lambda p: save(p / "images" / "cell_00001.png", GREY8), r"both .*cell_00001\.bmp and .*png are the image"),
        (lambda p: save(p / "labels" / "cell_00002_label.tiff", LABELS[:-1]), "is 30 x 23, its image 30 x 24"),
        (lambda p: save(p / "labels" / "cell_00002_label.tiff", LABELS + np.float32(0.5)), "labels are whole numbers"),
        (lambda p: save(p / "labels" / "cell_00002_label.tiff", RGB8), "a label map has one channel, this one has 3"),
        (lambda p: save(p / "images" / "cell_00004.tiff", GREY8.astype(np.float32)), "floating-point pixels"),
        (lambda p: tifffile.imwrite(p / "images" / "cell_00004.tiff", np.stack([GREY8] * 3)[:, None]), "3 pages"),
    ],
)
def test_neurips_bad_input_is_named(neurips, tmp_path, change, says):
    change(neurips / "Training")
    with pytest.raises(InputError, match=says):
        prepare(neurips, tmp_path / "set", source="neurips22")
    assert not list(tmp_path.glob("*set*"))


def test_t98g_label_maps(t98g, tmp_path):
    prepared, splits = load(t98g / "labelmaps", "neurips22", tmp_path)
    assert [(s.split, s.images) for s in prepared.splits] == [("train", 17)]
    for row in splits["train"].select(range(3)):
        labels = tifffile.imread(t98g / "labelmaps" / "labels" / f"{Path(row['file_name']).stem}_label.tiff")
        cells = instances_of(row)
        assert cells.ids.tolist() == [i for i in np.unique(labels).tolist() if i]
        assert cells.areas.tolist() == [int((labels == i).sum()) for i in cells.ids]


# -- LIVECell ---------------------------------------------------------------------------------


@pytest.fixture
def livecell(tmp_path) -> Path:
    root = tmp_path / "LIVECell_dataset_2021"
    for split, names in {
        "train": ["A172_Phase_C7_1_00d00h00m_1.tif", "SkBr3_Phase_E3_1_00d00h00m_1.tif"],
        "val": ["BV2_Phase_A4_2_00d12h00m_2.tif"],
        "test": ["SHSY5Y_Phase_B10_2_00d00h00m_1.tif"],
    }.items():
        folder = root / "images" / ("livecell_test_images" if split == "test" else "livecell_train_val_images")
        coco = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell", "supercategory": "cell"}]}
        for number, name in enumerate(names, start=1):
            save(folder / name.split("_")[0] / name, GREY8)
            coco["images"].append({"id": number, "file_name": name, "width": 30, "height": 24, "url": "http://x/y"})
            for k in range(2):  # two cells that overlap
                outline = {"segmentation": square(3 + 4 * k, 5, 8), "bbox": [3 + 4 * k, 5, 8, 8], "area": 64.0}
                item = {"id": 10 * number + k, "image_id": number, "category_id": 1, "iscrowd": 0}
                coco["annotations"].append(item | outline)
        if split == "val":  # some of its files hold them by id
            coco["annotations"] = {str(a["id"]): a for a in coco["annotations"]}
        target = root / "annotations" / "LIVECell" / f"livecell_coco_{split}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(coco))
    return root


def test_livecell_splits_lines_and_overlaps(livecell, tmp_path):
    prepared, splits = load(livecell, "livecell", tmp_path)
    assert prepared.repairs == {}
    lines = {k: v["subset"][:] for k, v in splits.items()}
    assert lines == {
        "train": ["A172", "SkBr3"],
        "validation": ["BV2"],
        "test": ["SHSY5Y"],
    }
    cells = instances_of(splits["train"][0])
    assert cells.areas.tolist() == [64, 64]
    assert (cells.to_label_map() > 0).sum() == 96
    assert len(splits["train"].filter(lambda row: row["subset"] == "SkBr3")) == 1


def test_livecell_of_another_line_is_refused(livecell, tmp_path):
    file = livecell / "annotations" / "LIVECell" / "livecell_coco_val.json"
    file.write_text(file.read_text().replace("BV2_Phase", "HeLa_Phase"))
    images = livecell / "images" / "livecell_train_val_images" / "BV2"
    next(images.iterdir()).rename(images / "HeLa_Phase_A4_2_00d12h00m_2.tif")
    with pytest.raises(InputError, match=r"livecell_coco_val\.json: HeLa_Phase.*cell line \(A172"):
        prepare(livecell, tmp_path / "set", source="livecell")


# -- TissueNet and DynamicNuclearNet ----------------------------------------------------------


@pytest.fixture
def tissuenet(tmp_path) -> Path:
    folder = tmp_path / "tissuenet"
    folder.mkdir()
    nuclei = (LABELS > 0) * np.roll(LABELS, 1, 0)
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        x = RNG.random((count, *LABELS.shape, 2)).astype(np.float32) * 900
        y = np.repeat(np.stack([LABELS, nuclei], 2)[None], count, 0).astype(np.int32)
        meta = np.array([["specimen"], [None]], dtype=object)  # pickled, as there
        np.savez_compressed(folder / f"tissuenet_v1.1_{split}.npz", X=x, y=y, meta=meta)
    return folder


def test_tissuenet_cells_and_nuclei(tissuenet, tmp_path):
    _, splits = load(tissuenet, "tissuenet", tmp_path)
    assert {k: len(v) for k, v in splits.items()} == {"train": 3, "validation": 1, "test": 2}
    row = splits["train"][2]
    assert row["file_name"] == "train_00002.png"
    cells, nuclei = instances_of(row), instances_of(row, "nucleus")
    assert cells.ids.tolist() == [4, 300]
    assert nuclei.ids.tolist() == [304, 600]
    for label, mask in zip((4, 300), cells.to_masks(), strict=True):
        assert np.array_equal(mask, label == LABELS)
    with np.load(tissuenet / "tissuenet_v1.1_train.npz", allow_pickle=False) as arrays:
        nuclear, membrane = np.moveaxis(arrays["X"][2], 2, 0)
    picture = np.asarray(row["image"]).astype(float)
    assert picture[..., 0].max() == 0
    for channel, values in ((1, membrane), (2, nuclear)):
        assert np.corrcoef(picture[..., channel].ravel(), values.ravel())[0, 1] > 0.999


def test_dynamicnuclearnet_is_lossless_where_values_are_whole(tmp_path):
    folder = tmp_path / "DynamicNuclearNet-segmentation-v1_0"
    folder.mkdir()
    for split, scale in (("train", 1.0), ("val", 1.0), ("test", 0.5)):
        x = GREY16[None, ..., None].astype(np.float32) * scale
        np.savez(folder / f"{split}.npz", X=x, y=LABELS[None, ..., None].astype(np.int32))
    _, splits = load(folder, "dynamicnuclearnet", tmp_path)
    row = splits["train"][0]
    assert np.array_equal(np.asarray(row["image"]), GREY16)
    assert {CATEGORIES[o["category"]] for o in row["objects"]} == {"nucleus"}
    assert instances_of(row, "nucleus").ids.tolist() == [4, 300]
    assert len(instances_of(row)) == 0
    stretched = np.asarray(splits["test"][0]["image"]).astype(float)
    assert np.corrcoef(stretched.ravel(), GREY16.ravel())[0, 1] > 0.999


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


X, Y = np.zeros((2, 8, 8, 2), np.float32), np.zeros((2, 8, 8, 2), np.int32)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"junk", r"train\.npz: not a whole npz"),
        (npz(X=X), r"no array 'y' in it \(it has X\)"),
        (npz(X=X, y=Y[:1]), "different numbers of images"),
        (npz(X=X, y=np.array([[{"a": 1}]], dtype=object)), "pickled objects are never read"),
        (npz(X=X[..., :1], y=Y), "image 0: two channels and two label maps"),
        (npz(X=X, y=Y - 1), "image 0: labels are whole numbers from 0 on"),
        (npz(X=X, y=Y + 0.5), "image 0: labels are whole numbers from 0 on"),
        (npz(X=X * np.nan, y=Y), "image 0: a pixel isn't a finite number"),
        (npz(X=X, y=Y)[:-300], "not a whole npz"),
    ],
)
def test_bad_npz_is_named(tmp_path, data, says):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "tissuenet_v1.1_train.npz").write_bytes(data)
    with pytest.raises(InputError, match=says):
        prepare(tmp_path / "in", tmp_path / "set", source="tissuenet")


def test_an_npz_in_a_zip_must_be_unpacked(tissuenet, tmp_path):
    shutil.make_archive(str(tmp_path / "t"), "zip", tissuenet)
    with pytest.raises(InputError, match=r"give the folder that holds tissuenet_v1\.1_train\.npz, unpacked"):
        prepare(tmp_path / "t.zip", tmp_path / "set", source="tissuenet")


# -- the command line -------------------------------------------------------------------------


def test_prepare_by_source_and_what_it_refuses(neurips, tmp_path):
    done = run("data", "prepare", "--archive", neurips, "--source", "neurips22", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert "neurips22/train: 5 images, 10 cell" in done.stdout
    assert "neurips22/hidden: 1 images, no objects" in done.stdout
    prepare_ = ("data", "prepare", "--out", tmp_path / "no", "--source")
    for source in ("livecell", "tissuenet", "dynamicnuclearnet", "glioma_c6"):
        assert "in it" in refused(*prepare_, source, "--archive", neurips)
    assert "isn't known; it is one of" in refused(*prepare_, "x", "--archive", neurips)
    assert "give --archive PATH" in refused(*prepare_, "livecell", "--download")
    assert not (tmp_path / "no").exists()
