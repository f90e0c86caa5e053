"""What `glioma-hf predict` does."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioma_hf.data.images import SUFFIXES, is_litter, read_image
from glioma_hf.errors import InputError
from glioma_hf.files import checksum, growing_folder
from glioma_hf.models import EMBEDDED, load_segmenter
from glioma_hf.models.base import Segmenter
from glioma_hf.places import real
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.fingerprint import fingerprint
from glioma_hf.workflows.outputs import ENDINGS, write_instances
from glioma_hf.workflows.processes import Processes
from glioma_hf.workflows.results_index import PREDICTIONS, ImageResults, ResultsIndex


@dataclass(frozen=True)
class Predicted:
    """What became of a run: how many cells were found in how many images."""

    cells: int
    images: int


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Images by name; a folder stands for all images that lie in it. Raises `InputError` for one without any."""
    images: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not is_litter(p.name))
            if not inside:
                raise InputError(f"{path}: no image lies there; give images ({', '.join(SUFFIXES)}) or folders of them")
            images += inside
        else:
            images.append(path)
    return images


def predict(
    images: Sequence[str | Path] | str | Path,
    out: str | Path,
    segmenter: Segmenter | str | Path = EMBEDDED,
    pixel_size: float = 1.0,
    on_progress: OnProgress = ignore,
) -> Predicted | None:
    """Files of each image's cells into the folder `out`.

    `NAME.json` COCO results, `NAME.csv` shapes, `NAME.png` overlay, `NAME_labels.tif` a flattened label map
    and `NAME_rois.zip` for ImageJ. The folder may grow over many runs: images that are done already, by the same
    model and settings, are skipped, and changed ones are done anew; each keeps its own id. `ResultsIndex` says what
    each image's files are from; files that aren't predict's own are never replaced. One image at a time is in memory.

    Args:
        images: files and folders of them.
        segmenter: a model, or its name or folder as `load_segmenter` takes it.
        pixel_size: say micrometres per pixel, for the shapes.

    Under `accelerate launch` the images are shared out among the processes; all but the first return None.

    Raises `InputError` for an unreadable image and for two images of one name.

    Example:
        predict(["a.tif", "more_images"], "cells", load_segmenter("adapter"))
    """
    paths = find_images([images] if isinstance(images, str | Path) else images)
    repeated = next((stem for stem, times in Counter(path.stem for path in paths).items() if times > 1), None)
    if repeated is not None:
        raise InputError(f"two images are called {repeated}; their results would overwrite each other")
    model = segmenter if isinstance(segmenter, Segmenter) else load_segmenter(segmenter)
    processes = Processes()
    total = 0
    with contextlib.ExitStack() as stack:
        if processes.first:
            given = [images] if isinstance(images, str | Path) else images
            folder = stack.enter_context(growing_folder(out, PREDICTIONS, [*given, *paths]))
            index = ResultsIndex(folder)
            for path in paths:
                index.check(path.stem, path.name, _names(path), out)
            index.tidy()
        processes.wait()
        if not processes.first:
            folder = real(out)
            index = ResultsIndex(folder)
        processes.wait()
        ids = index.ids(path.stem for path in paths)
        model_facts = {
            "model": model.origin,
            "model_sha256": fingerprint(model),
            "settings": model.settings.model_dump(mode="json"),
            "pixel_size": pixel_size,
        }
        for number, path in processes.share(list(enumerate(paths, start=1))):
            job = ImageResults(
                name=path.stem,
                image=path.name,
                place=hashlib.sha256(os.fsencode(os.path.realpath(path.parent))).hexdigest(),
                sha256=_sha256(path),
                image_id=ids[path.stem],
                files=dict.fromkeys(_names(path)),
                **model_facts,
            )
            place = f"{number} of {len(paths)}: {path.name}"
            known = index.images.get(path.stem)
            changes = [] if known is None else known.changes(job)
            if known is not None and not changes and known.is_whole(folder):
                on_progress(Progress(f"{place} is done already", number, len(paths)))
                total += known.cells or 0
                continue
            if known is not None and "the image" in changes and known.place != job.place:
                raise InputError(f"{out} holds results of another {path.name}; give another folder for {path}")
            pixels = read_image(path)
            cells = model.segment(pixels)
            if known is not None:
                index.check_unchanged(known, out)
            index.add(job)
            files = {kind: folder / f"{path.stem}{ending}" for kind, ending in ENDINGS.items()}
            write_instances(files, pixels, cells, job.image_id, pixel_size)
            index.add(job.written(folder, len(cells)))
            anew = f", anew: {' and '.join(changes)} changed" if changes else ""
            on_progress(Progress(f"{place}, {len(cells)} cells{anew}", number, len(paths)))
            total += len(cells)
        total = processes.sum(total)
    return Predicted(total, len(paths)) if processes.first else None


def _sha256(image: Path) -> str:
    """Of its bytes; "" where it can't be read, which `read_image` tells better."""
    try:
        return checksum(image) if image.is_file() else ""
    except OSError:
        return ""


def _names(image: Path) -> list[str]:
    """Of an image's files."""
    return [f"{image.stem}{ending}" for ending in ENDINGS.values()]
