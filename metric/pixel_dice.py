"""`evaluate` module: DiceScore of binary segmentation at a pair of resolutions, and its mean over repeats."""

import datasets
import evaluate
import numpy as np

from glioma_hf.errors import InputError
from glioma_hf.metrics.pixel_dice import RESOLUTIONS, dice_score_average

_DESCRIPTION = """
DiceScore(A, B) = 2|A and B| / (|A| + |B|) of a predicted and a reference mask, both brought to one resolution by
bilinear resizing; the mean over all test images of all repeats is DiceScoreAV (Computer Optics 2025, CO-1609).
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: per image the model's output at the resolution at which it ran: a 2-D mask or probabilities.
    references: per image the 2-D reference mask at its own resolution.
    resolution: at which they are compared, (width, height) or "704p", "1472p", "2592p"; each reference's own by
        default.
    repeats: which repeat each image is of.
    threshold: from which a prediction counts, after resizing; 0.5 by default.
Returns:
    dict: dice (DiceScoreAV), dice_loss, per_image; with repeats also per_repeat.
Examples:
    >>> import evaluate
    >>> metric = evaluate.load("metric/pixel_dice.py")
    >>> metric.compute(predictions=[[[1, 1], [0, 0]]], references=[[[1, 0], [0, 0]]])["dice"]
    0.6666666666666666
"""

_CITATION = "Computer Optics 2025, DOI 10.18287/2412-6179-CO-1609"
_MASK = {
    "shape": datasets.Sequence(datasets.Value("int32")),
    "dtype": datasets.Value("string"),
    "data": datasets.Value("binary"),
}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class PixelDice(evaluate.Metric):
    """DiceScore and DiceScoreAV."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": _MASK, "references": _MASK}),
            homepage="https://doi.org/10.18287/2412-6179-CO-1609",
        )

    # Nested lists of pixels are slow in Arrow; the bytes of an array aren't.

    def add(self, *, prediction=None, reference=None, **kwargs):
        """One image."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """A list of images on both sides."""
        if len(predictions) != len(references):
            raise InputError(f"{len(predictions)} predictions, {len(references)} references")
        super().add_batch(
            predictions=[_pack(p) for p in predictions], references=[_pack(r) for r in references], **kwargs
        )

    def _compute(self, predictions, references, resolution=None, repeats=None, threshold=0.5):
        resolution = RESOLUTIONS.get(resolution, resolution) if isinstance(resolution, str) else resolution
        if isinstance(resolution, str):
            known = ", ".join(RESOLUTIONS)
            raise InputError(f"the resolution {resolution!r} isn't known; give (width, height) or {known}")
        pairs = [(_unpack(p), _unpack(r)) for p, r in zip(predictions, references, strict=True)]
        return dice_score_average(pairs, resolution, repeats, threshold)


def _pack(mask):
    array = np.ascontiguousarray(mask)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise InputError(f"a mask holds numbers, not {array.dtype}")
    return {"shape": list(array.shape), "dtype": array.dtype.str, "data": array.tobytes()}


def _unpack(packed):
    return np.frombuffer(packed["data"], np.dtype(packed["dtype"])).reshape(packed["shape"])
