"""NeurIPS 2022 CellSeg: many microscopes and cells, one label map an image.

Layout, wherever it is nested: `Training/images`, `Training/labels` (`NAME_label.tiff`) and
`Training/unlabeled`, `Tuning/images` and `labels`, `Testing/Public` and `Testing/Hidden`, each with
`images` and, where they are public, `labels`; the folders that Zenodo's zips unpack to (`Training-labeled`,
`release-part1`, `train-unlabeled-part2`) fit too, and `images` and `labels` alone are a training split.
PNG, BMP and TIFF of 8 and 16 bits, grey and colour.
Splits: `train`, `unlabeled`, `validation` (Tuning), `test` (Testing/Public), `hidden` (Testing/Hidden).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from glioma_hf.data.images import SUFFIXES
from glioma_hf.data.label_maps import decode_labels
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.base import Source
from glioma_hf.data.sources.rows import (
    ArchiveSplit,
    Repairs,
    Row,
    labelled_objects,
    labelled_regions,
    make_row,
    read_checked_image,
)
from glioma_hf.errors import InputError

# Words of a folder's path, the last that fits decides: "Training/unlabeled" is unlabeled.
SPLITS = {
    "training": "train",
    "train": "train",
    "tuning": "validation",
    "public": "test",
    "testing": "test",
    "hidden": "hidden",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
    "release": "unlabeled",
}
ORDER = ("train", "unlabeled", "validation", "test", "hidden")
UNLABELLED = ("unlabeled", "hidden")


def find_splits(archive: Archive) -> list[ArchiveSplit]:
    """The splits that have images. Raises `InputError` where there is none."""
    present = {_split(name) for name in archive.names if _is_image(name)}
    splits = [ArchiveSplit(split, "neurips22", split) for split in ORDER if split in present]
    if not splits:
        some = ", ".join(archive.names[:5]) or "nothing"
        raise InputError(
            f"{archive.path}: no Training/images, Tuning/images or Testing/Public/images in it ({some} ...)"
        )
    return splits


def read_rows(archive: Archive, split: ArchiveSplit, repairs: Repairs | None = None, start: int = 0) -> Iterator[Row]:
    """Rows of a split by file name; `objects` is empty where the split has no labels.

    Raises `InputError` for a labelled split's image without a label map, a label map without an image,
    two images of one name and a label map of another size than its image.
    """
    where = str(archive.path)
    members = [name for name in archive.names if _split(name) == split.split]
    images = sorted((m for m in members if _is_image(m)), key=lambda m: PurePosixPath(m).name)
    labels = {_label_stem(m): m for m in members if _is_label(m)}
    by_stem: dict[str, str] = {}
    for member in images:
        stem = PurePosixPath(member).stem
        if stem in by_stem:
            raise InputError(f"{where}: both {by_stem[stem]} and {member} are the image {stem}; keep one")
        by_stem[stem] = member
    if labels or split.split not in UNLABELLED:
        for stem, member in by_stem.items():
            if stem not in labels:
                raise InputError(f"{where}: {member} has no label map {stem}_label.tiff")
        for stem, member in labels.items():
            if stem not in by_stem:
                raise InputError(f"{where}: {member} is of an image that isn't there")
    for number, (stem, member) in list(enumerate(by_stem.items(), start=1))[start:]:
        objects: list[Row] = []
        ignored: list[Row] = []
        said = None
        if stem in labels:
            name = f"{where}: {labels[stem]}"
            label_map = decode_labels(archive.read(labels[stem]), name)
            said = (label_map.shape[1], label_map.shape[0])
            objects, ignored = labelled_objects(label_map), labelled_regions(label_map)
        data, size = read_checked_image(archive, member, said)
        if said and said != size:
            raise InputError(f"{name} is {said[0]} x {said[1]}, its image {size[0]} x {size[1]}")
        yield make_row(data, member, size, number, split, objects, ignored=ignored)


def _split(name: str) -> str | None:
    words = re.findall(r"[a-z]+", str(PurePosixPath(name).parent).lower())
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), "train")


def _is_image(name: str) -> bool:
    """In a folder of images; not, say, a participant's segmentation that the challenge ships beside them."""
    folder = PurePosixPath(name).parent.name.lower()
    images = folder in ("images", "wsi") or _split(name) == "unlabeled" or folder in ("public", "hidden")
    return name.lower().endswith(SUFFIXES) and images and _split(name) is not None


def _is_label(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in (".tif", ".tiff", ".png") and path.parent.name.lower() in ("labels", "wsi-labels")


def _label_stem(name: str) -> str:
    return PurePosixPath(name).stem.removesuffix("_label")


SOURCE = Source(
    title="NeurIPS 2022 CellSeg",
    homepage="https://neurips22-cellseg.grand-challenge.org",
    licence="cc-by-nc-nd-4.0",
    licence_note="The challenge gives its images under CC BY-NC-ND: see its page before passing them on.",
    summary=(
        "Brightfield, fluorescence, phase-contrast and DIC images of tissue, cultured, stained and unstained cells "
        "from over 40 experiments, of the challenge *Weakly Supervised Cell Segmentation in Multi-modality "
        "High-Resolution Microscopy Images* (Ma et al., arXiv 2308.05864). Label maps: objects don't overlap. "
        "The splits `unlabeled` and `hidden` have no objects because none are published, not because nothing is there."
    ),
    limits=(
        "One category, `cell`. Colour images of 16 bits keep their bytes here, but Pillow, by which `datasets` decodes "
        "them, brings them down to 8 bits. This reader was tried on synthetic archives and on other label maps in this "
        "form, not on the challenge's own files."
    ),
    citation="""@article{ma2023neurips22cellseg,
  title   = {The Multi-modality Cell Segmentation Challenge: Towards Universal Solutions},
  author  = {Ma, Jun and Xie, Ronald and Ayyadhury, Shamini and others},
  journal = {arXiv preprint arXiv:2308.05864},
  year    = {2023}
}""",
    tags=("phase-contrast", "brightfield", "fluorescence"),
    find_splits=find_splits,
    read_rows=read_rows,
)
