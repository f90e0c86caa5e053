"""Flows of label maps and label maps of flows, by the package `cellpose` (Stringer et al., 2021), which is an extra.

A flow is a unit vector, (y, x), that leads from a pixel towards its cell's middle; networks learn `GAIN` times it.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from glioma_hf.extras import missing_libraries_named

GAIN = 5.0  # flows as networks say them, in unit vectors: what `cellpose` expects


def flows_of(labels: np.ndarray) -> np.ndarray:
    """Flows of a label map, integers (H, W), 0 the background: float32 (2, H, W), y before x; 0 outside cells.

    Raises `InputError` where `cellpose` isn't installed, as all here.
    """
    if not labels.any():
        return np.zeros((2, *labels.shape), np.float32)
    numbered = np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + (labels.min() > 0)
    flows: np.ndarray = _cellpose().dynamics.masks_to_flows(numbered)
    return flows.astype(np.float32)


def without_specks(logits: np.ndarray, threshold: float, size: int = 16) -> np.ndarray:
    """Logits (H, W) without holes and specks, in what is over the threshold, of fewer than `size` pixels.

    MediarFormer's authors do so before pixels flow (`compute_masks` of their `core/MEDIAR/utils.py`), holes first.
    """
    inside = logits > threshold
    tidy = ~_without_small(~inside, size)
    tidy = _without_small(tidy, size)
    return np.where(tidy == inside, logits, np.where(tidy, threshold + 1, threshold - 1)).astype(np.float32)


def _without_small(mask: np.ndarray, size: int) -> np.ndarray:
    parts, _ = ndimage.label(mask)
    kept: np.ndarray = (np.bincount(parts.ravel()) >= size)[parts] & mask
    return kept


def labels_of(flows: np.ndarray, logits: np.ndarray, threshold: float, steps: int) -> np.ndarray:
    """The label map that pixels make which flow together, holes and all: integers (H, W), 0 the background.

    Args:
        flows: float32 (2, H, W), `GAIN` times unit vectors.
        logits: float32 (H, W), of being a cell's.
        threshold: of them, from which a pixel flows.
        steps: pixels that a pixel may go.
    """
    cellpose = _cellpose()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        labels: np.ndarray = cellpose.dynamics.compute_masks(
            flows, logits, niter=steps, cellprob_threshold=threshold, flow_threshold=0.0
        )
    return labels


def without_holes(labels: np.ndarray) -> np.ndarray:
    """A label map (H, W) whose labels have no holes: what lies in one's is its own. The numbers are as before."""
    filled: np.ndarray = _cellpose().utils.fill_holes_and_remove_small_masks(labels.copy(), min_size=-1)
    return filled


def flow_errors(labels: np.ndarray, flows: np.ndarray) -> np.ndarray:
    """By how much a network's flows differ from those of the label map that they made: mean squares, a label each.

    As in `cellpose`, the map is the one with holes.
    """
    if not labels.any():
        return np.zeros(0)
    errors: np.ndarray = _cellpose().metrics.flow_error(labels.astype(np.int64), flows, torch.device("cpu"))[0]
    return errors


def check_installed() -> None:
    """Raise `InputError` with the command that brings `cellpose` where it isn't installed."""
    _cellpose()


def _cellpose() -> Any:
    with missing_libraries_named():
        import cellpose
        import cellpose.dynamics
        import cellpose.metrics
        import cellpose.utils
    logging.getLogger("cellpose.dynamics").setLevel(logging.ERROR)  # no cell is no cause for a warning
    return cellpose
