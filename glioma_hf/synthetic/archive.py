"""An archive in the Glioma C6 layout, of synthetic images: same folders, same COCO files, other pixels."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from pydantic import BaseModel, ConfigDict, Field

from glioma_hf.files import new_file
from glioma_hf.instances import Instances
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.synthetic.scenes import Scene, SceneConfig, generate_scene

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same for every member, so that the same seed gives the same bytes
DESCRIPTION = "Synthetic phase-contrast images in the layout of Glioma C6; not Glioma C6"
_SPEC = [
    {"id": 1, "name": "Cell A", "supercategory": "cell"},
    {"id": 2, "name": "Cell B", "supercategory": "cell"},
    {"id": 3, "name": "Soma", "supercategory": "cell_part"},
]
_GEN = [{"id": 1, "name": "Cell", "supercategory": "cell"}]
_IDS = {"cell_a": 1, "cell_b": 2, "soma": 3}


class SyntheticArchiveConfig(BaseModel):
    """How many images of what kind; the true data set has 30, 4, 11 and 30 of 2592 x 1944 pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int = Field(4, ge=0)
    valid: int = Field(2, ge=0)
    test: int = Field(2, ge=0)
    gen: int = Field(2, ge=0)
    scene: SceneConfig = SceneConfig()


def synthesize(
    out: str | Path,
    seed: int = 0,
    config: SyntheticArchiveConfig | None = None,
    on_progress: OnProgress = ignore,
) -> None:
    """Write a zip in the layout of the Glioma C6 archive; the same seed and config give the same bytes.

    Spec images carry type A and B cells and somata, gen images plain cells, drawn under conditions that
    vary more. Raises `InputError` where `out` can't be written.

    >>> synthesize("cells.zip", seed=1, config=SyntheticArchiveConfig(train=1))  # doctest: +SKIP
    """
    config = config or SyntheticArchiveConfig()
    varied = config.scene.model_copy(update={"scale": (0.8, 2.0), "halo": (2.5, 10.0), "noise": (1.0, 6.0)})
    splits = (
        ("dataset/spec/train", "train", config.train, config.scene, _SPEC),
        ("dataset/spec/valid", "valid", config.valid, config.scene, _SPEC),
        ("dataset/spec/test", "test", config.test, config.scene, _SPEC),
        ("dataset/gen", "gen", config.gen, varied, _GEN),
    )
    total, done = sum(split[2] for split in splits), 0
    with (
        new_file(out, is_ours=lambda path: is_archive(path, DESCRIPTION)) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for number, (folder, name, images, scene, categories) in enumerate(splits):
            if images:
                scenes = (generate_scene((seed, number, i), scene) for i in range(images))
                drawn = ((each.image, _annotations(each, typed=len(categories) > 1)) for each in scenes)
                for file_name in write_split(archive, folder, name, drawn, categories, DESCRIPTION):
                    done += 1
                    on_progress(Progress(file_name, done, total))


def is_archive(path: Path, description: str) -> bool:
    """Whether a file is an archive so described: what its COCO files say at their beginning."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".json"))
            with archive.open(name) as file:
                return file.read(200).startswith(json.dumps({"info": {"description": description}})[:-2].encode())
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError, StopIteration):
        return False


def write_split(
    archive: zipfile.ZipFile,
    folder: str,
    name: str,
    drawn: Iterable[tuple[np.ndarray, list[dict[str, Any]]]],
    categories: list[dict[str, Any]],
    description: str,
) -> Iterator[str]:
    """Write the images of a split and then its COCO file; gives each image's name once it is written.

    Args:
        folder: of the split, in the archive.
        name: with which files' names begin.
        drawn: images (H, W) and the annotations of each, without ids.
        categories, description: of the COCO file.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (pixels, objects) in enumerate(drawn, start=1):
        file_name = f"{name}_{number:03}.tif"
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="minisblack", metadata=None, software=False)
        _write(archive, f"{folder}/images/{file_name}", buffer.getvalue())
        height, width = pixels.shape
        images.append({"id": number, "file_name": file_name, "width": width, "height": height})
        first = len(annotations) + 1
        annotations += [{"id": first + i, "image_id": number, **item} for i, item in enumerate(objects)]
        yield f"{folder}/images/{file_name}"
    coco = {
        "info": {"description": description},
        "licenses": [],
        "categories": categories,
        "images": images,
        "annotations": annotations,
    }
    _write(archive, f"{folder}/anno_{name}.json", json.dumps(coco).encode())


def _annotations(scene: Scene, typed: bool) -> list[dict[str, Any]]:
    kept = [o for o in scene.objects if typed or o.category != "soma"]
    polygons = [o.outline.ravel().tolist() for o in kept]
    instances = Instances.from_polygons([[p] for p in polygons], scene.image.shape)
    return [
        {
            "category_id": _IDS[item.category] if typed else 1,
            "segmentation": [polygon],
            "bbox": instances.boxes[i].tolist(),
            "area": float(instances.areas[i]),
            "iscrowd": 0,
        }
        for i, (item, polygon) in enumerate(zip(kept, polygons, strict=True))
    ]


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED, compresslevel=1)
