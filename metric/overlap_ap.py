"""`evaluate` module of the Glioma C6 benchmark: AP and F1 of instances that may overlap."""

import datasets
import evaluate

from glioma_hf.errors import InputError
from glioma_hf.metrics.inputs import pair_of_instances, to_rles
from glioma_hf.metrics.overlap_ap import by_category, overlap_ap

_DESCRIPTION = """
Precision, recall, F1 and AP = TP / (TP + FP + FN) of instance masks that may overlap, as in arXiv 2511.07286:
counts pooled over images, optimal one-to-one matching at an IoU threshold, objects in the outer two pixels
left out.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions, references: one entry per image, objects in order of priority: a list of COCO objects, RLEs
        ({"size": [height, width], "counts": str}) or boolean masks, what SAM's mask generator gives, a row of the
        data set (width, height, objects with polygons), a 2-D integer label map, a 3-D boolean stack (masks, height,
        width), or `glioma_hf.Instances`. Scores are used by "coco" alone. Objects with `iscrowd` and negative labels
        are crowd regions: what lies in one, and matches nothing else, counts on neither side.
    thresholds: IoU thresholds, 0.5, 0.75 and 0.9 by default.
    mode: "overlapping" (Table 2 of the paper) or "flattened" (Table 4).
    priority: in the mode "flattened", which of the references that overlap wins: "first" (the default) or "last".
    border: width of the frame whose objects are left out, in pixels; 2 by default.
    border_rule: "exclude" (the paper's) or "ignore": what matches a left-out object counts on neither side.
    min_area: objects of fewer pixels are left out.
    extras: further scores: "curve", "panoptic", "image_means", "interval", "best_match", "hausdorff", "coco",
        "overlapped".
    categories: lists of category numbers by name; each is scored on its own.
    seed: of the bootstrap behind "interval".
Returns:
    dict: ap50, ap75, ap90; tp, fp, fn, precision, recall, f1 at 0.5 and, with a suffix, at the others; images,
    predictions, references; the extras. With `categories`, one such dict per name.
Examples:
    >>> import evaluate
    >>> metric = evaluate.load("metric/overlap_ap.py")
    >>> cell = {"size": [12, 12], "counts": "W166000000000Q1"}
    >>> metric.compute(predictions=[[cell]], references=[[cell]])["ap50"]
    1.0
"""

_CITATION = """
@article{malashin2025gliomac6,
  title={Glioma C6: A Novel Dataset for Training and Benchmarking Cell Segmentation},
  author={Malashin, Roman and others}, journal={arXiv preprint arXiv:2511.07286}, year={2025}}
"""

_SIDE = {
    "size": datasets.Sequence(datasets.Value("int32")),
    "counts": datasets.Sequence(datasets.Value("string")),
    "categories": datasets.Sequence(datasets.Value("int64")),
    "scores": datasets.Sequence(datasets.Value("float64")),
    "crowd": datasets.Sequence(datasets.Value("bool")),
}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class OverlapAP(evaluate.Metric):
    """Overlap-aware AP and F1."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": _SIDE, "references": _SIDE}),
            homepage="https://arxiv.org/abs/2511.07286",
        )

    # Whatever comes in is encoded as RLE before it enters Arrow, which is slow with polygons and worse with stacks.

    def add(self, *, prediction=None, reference=None, **kwargs):
        """One image."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """A list of images on both sides."""
        if len(predictions) != len(references):
            raise InputError(f"{len(predictions)} images with predictions, {len(references)} with references")
        pairs = [
            pair_of_instances(p, r, f"image {i}") for i, (p, r) in enumerate(zip(predictions, references, strict=True))
        ]
        sides = {"predictions": [to_rles(p) for p, _ in pairs], "references": [to_rles(r) for _, r in pairs]}
        super().add_batch(**sides, **kwargs)

    def _compute(self, predictions, references, categories=None, **options):
        pairs = map(pair_of_instances, predictions, references)
        if categories is None:
            return overlap_ap(pairs, **options).to_dict()
        return {name: scores.to_dict() for name, scores in by_category(pairs, categories, **options).items()}
