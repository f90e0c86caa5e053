"""Glioma C6: from the archive of Zenodo record 15083188 (or 17352019) to rows.

Layout: `dataset/spec/{train,valid,test}/images/*.tif` and `dataset/gen/images/*.tif`, with COCO files
`anno_train.json`, `anno_valid.json`, `anno_test.json` and `anno_gen.json` among them. The reader finds
the COCO files by name wherever they are nested and is strict in what would corrupt a benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.sources.archive import Archive
from glioma_hf.data.sources.base import Source
from glioma_hf.data.sources.coco import read_coco_rows
from glioma_hf.data.sources.image_names import ImageNames
from glioma_hf.data.sources.rows import ArchiveSplit, Repairs, Row
from glioma_hf.errors import InputError

ZENODO_URL = "https://zenodo.org/records/17352019/files/dataset.zip?download=1"
LICENCE_NOTE = (
    "Zenodo states CC BY-NC 4.0, the paper (arXiv 2511.07286) CC BY-NC-ND: keep to the stricter of the two in doubt."
)
# (subset, split) by the ending of the COCO file's name.
ANNOTATION_FILES = {
    "train": ("spec", "train"),
    "valid": ("spec", "validation"),
    "val": ("spec", "validation"),
    "test": ("spec", "test"),
    "gen": ("gen", "test"),
}


def find_splits(archive: Archive) -> list[ArchiveSplit]:
    """The splits of an archive in the order train, validation, test, gen; raises `InputError` for none."""
    splits: dict[tuple[str, str], ArchiveSplit] = {}
    for name in archive.names:
        path = PurePosixPath(name)
        match = re.fullmatch(r"anno(?:tations?)?_(\w+)\.json", path.name.lower())
        if not match or match[1] not in ANNOTATION_FILES:
            continue
        key = ANNOTATION_FILES[match[1]]
        if key in splits:
            raise InputError(
                f"{archive.path}: both {splits[key].member} and {name} annotate {key[0]}/{key[1]}; keep one"
            )
        splits[key] = ArchiveSplit(name, *key)
    if not splits:
        some = ", ".join(archive.names[:5]) or "nothing"
        raise InputError(
            f"{archive.path}: no anno_train.json, anno_valid.json, anno_test.json or anno_gen.json in it ({some} ...)"
        )
    order = list(dict.fromkeys(ANNOTATION_FILES.values()))
    return [splits[key] for key in order if key in splits]


def read_rows(archive: Archive, split: ArchiveSplit, repairs: Repairs | None = None, start: int = 0) -> Iterator[Row]:
    """Rows of one split, one per image, by rising image id; see `glioma_hf.data.features`.

    `image` is {"bytes", "path"} with the archive's own bytes. Reading begins with image number `start`.
    Raises `InputError` that names file and object for whatever would corrupt a benchmark.
    """
    names = _image_names(archive, split)
    yield from read_coco_rows(archive, split, repairs or Repairs(), start, map_categories, names)


def map_categories(categories: Sequence[Mapping[str, Any]], where: str) -> dict[Any, int]:
    """From the file's category ids to indices into `CATEGORIES`, by pattern of name and supercategory.

    Somata have the supercategory `cell_part`; types are told by a name that ends in A or B.
    """
    index = {}
    for category in categories:
        words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", str(category.get("name", ""))).lower())
        supercategory = str(category.get("supercategory", "")).lower()
        if supercategory == "cell_part" or any(w.startswith(("soma", "nucle")) for w in words):
            name = "soma"
        elif words and words[-1] in ("a", "b"):
            name = f"cell_{words[-1]}"
        elif any(w.startswith(("cell", "glioma")) for w in words) or (not words and supercategory == "cell"):
            name = "cell"
        else:
            names = ", ".join(repr(c.get("name")) for c in categories)
            raise InputError(
                f"{where}: category {category.get('name')!r} is neither a cell, a type A or B cell "
                f"nor a soma (there are {names}); name it as one of these in the file, or take it and its "
                "annotations out"
            )
        index[category["id"]] = CATEGORIES.index(name)
    return index


def _image_names(archive: Archive, split: ArchiveSplit) -> ImageNames:
    """Of several images of a name those beside the COCO file go before those under a folder of the split's name."""
    folder = PurePosixPath(split.member).parent
    names = {"validation": ("valid", "val", "validation")}.get(split.split, (split.split,))
    names = ("gen",) if split.subset == "gen" else names

    def rank(member: str) -> int:
        path = PurePosixPath(member)
        if path.parent in (folder / "images", folder):
            return 0
        return 1 if set(names) & set(path.parts[:-1]) else 2

    return ImageNames(archive, rank)


SOURCE = Source(
    title="Glioma C6",
    homepage="https://zenodo.org/records/17352019",
    licence="cc-by-nc-4.0",
    licence_note=LICENCE_NOTE,
    summary=(
        "Phase-contrast images of C6 glioma cells with polygons that may overlap, after Malashin et al., "
        "*Glioma C6: A Novel Dataset for Training and Benchmarking Cell Segmentation* (arXiv 2511.07286). "
        "The part `spec` tells type A cells (round or spindle-shaped, with a halo), flat type B cells and somata; "
        "the part `gen`, taken under other conditions, holds cells of no type."
    ),
    limits=(
        "Experts disagree on where cells end in dense clusters: the paper finds an AP50 of 0.71 and 0.81 between "
        "this annotation and a later consensus on two test images, and values near 0 at an IoU of 0.9. All images are "
        "of one cell line and one laboratory."
    ),
    tags=("phase-contrast", "glioma", "overlapping-instances"),
    citation="""@article{malashin2025gliomac6,
  title   = {Glioma C6: A Novel Dataset for Training and Benchmarking Cell Segmentation},
  author  = {Malashin, Roman and Pashkevich, Svetlana and Ilyukhin, Daniil and Volkov, Arseniy and
             Yachnaya, Valeria and Denisov, Andrey and Mikhalkova, Maria},
  journal = {arXiv preprint arXiv:2511.07286},
  year    = {2025}
}""",
    categories=("cell", "cell_a", "cell_b", "soma"),
    find_splits=find_splits,
    read_rows=read_rows,
    splits_by_subset=True,
    published={  # paper, Table 1 and section 3; the 7,833 somata of spec aren't told by split
        "spec/train": {"images": 30, "cells": 5387},
        "spec/validation": {"images": 4, "cells": 738},
        "spec/test": {"images": 11, "cells": 2035},
        "gen/test": {"images": 30, "cells": 3868},
    },
)
