from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader

from glioma_hf import InputError
from glioma_hf.data.crops import CellCrops, Cropper, CropStream, collate
from glioma_hf.data.features import instances_of
from glioma_hf.data.prepare import prepare
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.glioma_c6 import find_splits, read_rows


@pytest.fixture(scope="module")
def train(folder, tmp_path_factory):
    from datasets import load_dataset

    return load_dataset(str(folder), "spec", split="train", cache_dir=str(tmp_path_factory.mktemp("cache")))


def check(item, row, flattened: bool, size: int, task: str = "cells", priority: str = "first") -> None:
    """An item against a crop of the whole image's instances."""
    image, target = item
    top, left = target["origin"]
    expected = instances_of(row, task, flattened, priority).crop(top, left, size, size)
    assert target["ids"].tolist() == expected.ids.tolist()
    assert target["labels"].tolist() == (expected.categories + 1).tolist()
    for mask, whole in zip(target["masks"].numpy(), expected.to_masks(), strict=True):
        assert np.array_equal(mask, whole)
    corners = np.hstack([expected.boxes[:, :2], expected.boxes[:, :2] + expected.boxes[:, 2:]])
    assert target["boxes"].tolist() == corners.tolist()
    pixels = np.zeros((size, size))
    window = np.asarray(row["image"])[top : top + size, left : left + size]
    pixels[: window.shape[0], : window.shape[1]] = window
    assert np.allclose(image.numpy() * 255, pixels, atol=1e-3)
    assert target["image_id"] == row["image_id"]


