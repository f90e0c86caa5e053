"""DiceScore of binary segmentation at a pair of resolutions (Computer Optics 2025, CO-1609).

DS(x, y, R1, R2) = Dice(g(f(g(x, R1)), R2), g(y, R2)): the model f sees the image at R1 and is judged at
R2; g is bilinear resizing. DiceScoreAV(R1, R2) is the mean of DS over all test images of all repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from glioma_hf.errors import InputError

MAX_PIXELS = 2**26  # of the resolution at which masks are compared
RESOLUTIONS = {"704p": (704, 512), "1472p": (1472, 1120), "2592p": (2592, 1952)}  # (width, height)


def resize_bilinear(image: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing of (H, W) to `resolution` (width, height), pixel centres aligned: float64.

    No smoothing goes before shrinking, as in OpenCV's INTER_LINEAR.
    """
    width, height = resolution
    result = np.asarray(image, np.float64)
    for axis, length in ((0, height), (1, width)):
        old = result.shape[axis]
        if old == length:
            continue
        at = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), max(old - 2, 0))
        weight = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        upper = np.minimum(low + 1, old - 1)
        result = np.take(result, low, axis) * (1 - weight) + np.take(result, upper, axis) * weight
    return result


def dice_score(
    prediction: np.ndarray, reference: np.ndarray, resolution: tuple[int, int] | None = None, threshold: float = 0.5
) -> float:
    """DS of one image, 0 ... 1; 1 where both sides are empty.

    Args:
        prediction: (h, w), the model's output at R1: a mask or probabilities; resized to R2, then
            thresholded.
        reference: (H, W), the reference mask; resized to R2, where every value above 0 counts as 1.
        resolution: R2 as (width, height); the reference's own without it.
        threshold: from which a resized prediction counts as 1.

    Raises `InputError` for a mask that isn't 2-D or holds values that aren't finite numbers, for a resolution that
    isn't two whole numbers above 0 with at most `MAX_PIXELS` pixels, and for a threshold that isn't finite.

        >>> dice_score(np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]]))
        0.6666666666666666
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    for name, side in (("prediction", prediction), ("reference", reference)):
        if side.ndim != 2 or side.size == 0:
            raise InputError(f"the {name} is a 2-D mask, not of shape {side.shape}")
        if side.dtype.kind not in "biuf":
            raise InputError(f"the {name} holds numbers, not {side.dtype}")
        if side.dtype.kind == "f" and not np.isfinite(side).all():
            raise InputError(f"the {name} holds values that aren't finite")
    if not np.isscalar(threshold) or isinstance(threshold, str) or not np.isfinite(threshold):
        raise InputError(f"the threshold is a finite number, not {threshold!r}")
    resolution = (reference.shape[1], reference.shape[0]) if resolution is None else check_resolution(resolution)
    predicted = resize_bilinear(prediction, resolution) >= threshold
    expected = resize_bilinear(reference != 0, resolution) > 0
    total = int(predicted.sum()) + int(expected.sum())
    return 2 * int((predicted & expected).sum()) / total if total else 1.0


def check_resolution(resolution: Any) -> tuple[int, int]:
    """(width, height) as ints; raises `InputError` for what `dice_score` refuses."""
    try:
        width, height = (int(length) for length in resolution)
        right = (width, height) == tuple(resolution) and min(width, height) >= 1 and width * height <= MAX_PIXELS
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise InputError(
            f"the resolution is (width, height) in whole pixels, each above 0 and at most {MAX_PIXELS} together, "
            f"not {str(resolution)[:60]}"
        )
    return width, height


def dice_score_average(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    resolution: tuple[int, int] | None = None,
    repeats: Sequence[Any] | None = None,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """`dice` (DiceScoreAV), `dice_loss` (1 - dice), `per_image`, and with `repeats` also `per_repeat`.

    Args:
        pairs: (prediction, reference) of every test image of every repeat.
        repeats: which repeat each pair is of; every image weighs the same, as in the paper.

    Raises `InputError` for masks that `dice_score` refuses and for repeats of another number than the pairs.

        >>> full, half = np.ones((2, 2)), np.array([[1, 1], [0, 0]])
        >>> dice_score_average([(full, full), (half, full)], repeats=[1, 2])["per_repeat"]
        [1.0, 0.6666666666666666]
    """
    if resolution is not None:
        check_resolution(resolution)  # also where there are no pairs
    scores = [dice_score(*pair, resolution, threshold) for pair in pairs]
    mean = float(np.mean(scores)) if scores else 0.0
    result: dict[str, Any] = {"dice": mean, "dice_loss": 1 - mean, "per_image": scores}
    if repeats is not None:
        if len(repeats) != len(scores):
            raise InputError(f"{len(repeats)} repeats for {len(scores)} images")
        names = list(dict.fromkeys(repeats))
        result["per_repeat"] = [
            float(np.mean([s for s, name in zip(scores, repeats, strict=True) if name == n])) for n in names
        ]
    return result
