"""The families of models, and the way from a name or a folder to a segmenter."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glioma_hf.errors import InputError

if TYPE_CHECKING:
    from glioma_hf.models.base import Family, Segmenter

# By name: the module that holds a `FAMILY`. Imported when first asked for, so that a library that is missing is
# missed only by those who ask for its family.
FAMILIES = {
    "sam": "glioma_hf.models.sam.family",
    "centres": "glioma_hf.models.centres.family",
    "flows": "glioma_hf.models.flows.family",
    "unet": "glioma_hf.models.unet.family",
    "deepsea": "glioma_hf.models.outside.deepsea",
    "cellpose": "glioma_hf.models.outside.cellpose",
    "stardist": "glioma_hf.models.outside.stardist",
    "yolo": "glioma_hf.models.outside.yolo",
    "lacss": "glioma_hf.models.outside.lacss",
}
EMBEDDED = "embedded"  # the model that comes with the package


def get_family(name: str) -> Family:
    """The family of that name. Raises `InputError` that lists the known ones for another."""
    if name not in FAMILIES:
        raise InputError(f"the family {name!r} isn't known; it is one of {', '.join(FAMILIES)}")
    family: Family = import_module(FAMILIES[name]).FAMILY
    return family


def find_base(model: str | Path = EMBEDDED) -> tuple[Family, str]:
    """Which family's which base a name means: "FAMILY:BASE", "FAMILY" for its default, or a base of SAM's.

    `embedded`, a folder and a Hub name such as `facebook/sam-vit-base` are bases of SAM's.
    """
    name, colon, base = str(model).partition(":")
    if name in FAMILIES:
        family = get_family(name)
        return family, base if colon and base else family.bases[0]
    return get_family("sam"), str(model)


def load_segmenter(
    model: str | Path | None = None,
    adapter: str | Path | None = None,
    thresholds: str | Path | None = None,
    diameter: float | None = None,
    finder: str | Path | None = None,
    **settings: Any,
) -> Segmenter:
    """A segmenter: a base by name, or a model that `train` saved, with the thresholds kept beside it.

    Args:
        model: see `find_base`, or a saved model's folder or repository on the Hub; the model that comes with the
            package by default.
        adapter: folder or repository of a saved model. `model` is then the base to put it on, if not the one that it
            was made for.
        thresholds: file of settings to take instead of those kept with the saved model.
        diameter: of the cells expected, in pixels; images are scaled to what the model knows.
        finder: another model, by all that `model` takes, whose instances a SAM is asked for: `prompts` is then "model".
        settings: single settings of the family to take instead, such as `prompts="grid"` of SAM's.

    Raises `InputError` where a model, a file or a setting isn't what it should be.

    Example:
        segmenter = load_segmenter("adapter")        # a folder that `train` wrote
        cells = segmenter.segment(read_image("cells.tif"))
    """
    from glioma_hf.models.saved import ModelFolder, find_saved, read_settings

    saved = None
    if adapter is not None:
        saved = find_saved(adapter)
        if saved is None and not Path(adapter).exists():
            raise InputError(
                f"{adapter}: no saved model lies there, and the Hub has none of that name or isn't reached"
            )
        saved = saved or ModelFolder(adapter)  # which says what is missing there
    elif model is not None and (saved := find_saved(model)) is not None:
        model = None
    if saved is None:
        family, base = find_base(model or EMBEDDED)
    else:
        family, base = saved.family(), saved.info().base
        if model is not None:
            given, base = find_base(model)
            if given.name != family.name:
                raise InputError(f"{saved.path} holds a model of {family.title}, {model} is one of {given.title}")
        saved.check()
    segmenter = family.load(base, None if saved is None else saved.path)
    segmenter.origin = f"{family.name}:{base}"
    kept = None if saved is None else saved.settings()
    if thresholds is not None:
        kept = read_settings(family, Path(thresholds))
    changes = settings if kept is None else {**kept.model_dump(), **settings}
    segmenter = segmenter.with_settings(**changes) if changes else segmenter
    if finder is not None:
        segmenter = segmenter.prompted_by(load_segmenter(finder))
    if diameter is None:
        return segmenter
    try:
        return segmenter.for_diameter(diameter)
    except InputError:  # of a setting that nobody gave
        own = f"the {segmenter.diameter:g}" if segmenter.diameter else "what"
        raise InputError(
            f"a diameter of {diameter:g} pixels is too far from {own} that {segmenter.origin} knows; give one that is "
            "nearer, or resize the image"
        ) from None
