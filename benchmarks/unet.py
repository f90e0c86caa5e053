"""Training and prediction of the U-Net: images held ready against a loop that reads and resizes each of them again.

    python benchmarks/unet.py --work WORK

makes an archive of synthetic images of 2592 x 1944 in WORK (unless it is there) and trains the same network, U-Net over
EfficientNet-Lite0, on the same images at the same resolution: by `models.unet`, and by a plain loop whose data set
decodes the TIFF and the mask's PNG, raises contrast and resizes at every access, in float32 and with the precision and
memory layout that ours has. Then a whole image is predicted. One process, one run, by processor time: what else the
machine does isn't counted, and with one thread that is the time which it takes alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from glioma_hf.data.prepare import prepare
from glioma_hf.data.splits import LabelledImage, load_images
from glioma_hf.metrics.foreground import foreground
from glioma_hf.models import get_family
from glioma_hf.models.base import Run
from glioma_hf.models.device import has_fast_bfloat16
from glioma_hf.models.unet.family import new_network
from glioma_hf.models.unet.recipe import NetworkConfig, UNetRecipe
from glioma_hf.models.unet.segment import UNetSegmenter
from glioma_hf.models.unet.train import loss_of
from glioma_hf.progress import Progress
from glioma_hf.synthetic.archive import SyntheticArchiveConfig, synthesize
from glioma_hf.synthetic.scenes import SceneConfig

WIDTHS = (96, 64, 32, 24, 16)  # of the recipe `quick`


class Plain(Dataset):
    """Pairs as they are commonly made: files read, contrast raised and all resized at each access."""

    def __init__(self, folder: Path, names: list[str], length: int, resolution: tuple[int, int]):
        self.folder, self.names, self.length, self.resolution = folder, names, length, resolution

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = self.names[index % len(self.names)]
        image = tifffile.imread(self.folder / f"{name}.tif").astype(np.float32)
        low, high = np.percentile(image, (0.5, 99.5))
        image = ((image - low) / (high - low)).clip(0, 1)
        small = np.asarray(Image.fromarray(image).resize(self.resolution, Image.Resampling.BILINEAR))
        mask = Image.open(self.folder / f"{name}.png").convert("L").resize(self.resolution, Image.Resampling.BILINEAR)
        return torch.from_numpy((small - 0.45) / 0.225)[None], torch.from_numpy(
            (np.asarray(mask) > 0).astype(np.float32)
        )


def images_in(work: Path, count: int) -> list[LabelledImage]:
    """Synthetic images of the size of Glioma C6, prepared in WORK."""
    archive, folder = work / "large.zip", work / "large"
    if not folder.exists():
        scene = SceneConfig(width=2592, height=1944)
        synthesize(archive, 3, SyntheticArchiveConfig(train=count, valid=0, test=0, gen=0, scene=scene))
        prepare(archive, folder)
    return load_images(folder, "train")


def ours(images: list[LabelledImage], recipe: UNetRecipe) -> tuple[list[float], float]:
    """Seconds of each step but the first, and until that was done."""
    times, started = [], time.process_time()

    def note(progress: Progress) -> None:
        if progress.loss is not None:
            times.append(time.process_time())

    pairs = [(item.pixels, item.instances) for item in images]
    get_family("unet").train("random", pairs, recipe, Run(on_progress=note, workers=0))
    return np.diff(times).tolist(), times[0] - started


def plain(data: Plain, recipe: UNetRecipe, as_ours: bool) -> list[float]:
    """Seconds of each step but the first, of the same network in a plain loop."""
    network = new_network("random", recipe.network, recipe.seed).train()
    if as_ours:
        network = network.to(memory_format=torch.channels_last)
    fast = as_ours and has_fast_bfloat16(torch.device("cpu"))
    optimizer = torch.optim.Adam(network.parameters(), recipe.learning_rate)
    times = []
    for images, masks in DataLoader(data, recipe.batch):
        seen = F.pad(images, (0, -images.shape[3] % 32, 0, -images.shape[2] % 32))
        if as_ours:
            seen = seen.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = network(seen)[:, : masks.shape[1], : masks.shape[2]]
        loss = loss_of(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.process_time())
    return np.diff(times).tolist()


def main() -> None:
    """Print what each takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--resolution", type=int, nargs=2, default=(704, 512))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    images = images_in(given.work, given.images)
    for item in images:
        if not (given.work / f"{item.name}.png").exists():
            tifffile.imwrite(given.work / f"{item.name}.tif", item.pixels, compression="zlib")
            Image.fromarray(foreground(item.instances)).save(given.work / f"{item.name}.png")
    resolution = (given.resolution[0], given.resolution[1])
    recipe = UNetRecipe(
        network=NetworkConfig(encoder="lite0", widths=WIDTHS),
        resolution=resolution,
        max_steps=given.steps,
        batch=given.batch,
    )
    steps, first = ours(images, recipe)
    own = statistics.median(steps)
    print(
        f"{given.threads} threads, {resolution[0]} x {resolution[1]}, batch {given.batch}, medians of {given.steps - 1}"
    )
    print(f"ours: {given.batch / own:.2f} images a second; {first:.1f} s until the first step was done")
    data = Plain(given.work, [item.name for item in images], given.steps * given.batch, resolution)
    for as_ours, told in ((False, "a plain loop, float32"), (True, "a plain loop, precision and layout as ours")):
        each = statistics.median(plain(data, recipe, as_ours))
        print(f"{told}: {given.batch / each:.2f} images a second; ours is {each / own:.2f} times as fast")
    started = time.process_time()
    for index in range(given.images):
        data[index]
    print(f"reading, raising and resizing alone: {(time.process_time() - started) / given.images:.2f} s an image")
    segmenter = UNetSegmenter(new_network("random", recipe.network))
    scaled = segmenter.with_settings(scale=resolution[0] / 2592)
    for name, work in (
        ("probabilities", lambda: scaled.probability(images[0].pixels)),
        ("instances", lambda: scaled.segment(images[0].pixels)),
    ):
        taken = []
        for _ in range(3):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        print(f"prediction of 2592 x 1944 at {resolution[0]} wide, {name}: {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()
