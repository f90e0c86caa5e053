"""Which pixels are cells: from instances of any model to a binary mask, and how far probabilities are from one."""

from __future__ import annotations

import numpy as np

from glioma_hf.instances import MAX_PIXELS, Instances, check_size

LEAST = 1e-6  # chance at which cross-entropy ends


def foreground(instances: Instances) -> np.ndarray:
    """Where there is any of them: bool (H, W), for DiceScore of any model.

    Raises `InputError` for an image too large to hold.

        >>> foreground(Instances.from_masks([np.eye(2, dtype=bool), np.array([[1, 1], [0, 0]], bool)])).tolist()
        [[True, True], [False, True]]
    """
    mask = np.zeros(check_size(instances.size, MAX_PIXELS), bool)
    for part, (top, left) in instances.box_masks():
        mask[top : top + part.shape[0], left : left + part.shape[1]] |= part
    return mask


def pixel_loss(probability: np.ndarray, mask: np.ndarray) -> float:
    """Cross-entropy and 1 - soft Dice of one image, what the U-Net is trained to make small.

    Args:
        probability: (H, W), 0 ... 1.
        mask: (H, W), above 0 where a cell is.

        >>> round(pixel_loss(np.full((2, 2), 0.5), np.array([[1, 1], [0, 0]])), 4)  # ln 2, and 1 - 3 / 5
        1.0931
    """
    chance = np.clip(np.asarray(probability, np.float64), LEAST, 1 - LEAST)
    inside = np.asarray(mask) > 0
    entropy = -np.log(np.where(inside, chance, 1 - chance)).mean()
    shared, total = chance[inside].sum(), chance.sum() + inside.sum()
    return float(entropy + 1 - (2 * shared + 1) / (total + 1))
