"""Folders of label maps, one file an image."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from glioma_hf.benchmark.image_names import image_name, is_label_name
from glioma_hf.errors import InputError
from glioma_hf.instances import Instances


def read_folder(folder: Path) -> dict[str, tuple[str, Instances]]:
    """(file name, objects) by image name. Raises `InputError` as `scoring_files.read_label_maps`."""
    from glioma_hf.data.images import is_litter
    from glioma_hf.data.label_maps import decode_labels

    try:
        files = [
            file
            for file in sorted(folder.iterdir())
            if file.suffix.lower() in (".tif", ".tiff", ".png") and not is_litter(file.name)
        ]
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror}); give a folder of label maps") from None
    files = [file for file in files if is_label_name(file.name)] or files
    found: dict[str, tuple[str, Instances]] = {}
    for file in files:
        key = image_name(file.name)
        if key in found:
            raise InputError(f"{file}: a second label map of {key}; keep one ({found[key][0]} is the other)")
        name = unicodedata.normalize("NFC", file.name)
        found[key] = name, Instances.from_label_map(decode_labels(_read(file), str(file)))
    if not found:
        raise InputError(f"{folder}: no label maps (TIFF or PNG) in it")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give a label map") from None
