"""The data set at full size against torch-em's way: label maps painted in advance, images read whole.

    python benchmarks/data.py --work WORK

makes an archive of 75 synthetic images of 2592 x 1944 in WORK (unless it is there) and measures, for both,
in a process each: time to prepare, time from the zip to the first training batch, images per second over
an epoch of random 512-pixel crops with masks, bytes on disk and peak memory. The crops of both are
compared. torch-em's way is written anew here from what its loader of Glioma C6 does: unzip, paint polygons
into int32 label maps by scikit-image, write them by imageio, read image and label map whole for a crop.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

CROP = 512
BATCH = 4
EPOCHS = 5  # medians over them
PER_IMAGE = 8  # crops of each of the 30 training images in an epoch


class PaintedCrops:
    """torch-em's way: random crops of images and painted label maps, both read whole.

    It gives the crop of the label map; with `masks` a mask for each label in it, as ours gives.
    """

    def __init__(self, folder: Path, seed: int, masks: bool = False):
        self.masks = masks
        self.images = sorted((folder / "images").glob("*.tif"))
        self.labels = sorted((folder / "masks" / "anno_train").glob("*.tif"))
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images) * PER_IMAGE

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import imageio.v3 as imageio
        import torch

        image = imageio.imread(self.images[index // PER_IMAGE])
        labels = imageio.imread(self.labels[index // PER_IMAGE])
        rng = np.random.default_rng((self.seed, 0, index))  # the very crops that ours takes
        top, left = (int(rng.integers(0, side - CROP + 1)) for side in image.shape)
        window = (slice(top, top + CROP), slice(left, left + CROP))
        image = np.array(image[window], np.float32) / 255
        crop = np.array(labels[window])
        found = crop == np.unique(crop[crop > 0])[:, None, None] if self.masks else crop.astype(np.float32)
        return torch.from_numpy(image)[None], torch.from_numpy(found)


def paint(folder: Path) -> None:
    """A label map beside each COCO file's images: later polygons over earlier ones, one label a polygon."""
    import imageio.v3 as imageio
    from skimage.draw import polygon

    for file in sorted(folder.rglob("anno_*.json")):
        coco = json.loads(file.read_text())
        cells = {c["id"] for c in coco["categories"] if c["supercategory"] != "cell_part"}
        outlines: dict[int, list[np.ndarray]] = {image["id"]: [] for image in coco["images"]}
        for annotation in coco["annotations"]:
            if annotation["category_id"] in cells:
                outlines[annotation["image_id"]] += [np.reshape(p, (-1, 2)) for p in annotation["segmentation"]]
        target = file.parent / "masks" / file.stem
        target.mkdir(parents=True)
        for image in coco["images"]:
            labels = np.zeros((image["height"], image["width"]), np.int32)
            for number, points in enumerate(outlines[image["id"]], start=1):
                labels[polygon(points[:, 1], points[:, 0], labels.shape)] = number
            imageio.imwrite(target / f"{Path(image['file_name']).stem}_mask.tif", labels)


def measure_peer(archive: Path, work: Path) -> dict[str, Any]:
    """torch-em's way from the zip on."""
    from torch.utils.data import DataLoader

    started = time.perf_counter()
    with zipfile.ZipFile(archive) as file:
        file.extractall(work)
    paint(work / "dataset")
    prepared = time.perf_counter() - started
    train = work / "dataset" / "spec" / "train"
    maps, masks = PaintedCrops(train, seed=0), PaintedCrops(train, seed=0, masks=True)
    result = {"prepare": prepared, **run_epochs(lambda: DataLoader(maps, BATCH), started)}
    result["masks_per_second"] = run_epochs(lambda: DataLoader(masks, BATCH, collate_fn=list), started)["per_second"]
    result["per_second_worker"] = epoch_rate(DataLoader(maps, BATCH, num_workers=1, persistent_workers=True))
    return result


def measure_ours(archive: Path, work: Path) -> dict[str, Any]:
    """`data prepare`, `load_dataset`, `CellCrops`."""
    from datasets import disable_progress_bars, load_dataset
    from torch.utils.data import DataLoader

    from glioma_hf.data.crops import CellCrops, Cropper, CropStream, collate
    from glioma_hf.data.prepare import prepare
    from glioma_hf.data.sources.archive import Archive
    from glioma_hf.data.sources.glioma_c6 import find_splits, read_rows

    disable_progress_bars()
    started = time.perf_counter()
    with Archive(archive) as opened:
        train = next(part for part in find_splits(opened) if part.split == "train")
        stream = CropStream(read_rows(opened, train), Cropper(CROP, channels=1))
        next(iter(DataLoader(stream, BATCH, collate_fn=collate)))
    streamed = time.perf_counter() - started
    started = time.perf_counter()
    prepare(archive, work / "prepared")
    prepared = time.perf_counter() - started
    rows = load_dataset(str(work / "prepared"), "spec", split="train", cache_dir=str(work / "cache"))
    crops = CellCrops(rows, Cropper(CROP, channels=1), PER_IMAGE, seed=0)
    result = {"prepare": prepared, "streamed": streamed}
    result |= run_epochs(lambda: DataLoader(crops, BATCH, collate_fn=collate), started)
    result["masks_per_second"] = result["per_second"]  # masks are what it always gives
    workers = DataLoader(crops, BATCH, num_workers=1, persistent_workers=True, collate_fn=collate)
    result["per_second_worker"] = epoch_rate(workers)
    return result


