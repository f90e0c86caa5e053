"""What `glioma-hf predict` does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glioma_hf.data.images import SUFFIXES, is_litter, read_image
from glioma_hf.data.opened import LARGE, OpenedImage, open_large
from glioma_hf.data.pixel_size import pixel_size_of
from glioma_hf.errors import InputError
from glioma_hf.executor import Workers
from glioma_hf.files import checksum, growing_folder
from glioma_hf.instances import MAX_PIXELS
from glioma_hf.models import EMBEDDED, load_segmenter
from glioma_hf.models.base import Pixels, Segmenter
from glioma_hf.models.diameter import fitted
from glioma_hf.places import real
from glioma_hf.progress import OnProgress, Progress, ignore
from glioma_hf.workflows.fingerprint import fingerprint
from glioma_hf.workflows.folder_table import TABLE, write_folder_table
from glioma_hf.workflows.outputs import ENDINGS, reduction, write_instances
from glioma_hf.workflows.processes import Processes
from glioma_hf.workflows.results_index import PREDICTIONS, FolderTable, ImageResults, ResultsIndex


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
    pixel_size: float | None = None,
    on_progress: OnProgress = ignore,
    held: int = LARGE,
    workers: Workers | None = None,
    estimate: bool = True,
) -> Predicted | None:
    """Files of each image's cells into the folder `out`.

    `NAME.json` COCO results, `NAME.csv` shapes, `NAME.png` overlay, `NAME_labels.tif` a flattened label map,
    `NAME_rois.zip` for ImageJ and `NAME.geojson` for QuPath; of all images `all_cells.csv`. The folder may grow over
    many runs: images that are done already, by the same model and settings, are skipped, and changed ones are done
    anew; each keeps its own id. `ResultsIndex` says what each image's files are from; files that aren't predict's own
    are never replaced. One image at a time is in memory.

    Args:
        images: files and folders of them.
        segmenter: a model, or its name or folder as `load_segmenter` takes it.
        pixel_size: micrometres per pixel, for the shapes; 0 for shapes in pixels. Each image's own without it, where
            its file says so.
        held: pixels up to which an image is decoded whole. Of larger TIFF images a model that can reads windows, and
            what is in memory doesn't grow with the image; their overlays may be smaller than they are.
        workers: who shares the images; this process without them.
        estimate: look how large the cells of each image are first, and where they are far from what the model knows,
            predict as for cells of that diameter (`models.diameter`).

    Under `accelerate launch` the images are shared out among the processes; all but the first return None.

    Raises `InputError` for an unreadable image and for two images of one name.

    Example:
        predict(["a.tif", "more_images"], "cells", load_segmenter("adapter"))
    """
    paths = find_images([images] if isinstance(images, str | Path) else images)
    repeated = next((stem for stem, times in Counter(path.stem for path in paths).items() if times > 1), None)
    if repeated is not None:
        raise InputError(f"two images are called {repeated}; their results would overwrite each other")
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError:  # tables and records are UTF-8
            raise InputError(f"{path}: its name isn't in UTF-8; rename the file") from None
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
            index.check_table(TABLE, paths, out)
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
            "settings": {**model.settings.model_dump(mode="json"), "estimate": estimate},
        }
        workers = workers or Workers()

        def open_images() -> Iterator[_Image]:
            """Those that aren't done already."""
            nonlocal total
            for number, path in processes.share(list(enumerate(paths, start=1))):
                job = ImageResults(
                    name=path.stem,
                    image=path.name,
                    place=hashlib.sha256(os.fsencode(os.path.realpath(path.parent))).hexdigest(),
                    sha256=_sha256(path),
                    image_id=ids[path.stem],
                    files=dict.fromkeys(_names(path)),
                    pixel_size=pixel_size_of(path) if pixel_size is None else pixel_size,
                    **model_facts,
                )
                known = index.images.get(path.stem)
                changes = [] if known is None else known.changes(job)
                image = _Image(
                    path.absolute(), f"{number} of {len(paths)}: {path.name}", number, len(paths), job, changes
                )
                if known is not None and not changes and known.is_whole(folder):
                    on_progress(Progress(f"{image.told} is done already", number, len(paths)))
                    total += known.cells or 0
                    continue
                if known is not None and "the image" in changes and known.place != job.place:
                    raise InputError(f"{out} holds results of another {path.name}; give another folder for {path}")
                if not workers.alone:  # the record has one writer: this process
                    _note(index, job, out)
                yield image

        own = (index, out, on_progress) if workers.alone else None
        for outcome in workers.run(_segment_image, open_images(), (model, folder, held, own)):
            image, job, facts = outcome.get()
            index.add(job)
            on_progress(Progress(f"{image.told}, {facts}", image.number, image.total))
            total += job.cells or 0
        total = processes.sum(total)
        if processes.first:
            _write_table(folder, out)
    return Predicted(total, len(paths)) if processes.first else None


def _write_table(folder: Path, out: str | Path) -> None:
    """The table of all images that the folder has results of, those of other runs among them; unless it is there."""
    index = ResultsIndex(folder)
    index.check_table(TABLE, (), out)
    images = [results for _, results in sorted(index.images.items())]
    facts = [(each.image, each.model, each.pixel_size, each.files) for each in images]
    made_from = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    known = index.table
    if known is not None and known.sha256 and known.made_from == made_from and (folder / TABLE).exists():
        return
    index.add(FolderTable(table=TABLE, made_from=made_from))
    write_folder_table(folder, images)
    index.add(FolderTable(table=TABLE, made_from=made_from, sha256=checksum(folder / TABLE)))


@dataclass(frozen=True)
class _Image:
    """An image that is to be predicted, with what is known of its results before."""

    path: Path
    told: str
    number: int
    total: int
    job: ImageResults
    changes: list[str]


def _segment_image(
    shared: tuple[Segmenter, Path, int, tuple[ResultsIndex, str | Path, OnProgress] | None], image: _Image
) -> tuple[_Image, ImageResults, str]:
    """Write an image's results: the image, what its files are now, and what to tell of it.

    The record is kept up to date by the process that has it: here, or before and after.
    """
    model, folder, held, own = shared
    path, job = image.path, image.job
    on_progress = ignore if own is None else own[2]
    with _opened(path, model, held) as pixels:
        diameter = None
        if job.settings["estimate"]:
            model, diameter = fitted(model, pixels)
        cells = model.segment(pixels, _by_tiles(pixels, image.told, image.number, image.total, on_progress))
        if own is not None:
            _note(own[0], job, own[1])
        files = {kind: folder / f"{path.stem}{ending}" for kind, ending in ENDINGS.items()}
        write_instances(files, pixels, cells, job.image_id, job.pixel_size)
    facts = f"{len(cells)} cells" + (f", anew: {' and '.join(image.changes)} changed" if image.changes else "")
    if diameter is not None:
        facts += f" of about {diameter:.0f} pixels across, which the model was told"
    if (factor := reduction(pixels)) > 1:
        facts += f", the overlay {factor} times smaller than the image"
    return image, job.written(folder, len(cells), diameter), facts


def _note(index: ResultsIndex, job: ImageResults, out: str | Path) -> None:
    """Keep in the record that an image's files are about to be written, if nobody changed those that are there."""
    known = index.images.get(job.name)
    if known is not None:
        index.check_unchanged(known, out)
    index.add(job)


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
