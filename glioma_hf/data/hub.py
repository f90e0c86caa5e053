"""A prepared data set on the Hub: the tree that is pushed, the push, and the check that it arrived as it was.

`build_tree` writes everything that goes to the Hub; `--dry-run` stops there. What `push` sends are the bytes
of that tree and nothing else, and it compares their checksums with the Hub's afterwards.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from glioma_hf.data import statistics
from glioma_hf.data.card import card
from glioma_hf.data.features import CATEGORIES
from glioma_hf.data.images import decode_image, to_uint8
from glioma_hf.data.prepared import PROVENANCE, PreparedSplit, all_objects, read_prepared
from glioma_hf.data.sources import get_source
from glioma_hf.draw import OVERLAP, draw_outlines, overlap_map, tint
from glioma_hf.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Progress = Callable[[str], None]
# Okabe and Ito's palette, what shows on grey.
PREVIEW_COLOURS = {
    "cell": ("yellow", (240, 228, 66)),
    "cell_a": ("sky blue", (86, 180, 233)),
    "cell_b": ("orange", (230, 159, 0)),
    "soma": ("green", (0, 158, 115)),
    "nucleus": ("sky blue", (86, 180, 233)),
}
PREVIEW_SIDE = 1600  # pixels of the preview's longer side


def build_tree(
    folder: str | Path, out: Path, repo: str = "THIS_FOLDER", progress: Progress = lambda line: None
) -> list[str]:
    """What goes to the Hub, into the empty folder `out`: Parquet, provenance, figures and the card that shows them.

    Args:
        folder: made by `prepare`; its files are taken as they are.
        repo: the name by which the card's example opens the data set.

    Returns the files' names, sorted. Raises `InputError` where `folder` isn't a prepared data set.
    """
    folder = Path(folder)
    prepared = read_prepared(folder)
    source = get_source(prepared.source)
    for name in (PROVENANCE, *(file for split in prepared.splits for file in split.files)):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(folder / name, target)
        except OSError as error:
            raise InputError(f"{folder}: {name} can't be read ({error.strerror}); prepare it again") from None
    (out / "figures").mkdir()
    pictures = {}
    shown = next((s for s in prepared.splits if sum(s.objects.values())), None)
    if shown is not None:
        progress(f"drawing a preview of {shown.name}")
        _draw_preview(folder, shown).save(out / "figures" / "preview.png")
        pictures["figures/preview.png"] = f"Polygons over an image of {shown.name}: {_legend(shown)}."
        objects = statistics.measure_objects(folder, progress)
        statistics.plot_figures(objects, out / "figures", source.title)
        pictures |= {
            "figures/areas.png": "Areas of the objects.",
            "figures/shapes.png": "Mean eccentricity (short over long axis) and solidity; discs by mean area.",
            "figures/solidity.png": "Solidity against eccentricity and area.",
        }
    text = card(source, prepared, folder, repo, pictures)
    (out / "README.md").write_text(text, encoding="utf-8")
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.name != ".glioma-hf")


def push(
    tree: Path, names: list[str], repo: str, private: bool = False, api: HfApi | None = None, kind: str = "dataset"
) -> str:
    """Push the files of a tree to a repository (`dataset` or `model`), made if need be; returns its address.

    Raises `InputError` where the Hub refuses or a checksum there isn't that of the file here.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    check_repo(repo)
    api = api or HfApi()
    try:
        url = api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=tree,
            allow_patterns=names,
            commit_message="Pushed by glioma-hf",
        )
        there = {e.path: e for e in api.list_repo_tree(repo, repo_type=kind, recursive=True)}
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set: unset it to push, or give --dry-run") from None
    except HFValidationError as error:
        raise InputError(f"{repo}: {error}") from None
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{repo}: the Hub refused ({reason}); see that you are logged in (hf auth login)") from None
    except OSError as error:
        raise InputError(f"{repo}: the Hub can't be reached ({error}); run it again to go on") from None
    for name in names:
        if not _same(there.get(name), (tree / name).read_bytes()):
            raise InputError(f"{repo}: {name} on the Hub isn't the file that was pushed; run it again")
    return str(url)


def check_repo(repo: str) -> None:
    """Raise `InputError` for a name that isn't USER/NAME."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise InputError(f"the repository {repo!r} isn't of the form USER/NAME")


def _same(entry: Any, data: bytes) -> bool:
    """Whether a file of the Hub's listing has this content: SHA-256 of large files, git's own of small ones."""
    if entry is None or entry.size != len(data):
        return False
    if entry.lfs is not None:
        return entry.lfs.sha256 == hashlib.sha256(data).hexdigest()
    return entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _draw_preview(folder: Path, split: PreparedSplit) -> Image.Image:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(folder / split.files[0])
    rows = (file.read_row_group(i).to_pylist()[0] for i in range(file.num_row_groups))
    row = next((row for row in rows if row["objects"]), None)
    if row is None:
        raise InputError(f"{folder}: {split.files[0]} holds no objects")
    instances = all_objects(row)
    grey = to_uint8(decode_image(row["image"]["bytes"], row["file_name"]))
    shown = np.repeat(grey[..., None], 3, 2)
    tint(shown, overlap_map(instances.select(instances.categories != CATEGORIES.index("soma"))) >= 2, OVERLAP)
    picture = Image.fromarray(shown)
    colours = [PREVIEW_COLOURS[CATEGORIES[c]][1] for c in instances.categories]
    draw_outlines(picture, instances, colours, line=max(2, max(picture.size) // 800))
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return picture


def _legend(split: PreparedSplit) -> str:
    named = [f"{name} {PREVIEW_COLOURS[name][0]}" for name, count in split.objects.items() if count]
    return ", ".join([*named, "overlaps purple"])