def run_epochs(make_loader: Any, started: float) -> dict[str, Any]:
    """Time to the first batch, then images per second in the main process."""
    next(iter(make_loader()))
    return {"first_batch": time.perf_counter() - started, "per_second": epoch_rate(make_loader())}


def epoch_rate(loader: Any) -> float:
    """Images per second, the median of the epochs after the first."""
    rates = []
    for _ in range(EPOCHS + 1):
        begun, images = time.perf_counter(), 0
        for batch in loader:
            images += len(batch) if isinstance(batch, list) and isinstance(batch[0], tuple) else len(batch[0])
        rates.append(images / (time.perf_counter() - begun))
    return float(np.median(rates[1:]))


def compare(work: Path) -> dict[str, float]:
    """Crops of both: the same pixels, masks that agree but for outlines, and what label maps lose."""
    from datasets import disable_progress_bars, load_dataset

    from glioma_hf.data.crops import CellCrops, Cropper

    disable_progress_bars()
    rows = load_dataset(str(work / "ours" / "prepared"), "spec", split="train", cache_dir=str(work / "ours" / "cache"))
    ours = CellCrops(rows, Cropper(CROP, channels=1), PER_IMAGE, seed=0)
    peer = PaintedCrops(work / "peer" / "dataset" / "spec" / "train", seed=0)
    union = inside = contested = lost = 0
    for index in range(0, len(ours), 5):
        (image, target), (their_image, labels) = ours[index], peer[index]
        assert np.allclose(image.numpy(), their_image.numpy(), atol=1e-6), f"crop {index}: other pixels"
        masks = target["masks"].numpy()
        covered, theirs = masks.any(0), labels.numpy() > 0
        inside += int((covered & theirs).sum())
        union += int((covered | theirs).sum())
        contested += int((masks.sum(0) > 1).sum())
        lost += int(masks.sum() - covered.sum())
    assert inside / union > 0.9, "the masks don't agree"
    return {"foreground_iou": inside / union, "contested_pixels": contested, "mask_pixels_lost_in_label_maps": lost}


def make_archive(path: Path) -> None:
    """An archive of full size and count: some 12,000 cells."""
    from glioma_hf.progress import to_lines
    from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
    from glioma_hf.synthetic.scenes import SceneConfig

    scene = SceneConfig(width=2592, height=1944, cells_per_megapixel=(46, 46))
    config = SyntheticArchiveConfig(train=30, valid=4, test=11, gen=30, scene=scene)
    synthesize(path, 0, config, to_lines(lambda line: print(line, file=sys.stderr)))


def in_own_process(which: str, archive: Path, work: Path) -> dict[str, Any]:
    """One side's measurements, bytes on disk and peak memory."""
    folder = work / which
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--work", str(folder), "--archive", str(archive), "--only", which]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    result["megabytes"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    return result


def main() -> None:
    """Print the table, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the archive and what is made of it")
    parser.add_argument("--archive", type=Path, help="an archive to use instead of a synthetic one")
    parser.add_argument("--only", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    archive = options.archive or options.work / "dataset.zip"
    if options.only:
        result = (measure_ours if options.only == "ours" else measure_peer)(archive, options.work)
        result["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps(result))
        return
    if not archive.exists():
        make_archive(archive)
    ours, peer = (in_own_process(which, archive, options.work) for which in ("ours", "peer"))
    names = {
        "prepare": "seconds to prepare",
        "streamed": "seconds from the zip to the first batch, by `CropStream`",
        "first_batch": "seconds from the zip to the first batch",
        "masks_per_second": "crops a second, with masks",
        "per_second": "crops a second, theirs with label maps",
        "per_second_worker": "the same, from one worker",
        "megabytes": "MB on disk",
        "peak_megabytes": "peak memory, MB",
    }
    peer["streamed"] = peer["first_batch"]  # there is no other way
    print("| what | ours | torch-em's way | ratio |\n|---|---|---|---|")
    for key, name in names.items():
        print(f"| {name} | {ours[key]:.2f} | {peer[key]:.2f} | {ours[key] / peer[key]:.2f} |")
    print(json.dumps(compare(options.work)))


if __name__ == "__main__":
    main()