@pytest.mark.parametrize("task", ["cells", "soma", "cell_a", "cell_b"])
@pytest.mark.parametrize("flattened", [False, True])
def test_crops_are_windows_of_the_image_and_its_instances(train, task, flattened):
    crops = CellCrops(train, Cropper(100, task, flattened), per_image=6)
    for i in range(len(crops)):
        check(crops[i], train[i // 6], flattened, 100, task)


def test_the_last_object_wins_where_that_is_asked_for(train):
    crops = CellCrops(train, Cropper(100, flattened=True, priority="last"), per_image=6)
    for i in range(len(crops)):
        check(crops[i], train[i // 6], True, 100, priority="last")


def test_overlaps_are_kept_unless_flattened(train):
    def deepest(flattened: bool) -> int:
        crops = CellCrops(train, Cropper(192, flattened=flattened), per_image=4)
        return max(int(crops[i][1]["masks"].sum(0).max()) for i in range(len(crops)))

    assert deepest(False) >= 2
    assert deepest(True) == 1


def test_a_crop_larger_than_the_image_is_padded(train):
    item = CellCrops(train, Cropper(300))[0]
    assert item[0].shape == (3, 300, 300)
    check(item, train[0], False, 300)


def test_polygons_are_whole_and_in_coordinates_of_the_crop(train):
    with_masks, with_polygons = (CellCrops(train, Cropper(96, shapes=s), seed=2)[1][1] for s in ("masks", "polygons"))
    assert with_polygons["ids"].tolist() == with_masks["ids"].tolist()
    top, left = with_polygons["origin"]
    outlines = {o["id"]: o["segmentation"] for o in train[1]["objects"]}
    for i, polygons in zip(with_polygons["ids"].tolist(), with_polygons["polygons"], strict=True):
        for polygon, whole in zip(polygons, outlines[i], strict=True):
            assert np.allclose(polygon.reshape(-1, 2) + np.array([left, top]), np.reshape(whole, (-1, 2)))


def test_seed_and_epoch_decide_and_workers_agree(train):
    def batches(seed: int, epoch: int, workers: int) -> list[tuple[torch.Tensor, list]]:
        crops = CellCrops(train, Cropper(64), per_image=4, seed=seed)
        crops.set_epoch(epoch)
        return list(DataLoader(crops, 3, num_workers=workers, collate_fn=collate))

    alone, shared = batches(0, 0, 0), batches(0, 0, 2)
    assert len(alone) == len(shared) == 3
    for (images, targets), (same_images, same_targets) in zip(alone, shared, strict=True):
        assert torch.equal(images, same_images)
        for target, same in zip(targets, same_targets, strict=True):
            assert torch.equal(target["masks"], same["masks"])
    for other in (batches(1, 0, 0), batches(0, 1, 0)):
        assert not torch.equal(alone[0][0], other[0][0])


def test_selected_shuffled_and_filtered_rows_keep_their_image(train):
    chosen = train.shuffle(seed=1).select([1, 0]).filter(lambda row: row["image_id"] > 0)
    crops = CellCrops(chosen, Cropper(80))
    for i in range(2):
        check(crops[i], chosen[i], False, 80)


def test_few_cached_images_change_nothing(train):
    plain, cached = CellCrops(train, Cropper(64), cached=0), CellCrops(train, Cropper(64))
    for i in (0, 1, 0, 1):
        assert torch.equal(plain[i][1]["masks"], cached[i][1]["masks"])


def test_streams_from_the_folder_and_from_the_archive_give_the_same(folder, archive, train):
    from datasets import Image, load_dataset

    streamed = load_dataset(str(folder), "spec", split="train", streaming=True)
    with Archive(archive) as opened:
        straight = list(read_rows(opened, find_splits(opened)[0]))
    encoded = streamed.cast_column("image", Image(decode=False))
    crops = [list(CropStream(rows, Cropper(64), per_image=2)) for rows in (streamed, encoded, straight)]
    for first, second, third in zip(*crops, strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[0], third[0])
        assert torch.equal(first[1]["masks"], third[1]["masks"])
    for i, item in enumerate(crops[0]):
        check(item, train[i // 2], False, 64)


def test_stream_workers_share_the_rows(archive):
    with Archive(archive) as opened:
        rows = list(read_rows(opened, find_splits(opened)[0]))
    loader = DataLoader(CropStream(rows, Cropper(64)), 1, num_workers=2, collate_fn=collate)
    assert sorted(targets[0]["image_id"] for _, targets in loader) == [1, 2]


def seen(rows, workers: int, **options) -> dict[int, list[float]]:
    """Of each image that a loader gives, the means of its crops."""
    loader = DataLoader(CropStream(rows, Cropper(64), **options), 2, num_workers=workers, collate_fn=collate)
    means: dict[int, list[float]] = {}
    for images, targets in loader:
        for image, target in zip(images, targets, strict=True):
            means.setdefault(target["image_id"], []).append(float(image.mean()))
    return means


@pytest.fixture(scope="module")
def shards(train, tmp_path_factory):
    """Eight rows in four Parquet files."""
    from datasets import Dataset, Image, concatenate_datasets

    encoded = train.cast_column("image", Image(decode=False))
    rows = concatenate_datasets([encoded] * 4).map(lambda row, index: {"image_id": index}, with_indices=True)
    folder = tmp_path_factory.mktemp("shards")
    assert isinstance(rows, Dataset)
    for number in range(4):
        rows.shard(4, number, contiguous=True).to_parquet(folder / f"{number}.parquet")
    return [str(folder / f"{number}.parquet") for number in range(4)]


@pytest.mark.parametrize("files", [1, 4])
def test_streamed_images_come_once_whatever_the_workers(shards, files, tmp_path):
    from datasets import load_dataset

    def stream():
        return load_dataset("parquet", data_files=shards[:files], split="train", streaming=True, cache_dir=tmp_path)

    alone = seen(stream(), 0, per_image=2)
    assert sorted(alone) == list(range(2 * files))
    for workers in (1, 2, 3, 5):
        assert seen(stream(), workers, per_image=2) == alone
    shuffled = seen(stream().shuffle(seed=3, buffer_size=4), 2, per_image=2)
    assert shuffled == alone


def test_other_epochs_have_other_crops(shards, tmp_path):
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=shards, split="train", streaming=True, cache_dir=tmp_path)
    stream = CropStream(rows.shuffle(seed=1, buffer_size=8), Cropper(64))

    def origins() -> dict[int, tuple[int, int]]:
        return {target["image_id"]: target["origin"] for _, target in stream}

    first, again = origins(), origins()
    assert first == again
    stream.set_epoch(1)
    assert sorted(origins()) == sorted(first)
    assert origins() != first


@pytest.mark.parametrize("name", [None, "numpy", "torch", "arrow", "pandas"])
def test_formats_change_no_crop(train, name):
    plain = list(CropStream(list(train), Cropper(64)))
    for rows in (train.with_format(name), list(train.with_format(name))):
        if name == "arrow":  # an iterated table gives batches of one row
            rows = [train.with_format("arrow")[i : i + 1] for i in range(len(train))]
        for (image, target), (expected, wanted) in zip(CropStream(rows, Cropper(64)), plain, strict=True):
            assert torch.allclose(image, expected)
            assert torch.equal(target["masks"], wanted["masks"])
            assert target["ids"].tolist() == wanted["ids"].tolist()


def test_an_unknown_task_is_refused_at_once():
    with pytest.raises(InputError, match="the task 'nuclei' isn't known"):
        Cropper(task="nuclei")


def test_t98g_crops_of_noisy_hand_drawn_outlines(t98g, tmp_path):
    from datasets import load_dataset

    prepare(t98g, tmp_path / "t98g")
    rows = load_dataset(str(tmp_path / "t98g"), "spec", split="validation", cache_dir=str(tmp_path / "cache"))
    crops = CellCrops(rows, Cropper(256), per_image=3)
    for i in range(len(crops)):
        check(crops[i], rows[i // 3], False, 256)


def test_a_task_that_the_rows_lack_is_refused(train):
    with pytest.raises(InputError, match="these rows: there are no objects of the task nucleus; the tasks are ce"):
        CellCrops(train, Cropper(task="nucleus"))
    with pytest.raises(InputError, match="'dust' isn't known; it is one of cells, soma, cell_a, cell_b, nucleus, all"):
        Cropper(task="dust")
    assert len(CellCrops(train, Cropper(256, task="all"))[0][1]["ids"]) == len(train[0]["objects"])
