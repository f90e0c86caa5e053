"""For environments with the CPU build of torch and the torchvision of PyPI, which is built for CUDA."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    import torch

    version("torchvision")
    CPU = not torch.backends.cuda.is_built()
except (ImportError, PackageNotFoundError):
    CPU = False

if CPU:  # its operators are missing, and importing it asks for them
    LIBRARY = torch.library.Library("torchvision", "DEF")
    LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        """Which boxes (N, 4), x0, y0, x1, y1, remain, best first: none overlaps a better one by more."""
        order, kept = scores.argsort(descending=True, stable=True), []
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        while len(order):
            best, rest = order[0], order[1:]
            kept.append(int(best))
            low, high = torch.maximum(boxes[best, :2], boxes[rest, :2]), torch.minimum(boxes[best, 2:], boxes[rest, 2:])
            shared = (high - low).clamp(min=0).prod(1)
            order = rest[shared / (sizes[best] + sizes[rest] - shared) <= iou_threshold]
        return torch.tensor(kept, dtype=torch.long)

    LIBRARY.impl("nms", nms, "CPU")
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True
