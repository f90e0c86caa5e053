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
from glioma_hf.data.opened import LARGE, OpenedImage, open_large
from glioma_hf.errors import InputError
from glioma_hf.files import checksum, growing_folder
from glioma_hf.instances import MAX_PIXELS
from glioma_hf.models import EMBEDDED, load_segmenter
from glioma_hf.models.base import Pixels, Segmenter
from glioma_hf.places import real
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.fingerprint import fingerprint
from glioma_hf.workflows.outputs import ENDINGS, reduction, write_instances
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
    held: int = LARGE,
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
        held: pixels up to which an image is decoded whole. Of larger TIFF images a model that can reads windows, and
            what is in memory doesn't grow with the image; their overlays may be smaller than they are.

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
            with _opened(path, model, held) as pixels:
                cells = model.segment(pixels, _by_tiles(pixels, place, number, len(paths), on_progress))
                if known is not None:
                    index.check_unchanged(known, out)
                index.add(job)
                files = {kind: folder / f"{path.stem}{ending}" for kind, ending in ENDINGS.items()}
                write_instances(files, pixels, cells, job.image_id, pixel_size)
            index.add(job.written(folder, len(cells)))
            facts = f"{len(cells)} cells" + (f", anew: {' and '.join(changes)} changed" if changes else "")
            if (factor := reduction(pixels)) > 1:
                facts += f", the overlay {factor} times smaller than the image"
            on_progress(Progress(f"{place}, {facts}", number, len(paths)))
            total += len(cells)
        total = processes.sum(total)
    return Predicted(total, len(paths)) if processes.first else None


def _opened(path: Path, model: Segmenter, held: int) -> contextlib.AbstractContextManager[Pixels]:
    """An image, decoded, or opened where it has over `held` pixels and the model reads windows."""
    opened = open_large(path, held if model.reads_windows else MAX_PIXELS)
    if opened is None:
        return contextlib.nullcontext(read_image(path))
    if model.reads_windows:
        return opened
    opened.close()
    height, width = opened.shape[:2]
    raise InputError(
        f"{path}: {width} x {height} is more than {MAX_PIXELS} pixels, the most that {model.origin or 'this model'} "
        "takes; predict by a model of the family centres, which reads an image window by window, or crop it"
    )


def _by_tiles(pixels: Pixels, place: str, number: int, total: int, on_progress: OnProgress) -> OnProgress:
    """Tells of each tile of an opened image, which takes minutes."""
    if not isinstance(pixels, OpenedImage):
        return ignore

    def tell(tile: Progress) -> None:
        share = number - 1 + tile.share
        on_progress(Progress(f"{place}, tile {tile.done:.0f} of {tile.total:.0f}", share, total))
        if tile.done == tile.total:
            on_progress(Progress(f"{place}, writing what was found", share, total))

    return tell


def _sha256(image: Path) -> str:
    """Of its bytes; "" where it can't be read, which `read_image` tells better."""
    try:
        return checksum(image) if image.is_file() else ""
    except OSError:
        return ""


def _names(image: Path) -> list[str]:
    """Of an image's files."""
    return [f"{image.stem}{ending}" for ending in ENDINGS.values()]
