"""What IoU masks could reach that are as coarse as a network's: hand-drawn outlines, coarsened and enlarged again.

    python benchmarks/coarse_masks.py --data T98G_PREPARED [--strides 2 4 8]

Each reference of the validation images becomes shares of squares of so many pixels a side, which are enlarged
(bilinear, cut at a half) as the family centres enlarges its masks, and is compared with itself. By the cell's
thickness: twice the largest distance of its pixels from its edge.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.measure import block_reduce
from skimage.transform import resize

from glioma_hf.data.splits import load_images

THICK = ((0, 15), (15, 25), (25, np.inf))  # pixels


def coarsened(mask: np.ndarray, stride: int) -> float:
    """IoU of a mask (H, W) with itself after it was as coarse as that."""
    shares = block_reduce(mask.astype(float), stride, np.mean)
    whole = np.zeros(np.multiply(shares.shape, stride), bool)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    again = resize(shares, whole.shape, order=1, mode="edge") > 0.5
    return float((again & whole).sum() / (again | whole).sum())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--strides", type=int, nargs="+", default=[2, 4, 8])
    given = parser.parse_args()
    images = load_images(given.data, "validation")
    masks = [np.pad(mask, 2 * max(given.strides)) for item in images for mask, _ in item.instances.box_masks()]
    thickness = np.array([2 * distance_transform_edt(mask).max() for mask in masks])
    print("| stride | thickness, pixels | cells | mean IoU | of at least 0.75 | of at least 0.9 |")
    print("|---|---|---|---|---|---|")
    for stride in given.strides:
        ious = np.array([coarsened(mask, stride) for mask in masks])
        for low, high in THICK:
            some = ious[(thickness >= low) & (thickness < high)]
            shares = " | ".join(f"{(some >= least).mean():.2f}" for least in (0.75, 0.9))
            print(f"| {stride} | {low} to {high} | {len(some)} | {some.mean():.3f} | {shares} |")


if __name__ == "__main__":
    main()
