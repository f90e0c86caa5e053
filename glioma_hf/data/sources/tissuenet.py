"""TissueNet: tissue sections with a nuclear and a membrane channel, whole cells and nuclei as label maps.

Layout: a folder with `tissuenet_v1.1_train.npz`, `..._val.npz`, `..._test.npz` (any version), each with
`X` (N, H, W, 2): nuclear, membrane; and `y` (N, H, W, 2): whole cells, nuclei.
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
    return find_split_files(archive, "tissuenet", r"tissuenet.*_(train|val|test)\.npz", "tissuenet_..._train.npz")


def read_rows(archive: Archive, split: ArchiveSplit, repairs: Repairs | None = None, start: int = 0) -> Iterator[Row]:
    """Rows in the order of the npz. Whole cells come first, then nuclei; a nucleus' id follows the cells'."""
    for number, where, pixels, maps in npz_images(archive, split, start):
        if pixels.shape[2] != 2 or maps.shape[2] != 2 or pixels.shape[:2] != maps.shape[:2]:
            raise InputError(f"{where}: two channels and two label maps are needed: {pixels.shape}, {maps.shape}")
        nuclear, membrane = (stretched(pixels[..., i], 255, where) for i in (0, 1))
        colours = np.stack([np.zeros_like(nuclear), membrane, nuclear], 2).astype(np.uint8)
        cells = whole_labels(maps[..., 0], where)
        objects = labelled_objects(cells, "cell")
        objects += labelled_objects(whole_labels(maps[..., 1], where), "nucleus", int(cells.max()))
        size = (pixels.shape[1], pixels.shape[0])
        yield make_row(encode_png(colours), f"{split.split}_{number:05}.png", size, number, split, objects)


SOURCE = Source(
    title="TissueNet",
    homepage="https://datasets.deepcell.org",
    licence="other",
    licence_note="DeepCell's modified Apache licence, for non-commercial use: see its page before passing it on.",
    summary=(
        "Multiplexed images of tissue sections, with whole cells and nuclei, after Greenwald et al., *Whole-cell "
        "segmentation of tissue images with human-level performance using large-scale data annotation and deep "
        "learning*, Nature Biotechnology 2022. Label maps: objects of a category don't overlap."
    ),
    limits=(
        "The two floating-point channels are stored as an 8-bit picture: membrane green, nuclear blue, each between "
        "its 0.1 and 99.9 percentiles. That is for models of pictures, and not lossless. Tissue and platform aren't "
        "read, they are pickled. This reader was tried on synthetic npz files in this layout, not on TissueNet's own."
    ),
    citation="""@article{greenwald2022tissuenet,
  title   = {Whole-cell segmentation of tissue images with human-level performance using large-scale data
             annotation and deep learning},
  author  = {Greenwald, Noah F and Miller, Geneva and Moen, Erick and others},
  journal = {Nature Biotechnology},
  volume  = {40},
  pages   = {555--565},
  year    = {2022}
}""",
    tags=("fluorescence", "tissue"),
    categories=CATEGORIES,
    find_splits=find_splits,
    read_rows=read_rows,
)
