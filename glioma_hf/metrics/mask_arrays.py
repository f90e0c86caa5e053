"""Masks as arrays of any library: told apart, or refused in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.instances import Instances

_THIN = 16  # a last axis shorter than this and than both others is hardly an image's width
_LOOKED_AT = 2**24  # values of a stack whose order of axes is told from them
_TURN = "give masks first, (masks, height, width): numpy.moveaxis(masks, -1, 0)"


def to_array(value: Any) -> np.ndarray | None:
    """An array of another library (a tensor, a PIL image) as NumPy's; None for what isn't an array."""
    if isinstance(value, np.ndarray):
        return value
    if type(value) in (list, tuple, dict, str, bytes, int, float):
        return None
    if not any(hasattr(value, name) for name in ("__array__", "__array_interface__", "detach")):
        return None
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        return np.asarray(value)
    except Exception as error:  # each library raises errors of its own
        raise InputError(f"{type(value).__name__} can't be read as an array ({error}); give a NumPy array") from None


def is_mask(value: Any) -> bool:
    """Whether a value is an array of two axes or more."""
    array = to_array(value)
    return array is not None and array.ndim > 1


def nested_array(side: Sequence[Any]) -> np.ndarray | None:
    """Nested lists of whole numbers or booleans as an array: a label map, or where all are 0 or 1 a stack.

    None for anything else, polygons among them.
    """
    if not side or not isinstance(side[0], list | tuple) or not side[0]:
        return None
    if isinstance(side[0][0], list | tuple) and not (side[0][0] and isinstance(side[0][0][0], int)):
        return None
    try:
        array = np.asarray(side)
    except (ValueError, OverflowError):  # of different lengths
        return None
    if array.dtype.kind not in "biu" or array.ndim not in (2, 3):
        return None
    return array if array.ndim == 2 or array.max(initial=0) <= 1 else None


def planes_of(array: np.ndarray) -> np.ndarray:
    """An array without axes of length 1 that libraries put beside the masks': 2-D, 3-D, or refused."""
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]  # (masks, 1, height, width), as networks give them
    elif array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3):
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} is no side of an image; give a 2-D integer label "
            "map or a boolean stack (masks, height, width)"
        )
    return array


def from_planes(array: np.ndarray, size: tuple[int, int]) -> Instances:
    """Objects of a label map (2-D) or a stack (3-D) of an image of `size`; see `from_masks`."""
    if array.ndim == 3:
        return from_masks(array, size)
    if array.dtype.kind == "f":
        raise InputError(
            f"a label map is a 2-D integer array, this one is 2-D {array.dtype}; of probabilities make masks by a "
            "threshold first, of whole numbers integers (labels.astype(int))"
        )
    if array.dtype.kind == "b":
        raise InputError(
            "a label map is a 2-D integer array, this one is 2-D bool; give [mask] for one object, or label its parts"
        )
    return Instances.from_label_map(array)


def from_masks(masks: Sequence[Any] | np.ndarray, size: tuple[int, int] | None = None, **columns: Any) -> Instances:
    """Objects of masks (H, W), one each: boolean, or of 0 and one other number.

    Raises `InputError` for probabilities, for label maps among them, and for sizes that differ.
    """
    planes = (boolean(mask, f"mask {index}") for index, mask in enumerate(masks))
    return Instances.from_masks(planes, size, **columns)


def boolean(mask: Any, name: str) -> np.ndarray:
    """A boolean (H, W) of one mask in any type. Raises `InputError` that begins with its `name`."""
    array = to_array(mask)
    if array is None:
        raise InputError(f"{name} is a {type(mask).__name__}, no array")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(f"{name} has shape {array.shape} and type {array.dtype}, expected (height, width) of booleans")
    if array.dtype.kind == "b":
        return array
    shown = array != 0
    if array.dtype.kind == "f" and not (array[shown] == 1).all():
        raise InputError(f"{name} holds numbers other than 0 and 1; threshold them first, as in mask > 0.5")
    if shown.any() and (array[shown] != array[shown][0]).any():
        raise InputError(
            f"{name} holds several numbers besides 0; a label map is given alone, as one array, not in a list of masks"
        )
    return shown


def image_size(array: np.ndarray, other: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of a label map or stack; `other` is what the other side says of it.

    Raises `InputError` where the masks seem to come last, or where that can't be told.
    """
    if array.ndim == 2:
        return int(array.shape[0]), int(array.shape[1])
    first, middle, last = array.shape
    size = int(middle), int(last)
    if other is not None:
        if size != other and (first, middle) == other:
            raise InputError(f"a stack of shape {array.shape} has its masks last; {_TURN}")
        return size
    if last < min(_THIN, first, middle):
        raise InputError(
            f"of a stack of shape {array.shape} it can't be told whether masks come first or last; {_TURN}, or give "
            "the other side as a label map"
        )
    if 0 < array.size <= _LOOKED_AT and _clings(array, 0) > 0.5 > _clings(array, 2):
        raise InputError(f"a stack of shape {array.shape} seems to have its masks last; {_TURN}")
    return size


def _clings(stack: np.ndarray, axis: int) -> float:
    """How many of a stack's pixels have a neighbour along an axis: along an image's most have, along masks few."""
    shown = np.moveaxis(stack != 0, axis, 0)
    return float((shown[1:] & shown[:-1]).sum() / max(int(shown.sum()), 1))
