"""DynamicNuclearNet (segmentation): fluorescent nuclei of five cell lines as label maps.

Layout: a folder with `train.npz`, `val.npz` and `test.npz`, each with `X` (N, H, W, 1) and `y` (N, H, W, 1).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.base import Source
from glioma_hf.data.sources.deepcell import encode_png, npz_images, stretched
from glioma_hf.data.sources.npz import whole_labels
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row, find_split_files, labelled_objects, make_row
from glioma_hf.errors import InputError


def find_splits(archive: Archive) -> list[ArchiveSplit]:
    """The official splits. Raises `InputError` where there is none."""
    return find_split_files(archive, "dynamicnuclearnet", r"(?:.*[-_])?(train|val|test)\.npz", "train.npz")


def read_rows(archive: Archive, split: ArchiveSplit, repairs: Repairs | None = None, start: int = 0) -> Iterator[Row]:
    """Rows in the order of the npz."""
    for number, where, pixels, maps in npz_images(archive, split, start):
        if pixels.shape != maps.shape or pixels.shape[2] != 1:
            raise InputError(f"{where}: one channel and one label map are needed: {pixels.shape}, {maps.shape}")
        objects = labelled_objects(whole_labels(maps[..., 0], where), "nucleus")
        size = (pixels.shape[1], pixels.shape[0])
        data = encode_png(_sixteen_bits(pixels[..., 0], where))
        yield make_row(data, f"{split.split}_{number:05}.png", size, number, split, objects)


def _sixteen_bits(pixels: np.ndarray, where: str) -> np.ndarray:
    """uint16: as they are where they are whole numbers of 16 bits, stretched otherwise."""
    whole = np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 65535
    if whole and np.array_equal(pixels, np.round(pixels)):
        return pixels.astype(np.uint16)
    return stretched(pixels, 65535, where).astype(np.uint16)


SOURCE = Source(
    title="DynamicNuclearNet segmentation",
    homepage="https://datasets.deepcell.org",
    licence="other",
    licence_note="DeepCell's modified Apache licence, for non-commercial use: see its page before passing it on.",
    summary=(
        "Fluorescence images of the nuclei of five cell lines, after Schwartz et al., *Caliban: Accurate cell tracking "
        "and lineage construction in live-cell imaging experiments with deep learning* (bioRxiv 803205). Label maps: "
        "objects don't overlap."
    ),
    limits=(
        "Images are 16-bit PNG: lossless where the values are whole numbers below 65,536, otherwise stretched between "
        "their 0.1 and 99.9 percentiles. This reader was tried on synthetic npz files in this layout, not on "
        "DynamicNuclearNet's own."
    ),
    citation="""@article{schwartz2023caliban,
  title   = {Caliban: Accurate cell tracking and lineage construction in live-cell imaging experiments with deep
             learning},
  author  = {Schwartz, Morgan Sarah and Moen, Erick and Miller, Geneva and others},
  journal = {bioRxiv},
  number  = {803205},
  year    = {2023}
}""",
    tags=("fluorescence", "nuclei"),
    categories=CATEGORIES,
    find_splits=find_splits,
    read_rows=read_rows,
)
